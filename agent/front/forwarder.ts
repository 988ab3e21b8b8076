import type { Clock } from '../clock.ts'
import type { Exchange } from './exchange.ts'
import { forwardedHeaders, hopHeaders } from './headers.ts'
import { notTheLeader, outcomeUnknown } from './refusal.ts'
import type { Routing } from './routing.ts'
import { type Failure, Sending, type Trouble } from './sending.ts'
import type { Upstream } from './upstream.ts'
import type { WaitingRoom } from './waiting-room.ts'

/** The first time that LangFlow ends while it has a request may be by chance. */
const MAX_ATTEMPTS = 2

export interface ForwarderOptions {
  readonly routing: Routing
  readonly room: WaitingRoom
  readonly trouble: Trouble
  readonly clock: Clock
  readonly holdTimeoutMs: number
}

/** Sends a request to the serving replica, with as many attempts as are needed and allowed. */
export class Forwarder {
  readonly #options: ForwarderOptions

  constructor(options: ForwarderOptions) {
    this.#options = options
  }

  /** Resolves when an answer has begun or the client is gone. Rejects with a `Refusal` if there will be no answer. */
  async forward(exchange: Exchange): Promise<void> {
    const { clock, room } = this.#options
    while (!exchange.gone) {
      const upstream = await this.#turn(exchange)
      if (!exchange.body.ready) {
        // Reading the body may take long, and another replica may lead afterwards.
        upstream.givenBack()
        // If the request came from another front, that front has the whole body.
        if (exchange.hop === null) room.forget(exchange)
        const began = clock.mono()
        if (!(await exchange.body.read())) return
        // The time that a slow client takes does not count as waiting for a replica.
        exchange.since += clock.mono() - began
        continue
      }
      const failure = await this.#send(exchange, upstream).catch((error) => {
        // If this request was the only one allowed to try, no other request would be tried without this.
        upstream.givenBack()
        throw error
      })
      if (failure === null) {
        // If the client disconnected, the request may not have reached the upstream.
        upstream.givenBack()
        return
      }
      exchange.notSent()
      this.#after(failure, exchange, upstream)
    }
  }

  async #turn(exchange: Exchange): Promise<Upstream> {
    const { routing, room } = this.#options
    if (exchange.hop !== null && !routing.accepts(exchange.hop)) throw notTheLeader(routing.epoch)
    return room.turn(exchange)
  }

  /** Returns if the request may be sent again. Throws a `Refusal` if not. */
  #after(failure: Failure, exchange: Exchange, upstream: Upstream): void {
    switch (failure.what) {
      case 'missed':
        upstream.missed()
        return
      case 'refused':
        // The other front has sent nothing on. A small body that it asked for is still kept here.
        upstream.refused(failure.epoch)
        return
      case 'broke':
        upstream.broke()
        this.#attempted(exchange)
    }
  }

  /**
   * Returns if the request may be sent once more; each request has one such retry. The front to which it came first
   * decides: that front outlives the leaders, and also counts the connections that broke with a whole pod.
   */
  #attempted(exchange: Exchange): void {
    exchange.attempts++
    if (exchange.hop !== null) throw outcomeUnknown(this.#options.routing.epoch)
    if (!exchange.repeatable || exchange.attempts === MAX_ATTEMPTS) throw outcomeUnknown(null)
  }

  async #send(exchange: Exchange, upstream: Upstream): Promise<Failure | null> {
    const { to, hop } = upstream.options
    const { room, trouble, clock, holdTimeoutMs } = this.#options
    const headers = forwardedHeaders(exchange.request, exchange.hop !== null)
    if (to === 'leader') headers.push(...hopHeaders(hop, clock.mono() - exchange.since))
    exchange.sent()
    const heldUntil = exchange.since + holdTimeoutMs
    const answered = () => room.answered(exchange)
    return new Sending({ exchange, upstream, headers, answered, trouble, clock, heldUntil }).outcome
  }
}
