import type { Clock } from '../clock.ts'
import type { Exchange } from './exchange.ts'
import { forwardedHeaders, hopHeaders } from './headers.ts'
import { notTheLeader, outcomeUnknown } from './refusal.ts'
import type { Routing } from './routing.ts'
import { type Failure, Sending, type Trouble } from './sending.ts'
import type { Upstream } from './upstream.ts'
import type { WaitingRoom } from './waiting-room.ts'

/** The first time that LangFlow may have ended while it had a request, that may have been by chance. */
const MAX_ATTEMPTS = 2

export interface ForwarderOptions {
  readonly routing: Routing
  readonly room: WaitingRoom
  readonly trouble: Trouble
  readonly clock: Clock
  readonly holdTimeoutMs: number
}

/** Sends a request to whoever serves, as often as it takes and as it is allowed. */
export class Forwarder {
  readonly #options: ForwarderOptions

  constructor(options: ForwarderOptions) {
    this.#options = options
  }

  /** Resolves once an answer has begun, or its client is gone. Rejects with a `Refusal` where there will be none. */
  async forward(exchange: Exchange): Promise<void> {
    const { clock, room } = this.#options
    while (!exchange.gone) {
      const upstream = await this.#turn(exchange)
      if (!exchange.body.ready) {
        // It may take its time, and another may lead by then.
        upstream.givenBack()
        // Another front has all of it.
        if (exchange.hop === null) room.forget(exchange)
        const began = clock.mono()
        if (!(await exchange.body.read())) return
        // A slow client is no wait for a replica.
        exchange.since += clock.mono() - began
        continue
      }
      const failure = await this.#send(exchange, upstream).catch((error) => {
        // Or nothing else would be tried, where this was the one request that was.
        upstream.givenBack()
        throw error
      })
      if (failure === null) {
        // Where its client went, it may not have got there.
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

  /** Returns where it may be sent again; throws a `Refusal` where it may not. */
  #after(failure: Failure, exchange: Exchange, upstream: Upstream): void {
    switch (failure.what) {
      case 'missed':
        upstream.missed()
        return
      case 'refused':
        // It has sent nothing on, and a small body that it had asked for is still kept here.
        upstream.refused(failure.epoch)
        return
      case 'broke':
        upstream.broke()
        this.#attempted(exchange)
    }
  }

  /**
   * Returns where it may be sent once more in its life. That is for the front to which it came first: it outlives the leaders, and
   * counts those connections that broke with a whole pod as well.
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
