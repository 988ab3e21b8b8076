import type { IncomingHttpHeaders } from 'node:http'
import type { Dispatcher } from 'undici'
import type { Exchange } from './exchange.ts'
import { forwardedHeaders } from './headers.ts'
import { formatHop } from './hop.ts'
import { HOP, HOP_EPOCH } from './messages.ts'
import { bodyGone, notTheLeader, notToBeForwarded, outcomeUnknown } from './refusal.ts'
import type { Routing } from './routing.ts'
import type { Upstream } from './upstream.ts'
import type { Guest, WaitingRoom } from './waiting-room.ts'

/** Such a request may be what makes LangFlow's process die. */
const MAX_REPEATS = 3

export interface AnswerHead {
  readonly statusCode: number
  readonly headers: IncomingHttpHeaders
}

/** What became of a request that was sent, where no answer has begun. */
type Failure =
  | { readonly what: 'missed' }
  | { readonly what: 'broke' }
  | { readonly what: 'refused'; readonly epoch: number }
  | { readonly what: 'malformed'; readonly why: string }

/** A connection could not be had, or broke before an answer began. */
export type Trouble = (what: 'missed' | 'broke', to: Upstream, error: Error) => void

export interface ForwarderOptions {
  readonly routing: Routing
  readonly room: WaitingRoom<Guest>
  readonly trouble: Trouble
}

/** Sends a request to whoever serves, as often as it takes and as it is allowed. */
export class Forwarder {
  readonly #options: ForwarderOptions

  constructor(options: ForwarderOptions) {
    this.#options = options
  }

  /** `begin`: the head of the answer is there; its body follows. Rejects with a `Refusal` where there will be none. */
  async forward(exchange: Exchange, begin: (head: AnswerHead) => void): Promise<void> {
    while (!exchange.gone) {
      const upstream = await this.#turn(exchange)
      if (!exchange.body.ready) {
        // It may take its time, and another may lead by then.
        upstream.givenBack()
        if (!(await exchange.body.read())) return
        continue
      }
      const failure = await this.#send(exchange, upstream, begin)
      if (upstream.options.once) this.#options.routing.retire(upstream)
      if (failure === null) return
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
        if (failure.epoch > upstream.options.hop.epoch) upstream.superseded()
        else upstream.missed()
        if (exchange.body.begun) throw bodyGone()
        return
      case 'broke':
        if (!exchange.repeatable || exchange.repeats >= MAX_REPEATS) throw outcomeUnknown()
        exchange.repeats++
        exchange.waitsAnew()
    }
  }

  /** Resolves with `null` once an answer has begun, or nobody waits for one. */
  #send(exchange: Exchange, upstream: Upstream, begin: (head: AnswerHead) => void): Promise<Failure | null> {
    const { promise, resolve } = Promise.withResolvers<Failure | null>()
    const { to, hop } = upstream.options
    const headers = forwardedHeaders(exchange.request, exchange.hop !== null)
    if (to === 'leader') headers.push(HOP, formatHop(hop))
    let sent = false
    let answered = false
    const handler: Dispatcher.DispatchHandler = {
      onRequestStart(controller) {
        sent = true
        upstream.reached()
        exchange.abort = (why) => controller.abort(why)
        if (exchange.gone) controller.abort(new Error('the client is gone'))
      },
      onResponseStart(_, statusCode, answer, statusText = '') {
        if (statusCode < 200) return exchange.inform(statusCode, answer)
        const epoch = answer[HOP_EPOCH]
        if (to === 'leader' && statusCode === 421 && epoch !== undefined) {
          resolve({ what: 'refused', epoch: Number(epoch) })
          return
        }
        answered = true
        exchange.from = to
        exchange.statusText = statusText
        begin({ statusCode, headers: answer })
        resolve(null)
      },
      onResponseData(controller, chunk) {
        if (answered && !exchange.write(chunk, () => controller.resume())) controller.pause()
      },
      onResponseEnd(_, trailers) {
        if (answered) exchange.end(trailers)
      },
      onResponseError: (_, error) => {
        exchange.abort = null
        if (answered) {
          exchange.cut()
          return
        }
        if (exchange.gone) {
          resolve(null)
          return
        }
        const { code } = error as NodeJS.ErrnoException
        if (code === 'UND_ERR_INVALID_ARG' || code === 'UND_ERR_NOT_SUPPORTED') {
          resolve({ what: 'malformed', why: error.message })
          return
        }
        // Of a large body's request nothing is sent before its first byte.
        const what = sent && (!exchange.body.large || exchange.body.begun) ? 'broke' : 'missed'
        this.#options.trouble(what, upstream, error)
        resolve({ what })
      },
    }
    exchange.sent()
    upstream.pool.dispatch(
      {
        path: exchange.path,
        method: (exchange.request.method ?? 'GET') as Dispatcher.HttpMethod,
        headers,
        body: exchange.body.toSend() as Buffer | null,
        // By itself undici closes the connection after a HEAD.
        reset: upstream.options.once,
      },
      handler,
    )
    return promise
  }
}
