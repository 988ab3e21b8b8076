import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../clock.ts'
import type { Exchange } from './exchange.ts'
import { HOP_EMPTY, HOP_EPOCH } from './front-messages.ts'
import { forwardedHeaders, hopHeaders, withoutName } from './headers.ts'
import type { Upstream } from './upstream.ts'

const MAX_ANSWER_HEADER_BYTES = 64 * 1024

export type Failure =
  | { readonly what: 'missed' }
  | { readonly what: 'broke' }
  /** A front that does not lead refused it, with its current epoch. */
  | { readonly what: 'refused'; readonly epoch: number }

export interface SendingOptions {
  readonly exchange: Exchange
  readonly upstream: Upstream
  readonly clock: Pick<Clock, 'mono'>
  readonly answered: () => void
  readonly trouble: (what: 'missed' | 'broke', to: Upstream, error: Error) => void
}

type SendingPhase =
  | { readonly name: 'connecting' }
  /** The other front has the head, but LangFlow has nothing. That front keeps the hold timeout. */
  | { readonly name: 'offered' }
  | { readonly name: 'sent' }
  | { readonly name: 'answering'; readonly answer: IncomingMessage }
  | { readonly name: 'over' }

/**
 * One attempt. Another front receives the head with `Expect: 100-continue`, and asks for the rest when it has a
 * connection to LangFlow. A websocket's handshake has no such expectation, and counts as sent immediately.
 */
export class Sending {
  readonly #options: SendingOptions
  readonly #outgoing: ClientRequest
  readonly #isOffer: boolean
  /** `null`: an answer has begun, or the client is gone. */
  readonly outcome = Promise.withResolvers<Failure | null>()
  #phase: SendingPhase = { name: 'connecting' }

  constructor(options: SendingOptions) {
    const { exchange, upstream } = options
    this.#options = options
    this.#isOffer = upstream.options.to === 'leader' && !exchange.upgrades
    const outgoing = request({
      method: exchange.request.method,
      path: exchange.path,
      headers: this.#headers(),
      setDefaultHeaders: false,
      agent: upstream.agent,
      maxHeaderSize: MAX_ANSWER_HEADER_BYTES,
    })
    this.#outgoing = outgoing
    outgoing.maxHeadersCount = 0
    exchange.abort = (why) => outgoing.destroy(why)
    const over = upstream.relaying(() => outgoing.destroy(new Error('the leader changed')))
    outgoing
      .once('close', () => {
        over()
        // Node reports no error when a connection ends that was switched to another protocol without a request for it.
        if (this.#phase.name !== 'answering')
          this.#failed(new Error('the connection ended without an answer'))
      })
      .once('socket', () => this.#connected())
      .once('continue', () => this.#phase.name === 'offered' && this.#send())
      .once('response', (answer) => this.#isAnswered(answer))
      .on('error', (error) => this.#failed(error))
    if (exchange.upgrades)
      outgoing.once('upgrade', (answer, far, head) => this.#upgraded(answer, far as Socket, head))
    if (this.#isOffer) outgoing.flushHeaders()
    if (exchange.gone) outgoing.destroy()
  }

  #headers(): string[] {
    const { exchange, upstream, clock } = this.#options
    const { to, address, hop } = upstream.options
    const isEmptyOffer = this.#isOffer && exchange.body.none
    const headers = forwardedHeaders(exchange.request, exchange.hop !== null)
    const sent = isEmptyOffer ? withoutName('content-length', headers) : headers
    if (to === 'leader') sent.push(...hopHeaders(hop, clock.mono() - exchange.since))
    if (this.#isOffer) sent.push('expect', '100-continue')
    if (isEmptyOffer) sent.push(HOP_EMPTY, '1')
    if (isEmptyOffer || exchange.body.chunked) sent.push('transfer-encoding', 'chunked')
    if (exchange.request.headers.host === undefined) sent.push('host', address)
    if (exchange.upgrades) sent.push('connection', 'Upgrade', 'upgrade', 'websocket')
    return sent
  }

  #connected(): void {
    this.#options.upstream.reached()
    if (this.#isOffer) this.#phase = { name: 'offered' }
    else this.#send()
  }

  #send(): void {
    this.#phase = { name: 'sent' }
    this.#options.exchange.body.stream(this.#outgoing)
  }

  #isAnswered(answer: IncomingMessage): void {
    const { exchange, upstream } = this.#options
    const failure = failureIn(upstream, answer)
    if (failure !== null) this.#settle(failure)
    else if (answer.statusCode === 101) {
      // A proxy before the front would treat it as a tunnel.
      this.#outgoing.destroy(new Error('it switched to another protocol without a request'))
    } else if (this.#begins(answer, () => exchange.begin(answer, upstream.options.to))) this.#passBack(answer)
  }

  #upgraded(answer: IncomingMessage, far: Socket, head: Buffer): void {
    const { exchange, upstream } = this.#options
    if (exchange.gone) {
      far.destroy()
      this.#settle(null)
      return
    }
    far.once(
      'close',
      upstream.relaying(() => exchange.cut()),
    )
    this.#begins(answer, () => exchange.open(answer, upstream.options.to, far, head))
  }

  #begins(answer: IncomingMessage, begin: () => void): boolean {
    try {
      begin()
    } catch (error) {
      this.#failed(error as Error)
      return false
    }
    this.#phase = { name: 'answering', answer }
    this.#options.answered()
    this.outcome.resolve(null)
    return true
  }

  #passBack(answer: IncomingMessage): void {
    const { exchange } = this.#options
    answer.on('data', (chunk: Buffer) => {
      if (!exchange.write(chunk, () => answer.resume())) answer.pause()
    })
    answer.once('end', () => {
      exchange.end()
      if (!this.#outgoing.writableFinished) this.#outgoing.destroy()
    })
    answer.once('error', (error) => this.#failed(error))
  }

  #failed(error: Error): void {
    const { exchange, upstream, trouble } = this.#options
    const phase = this.#phase
    if (phase.name === 'over') return
    if (phase.name === 'answering') {
      // Data after a complete answer belongs to no request, and ends only the connection to LangFlow.
      if (!phase.answer.complete) exchange.cut()
    } else if (exchange.gone) this.#settle(null)
    else {
      const what = phase.name === 'sent' ? 'broke' : 'missed'
      trouble(what, upstream, error)
      this.#settle({ what })
    }
  }

  #settle(outcome: Failure | null): void {
    this.#phase = { name: 'over' }
    this.#outgoing.destroy()
    this.outcome.resolve(outcome)
  }
}

function failureIn({ options }: Upstream, { statusCode, headers }: IncomingMessage): Failure | null {
  const epoch = headers[HOP_EPOCH]
  if (options.to !== 'leader' || epoch === undefined) return null
  return statusCode === 421 ? { what: 'refused', epoch: Number(epoch) } : { what: 'broke' }
}
