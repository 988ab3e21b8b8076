import type { Clock } from '../clock.ts'
import type { Exchange } from './exchange.ts'
import { forwardedHeaders } from './headers.ts'
import { hopHeaders } from './hop.ts'
import { attempted, notTheLeader, notToBeForwarded } from './refusal.ts'
import type { Routing } from './routing.ts'
import { type AnswerHead, type Failure, type Sending, send, type Trouble } from './sending.ts'
import { sendStreaming } from './streaming.ts'
import type { Upstream } from './upstream.ts'
import type { WaitingRoom } from './waiting-room.ts'

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

  /** `begin`: the head of the answer is there; its body follows. Rejects with a `Refusal` where there will be none. */
  async forward(exchange: Exchange, begin: (head: AnswerHead) => void): Promise<void> {
    const { clock, room } = this.#options
    const answered = (head: AnswerHead) => {
      room.answered(exchange)
      begin(head)
    }
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
      const failure = await this.#send(exchange, upstream, answered).catch((error) => {
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
      case 'malformed':
        upstream.givenBack()
        throw notToBeForwarded(failure.why)
      case 'missed':
        upstream.missed()
        return
      case 'refused':
        // It has sent nothing on, and a small body that it had asked for is still kept here.
        upstream.refused(failure.epoch)
        return
      case 'broke':
        upstream.givenBack()
        attempted(exchange, exchange.repeatable, this.#options.routing.epoch)
    }
  }

  async #send(exchange: Exchange, upstream: Upstream, begin: Sending['begin']): Promise<Failure | null> {
    const { to, hop } = upstream.options
    const { trouble, clock, holdTimeoutMs } = this.#options
    const headers = forwardedHeaders(exchange.request, exchange.hop !== null)
    if (to === 'leader') headers.push(...hopHeaders(hop, clock.mono() - exchange.since))
    exchange.sent()
    const sending = { exchange, upstream, headers, begin, trouble }
    return to === 'leader' || exchange.streams
      ? sendStreaming(sending, { clock, heldUntil: exchange.since + holdTimeoutMs })
      : send(sending)
  }
}
