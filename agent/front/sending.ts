import { type ClientRequest, type IncomingMessage, type InformationEvent, request } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock, Timer } from '../clock.ts'
import type { Exchange } from './exchange.ts'
import { HOP_EMPTY, HOP_EPOCH, HOP_EXPECTS, HOP_TAKEN } from './front-messages.ts'
import { forwardedTrailers, MAX_HEADER_BYTES, withoutName } from './headers.ts'
import type { Upstream } from './upstream.ts'

/** The other front says by itself that it could not send the request on; one that hangs does not. */
const OVERDUE_MS = 100
/** A LangFlow that has not asked for a body after so long may not know that it could. */
const UNINVITED_MS = 1_000
/** Interim answers of one request: a LangFlow that sends them without end would fill the memory of a client that reads nothing. */
const MOST_INTERIM = 100

/** Methods of which LangFlow may want to be told that there is no body. */
const LENGTH_IS_EXPECTED = new Set(['POST', 'PUT', 'PATCH'])

/** What became of a request that was sent, where no answer has begun. */
export type Failure =
  /** It did not get there. */
  | { readonly what: 'missed' }
  /** It may have got there. */
  | { readonly what: 'broke' }
  /** By a front that does not lead, with the epoch that it knows. */
  | { readonly what: 'refused'; readonly epoch: number }

/** A connection could not be had, or broke before an answer began. */
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
  /** Monotonic ms: until when another front may hold the request. */
  readonly heldUntil: number
}

/**
 * One attempt to send a request and to pass its answer back. Another front gets it with `Expect: 100-continue`, without its body or its
 * end: that one asks for these once it can send the request on, and LangFlow has nothing of it before. Where the client expects an
 * answer to its head, or asks for a websocket, that one says when LangFlow has the head.
 */
export class Sending {
  readonly #options: SendingOptions
  readonly #outgoing: ClientRequest
  readonly #expects: boolean
  readonly #outcome = Promise.withResolvers<Failure | null>()
  #timer: Timer | null = null
  /** Whether LangFlow may have something of it. */
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
        // Node reports no error where a connection ends that was switched to another protocol unasked.
        if (!this.#settled) this.#failed(new Error('the connection ended without an answer'))
      })
      .once('socket', () => this.#connected())
      .once('continue', () => this.#sendBody())
      .on('information', (answer) => this.#informed(answer))
      .once('response', (answer) => this.#isAnswered(answer))
      .on('error', (error) => this.#failed(error))
    if (exchange.upgrades)
      outgoing.once('upgrade', (answer, far, head) => this.#upgraded(answer, far as Socket, head))
    // A large body that is not expected goes once there is a connection: until then it is not read.
    if (this.#expects || exchange.body.large) outgoing.flushHeaders()
    else this.#sendBody()
    if (exchange.gone) outgoing.destroy()
  }

  /** Resolves with `null` once an answer has begun, or its client is gone. */
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
          this.#outgoing.destroy(new Error('it held a request for too long'))
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
    // Another front, which expects as well, was told to before LangFlow had anything of it.
    if (!this.#expects) body.invite()
    if (!body.large) this.#outgoing.end(body.whole ?? undefined)
    else {
      // A failure is one of the connection, and told there.
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
      // Without an Upgrade header, Node takes it for an answer; whoever stands before the front would take it for a tunnel.
      this.#outgoing.destroy(new Error('it switched to another protocol unasked'))
    } else if (this.#begins(() => exchange.begin(answer, upstream.options.to))) this.#passBack(answer)
  }

  /** A websocket is one more that is under way until it is over. */
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
      // What is left of the body is not for this connection any more.
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
    // What follows a whole answer belongs to none, and ends the connection to LangFlow alone.
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
