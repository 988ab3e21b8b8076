import { type ClientRequest, type IncomingMessage, type InformationEvent, request } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock, Timer } from '../clock.ts'
import type { Exchange } from './exchange.ts'
import { HOP_EMPTY, HOP_EPOCH, HOP_EXPECTS, HOP_TAKEN } from './front-messages.ts'
import { forwardedTrailers, MAX_HEADER_BYTES, withoutName } from './headers.ts'
import type { Upstream } from './upstream.ts'

/**
 * Time beyond the other front's own limit. That front reports by itself that it could not send the request, unless it
 * hangs.
 */
const OVERDUE_MS = 100
/** Time after which the body is sent without an invitation: LangFlow may not support `100 Continue`. */
const UNINVITED_MS = 1_000
/**
 * Limit for the interim answers to one request. Without it, a LangFlow that sends them endlessly would fill the memory
 * of a client that reads nothing.
 */
const MOST_INTERIM = 100

/** Methods for which LangFlow may require an explicit length of 0. */
const LENGTH_IS_EXPECTED = new Set(['POST', 'PUT', 'PATCH'])

/** The result of an attempt without an answer. */
export type Failure =
  /** The request did not reach the upstream. */
  | { readonly what: 'missed' }
  /** The request may have reached the upstream. */
  | { readonly what: 'broke' }
  /** A front that does not lead refused it, with its current epoch. */
  | { readonly what: 'refused'; readonly epoch: number }

/** Reports that a connection could not be opened, or broke before an answer began. */
export type Trouble = (what: 'missed' | 'broke', to: Upstream, error: Error) => void

export interface SendingOptions {
  readonly exchange: Exchange
  readonly upstream: Upstream
  /** Names and values in turn. */
  readonly headers: readonly string[]
  /** Called when the answer begins. */
  readonly answered: () => void
  readonly trouble: Trouble
  readonly clock: Clock
  /** Time, in monotonic ms, until which another front may hold the request. */
  readonly heldUntil: number
}

/**
 * One attempt to send a request and to pass its answer back. Another front receives the head with `Expect:
 * 100-continue`, without the body or the end of the request. It asks for these when it can send the request on, and
 * LangFlow has received nothing before. If the client expects an answer to its head, or asks for a websocket, the other
 * front reports when LangFlow has the head.
 */
export class Sending {
  readonly #options: SendingOptions
  readonly #outgoing: ClientRequest
  readonly #expects: boolean
  readonly #outcome = Promise.withResolvers<Failure | null>()
  #timer: Timer | null = null
  /** Whether LangFlow may have received part of the request. */
  #taken = false
  #answered = false
  #settled = false
  #bodyBegun = false
  #interim = 0
  #answer: IncomingMessage | null = null

  constructor(options: SendingOptions) {
    const { exchange, upstream } = options
    const { to } = upstream.options
    this.#options = options
    this.#expects = (to === 'leader' && !exchange.upgrades) || exchange.expectsContinue
    const outgoing = request({
      method: exchange.request.method,
      path: exchange.path,
      headers: this.#headers(),
      setDefaultHeaders: false,
      agent: upstream.agent,
      maxHeaderSize: MAX_HEADER_BYTES,
    })
    this.#outgoing = outgoing
    outgoing.maxHeadersCount = 0
    exchange.abort = (why) => outgoing.destroy(why)
    const over = upstream.relaying(() => outgoing.destroy(new Error('the leader changed')))
    outgoing
      .once('close', () => {
        this.#timer?.cancel()
        over()
        // Node reports no error when a connection ends that was switched to another protocol without a request for it.
        if (!this.#settled) this.#failed(new Error('the connection ended without an answer'))
      })
      .once('socket', () => this.#connected())
      .once('continue', () => this.#sendBody())
      .on('information', (answer) => this.#informed(answer))
      .once('response', (answer) => this.#isAnswered(answer))
      .on('error', (error) => this.#failed(error))
    if (exchange.upgrades)
      outgoing.once('upgrade', (answer, far, head) => this.#upgraded(answer, far as Socket, head))
    // A large body without `Expect` is sent when there is a connection. Until then it is not read.
    if (this.#expects || exchange.body.large) outgoing.flushHeaders()
    else this.#sendBody()
    if (exchange.gone) outgoing.destroy()
  }

  /** Resolves with `null` when an answer has begun or the client is gone. */
  get outcome(): Promise<Failure | null> {
    return this.#outcome.promise
  }

  #headers(): string[] {
    const { exchange, upstream, headers } = this.#options
    const { to, address } = upstream.options
    const { method = 'GET' } = exchange.request
    const isEmptyHop = this.#expects && to === 'leader' && exchange.body.none
    const sent = isEmptyHop ? withoutName('content-length', headers) : [...headers]
    // RFC 9110, 8.6. A hop has lost the length that its client gave.
    if (to === 'langflow' && exchange.body.unsized && LENGTH_IS_EXPECTED.has(method))
      sent.push('content-length', '0')
    if (this.#expects) sent.push('expect', '100-continue')
    if (to === 'leader' && exchange.expectsContinue) sent.push(HOP_EXPECTS, '1')
    if (isEmptyHop) sent.push(HOP_EMPTY, '1')
    if (isEmptyHop || exchange.body.chunked) sent.push('transfer-encoding', 'chunked')
    if (exchange.request.headers.host === undefined) sent.push('host', address)
    if (exchange.upgrades) sent.push('connection', 'Upgrade', 'upgrade', 'websocket')
    return sent
  }

  #connected(): void {
    const { exchange, upstream, clock, heldUntil } = this.#options
    upstream.reached()
    if (upstream.options.to === 'leader') {
      this.#timer = clock.after(Math.max(0, heldUntil + OVERDUE_MS - clock.mono()), () => {
        if (!this.#taken && !this.#answered)
          this.#outgoing.destroy(new Error('it held the request for too long'))
      })
      return
    }
    this.#taken = true
    if (exchange.hop !== null && (exchange.expectsContinue || exchange.upgrades))
      exchange.inform({ statusCode: HOP_TAKEN, headers: {}, rawHeaders: [] })
    if (this.#expects) this.#timer = clock.after(UNINVITED_MS, () => this.#answered || this.#sendBody())
    else this.#sendBody()
  }

  #sendBody(): void {
    const { body, request } = this.#options.exchange
    if (this.#bodyBegun) return
    this.#bodyBegun = true
    // If another front expects `100 Continue` as well, it was invited before LangFlow received anything.
    if (!this.#expects) body.invite()
    if (!body.large) this.#outgoing.end(body.whole ?? undefined)
    else {
      // A failure breaks the connection, whose handler reports it.
      body.stream(this.#outgoing, () => {
        this.#outgoing.addTrailers(forwardedTrailers(request))
        this.#outgoing.end()
      })
    }
  }

  #informed(answer: InformationEvent): void {
    const { exchange, upstream } = this.#options
    upstream.heard()
    this.#taken = true
    this.#interim += 1
    if (this.#interim > MOST_INTERIM)
      this.#outgoing.destroy(new Error(`more than ${MOST_INTERIM} interim answers`))
    else if (upstream.options.to === 'langflow' || answer.statusCode !== HOP_TAKEN) exchange.inform(answer)
  }

  #isAnswered(answer: IncomingMessage): void {
    const { exchange, upstream } = this.#options
    upstream.heard()
    const failure = failureIn(upstream, answer)
    if (failure !== null) {
      this.#outgoing.destroy()
      this.#settle(failure)
    } else if (answer.statusCode === 101) {
      // Without an Upgrade header, Node treats it as an answer, but a proxy before the front would treat it as a
      // tunnel.
      this.#outgoing.destroy(new Error('it switched to another protocol without a request'))
    } else if (this.#begins(() => exchange.begin(answer, upstream.options.to))) this.#passBack(answer)
  }

  /** A websocket counts as a request in progress until it ends. */
  #upgraded(answer: IncomingMessage, far: Socket, head: Buffer): void {
    const { exchange, upstream } = this.#options
    upstream.heard()
    if (exchange.gone) {
      far.destroy()
      this.#settle(null)
      return
    }
    const over = upstream.relaying(() => exchange.cut())
    far.once('close', over)
    this.#begins(() => exchange.open(answer, upstream.options.to, far, head))
  }

  /** `false`: Node refuses to write such an answer. */
  #begins(begin: () => void): boolean {
    try {
      begin()
    } catch (error) {
      this.#outgoing.destroy()
      this.#failed(error as Error)
      return false
    }
    this.#answered = true
    this.#options.answered()
    this.#settle(null)
    return true
  }

  #passBack(answer: IncomingMessage): void {
    const { exchange } = this.#options
    this.#answer = answer
    answer.on('data', (chunk: Buffer) => {
      if (!exchange.write(chunk, () => answer.resume())) answer.pause()
    })
    answer.once('end', () => {
      exchange.end(answer)
      // This connection no longer carries the rest of the body.
      if (!this.#outgoing.writableFinished) this.#outgoing.destroy()
    })
    answer.once('error', (error) => this.#failed(error))
  }

  #settle(outcome: Failure | null): void {
    this.#settled = true
    this.#outcome.resolve(outcome)
  }

  #failed(error: Error): void {
    const { exchange, upstream, trouble } = this.#options
    exchange.abort = null
    // Data after a complete answer belongs to no request, and ends only the connection to LangFlow.
    if (this.#answer?.complete) return
    if (this.#answered) exchange.cut()
    else if (exchange.gone) this.#settle(null)
    else {
      const what = this.#taken ? 'broke' : 'missed'
      trouble(what, upstream, error)
      this.#settle({ what })
    }
  }
}

/** `null`: this is an answer. */
function failureIn({ options }: Upstream, { statusCode, headers }: IncomingMessage): Failure | null {
  const epoch = headers[HOP_EPOCH]
  if (options.to !== 'leader' || epoch === undefined) return null
  return statusCode === 421 ? { what: 'refused', epoch: Number(epoch) } : { what: 'broke' }
}
