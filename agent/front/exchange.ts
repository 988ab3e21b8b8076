import { type IncomingMessage, type InformationEvent, type ServerResponse, STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../clock.ts'
import { RequestBody } from './body.ts'
import type { Counts, Doing } from './counts.ts'
import { expectsThere, forwardedTrailers, hopOf, passedBackHeaders, waitedThereMs } from './headers.ts'
import type { Budget, Garbage, Turns } from './memory.ts'
import type { Refusal } from './refusal.ts'
import type { Streams, Tunnel } from './streams.ts'

/** The origin of an answer. */
export type Source = 'langflow' | 'leader'

export interface Arrival {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** The client sends the body after `100 Continue`. */
  readonly expectsContinue: boolean
  /** `null`: the client asks for no websocket. */
  readonly tunnel: Tunnel | null
}

export interface ExchangeOptions extends Arrival {
  readonly order: number
  readonly clock: Pick<Clock, 'mono'>
  readonly counts: Counts
  readonly streams: Streams
  readonly garbage: Garbage
  readonly budget: Budget
  readonly turns: Turns
  /** Whether the process is ending. Each connection then ends with its answer. */
  readonly ending: () => boolean
}

/** One request of a client, and its answer. */
export class Exchange {
  readonly request: IncomingMessage
  /** The path as the client wrote it. */
  readonly path: string
  /** The request asks for LangFlow's health. It goes before all others, and needs no place in the window. */
  readonly urgent: boolean
  /** Order of arrival at this front. */
  readonly order: number
  /**
   * Time of the first arrival, at this front or another one, moved forward by the time that the client took for its
   * body.
   */
  since: number
  /** `null`: the request comes from a client. Any other value: another front forwards it. */
  readonly hop: string | null
  readonly body: RequestBody
  /** Number of LangFlows that may have ended while they had the request. */
  attempts = 0
  /** Aborts the current attempt. */
  abort: ((why: Error) => void) | null = null
  readonly #options: ExchangeOptions
  readonly #response: ServerResponse
  #doing: Doing = 'arriving'
  #waitedMs: number | null = null
  #from: Source = 'langflow'
  /** The tunnel, once it is open. */
  #tunnel: Tunnel | null = null
  #counted = false
  #begun = false
  #ended = false
  #streamOver: (() => void) | null = null

  constructor(options: ExchangeOptions) {
    const { request, response, order, clock, counts } = options
    this.#options = options
    this.request = request
    this.#response = response
    this.path = request.url ?? '/'
    this.urgent = /^\/health(_check)?(\?|$)/.test(this.path)
    this.order = order
    this.hop = hopOf(request)
    this.since = clock.mono() - (this.hop === null ? 0 : waitedThereMs(request))
    this.body = new RequestBody(options)
    counts.arrived()
    response.once('close', () => this.#closed())
  }

  /** The client disconnected, or its connection was ended. */
  get gone(): boolean {
    return this.#response.closed || this.request.errored !== null
  }

  /** Whether sending the request twice can do no harm. */
  get repeatable(): boolean {
    const { method = '' } = this.request
    return ['GET', 'HEAD', 'OPTIONS'].includes(method) && !this.body.begun
  }

  /** Whether the client asks for a websocket. */
  get upgrades(): boolean {
    return this.#options.tunnel !== null
  }

  /** Whether the client, even behind another front, sends a streamed body only after `100 Continue`. */
  get expectsContinue(): boolean {
    if (!this.body.large) return false
    return this.hop === null ? this.#options.expectsContinue : expectsThere(this.request)
  }

  /** Called at the start and at the end of the wait for a serving replica. */
  waits(held: boolean): void {
    if (!held) this.#waitedMs = this.#options.clock.mono() - this.since
    this.become(held ? 'waiting' : 'arriving')
  }

  /**
   * Passes on an interim answer, such as 103. It writes to the socket, because Node offers a method only for its own
   * kind of hints.
   */
  inform({ statusCode, ...answer }: Pick<InformationEvent, 'statusCode' | 'headers' | 'rawHeaders'>): void {
    const { socket, headersSent } = this.#response
    if (statusCode < 102 || this.request.httpVersionMinor === 0 || headersSent) return
    const lines = passedBackHeaders(answer, false).map((text, i) => text + (i % 2 === 0 ? ': ' : '\r\n'))
    const start = `HTTP/1.1 ${statusCode} ${STATUS_CODES[statusCode] ?? ''}\r\n`
    socket?.write(`${start}${lines.join('')}\r\n`, 'latin1')
  }

  begin(answer: IncomingMessage, from: Source): void {
    this.#writeHead(answer, from, this.#connection())
    // The head goes out immediately if no body follows for the moment.
    setImmediate(() => this.#begun || this.#response.destroyed || this.#response.flushHeaders())
    if (/^text\/event-stream\b/i.test(answer.headers['content-type'] ?? '')) this.#streams()
  }

  /** LangFlow has agreed to the websocket. Either end can close it. */
  open(answer: IncomingMessage, from: Source, far: Socket, head: Buffer): void {
    this.#writeHead(answer, from, ['connection', 'Upgrade', 'upgrade', 'websocket'])
    this.#response.flushHeaders()
    this.abort = () => far.destroy()
    this.#tunnel = this.#options.tunnel
    this.#tunnel?.open(far, head)
    this.#streams()
  }

  /** @returns whether more may be written now. If not, `resume` is called later. */
  write(chunk: Buffer, resume: () => void): boolean {
    this.#begun = true
    this.#options.garbage.passed(chunk.length)
    if (this.#ended || this.#response.write(chunk)) return true
    this.#response.once('drain', resume)
    return false
  }

  end(answer: IncomingMessage): void {
    if (this.#ended) return
    const trailers = forwardedTrailers(answer)
    if (trailers.length > 0) this.#response.addTrailers(trailers)
    this.#end()
  }

  /** The answer broke. The client must not take it for a complete one. */
  cut(): void {
    if (this.#ended || this.gone) return
    this.#counted = true
    this.#options.counts.failed('cut')
    this.#ended = true
    if (this.#tunnel !== null) this.#tunnel.restart()
    // HTTP/1.0 marks the end of an answer by the end of the connection, so a normal end would make the answer look
    // complete.
    else if (this.request.httpVersionMinor === 0) this.#response.socket?.resetAndDestroy()
    else this.#response.destroy()
  }

  refuse(refusal: Refusal): void {
    if (this.gone) return
    this.#toldWaiting()
    if (refusal.reason !== null) this.#options.counts.failed(refusal.reason)
    this.#ended = true
    this.#counted = true
    this.#response.writeHead(refusal.status, [
      ...Object.entries(refusal.allHeaders).flat(),
      ...this.#connection(),
    ])
    this.#response.end(this.request.method === 'HEAD' ? undefined : refusal.body)
  }

  #writeHead(answer: IncomingMessage, from: Source, connection: string[]): void {
    const { statusCode = 502, statusMessage = '' } = answer
    const response = this.#response
    response.sendDate = false
    // Node's parsers accept characters that its server refuses to write.
    const words = /[^\t -~\x80-\xff]/.test(statusMessage) ? '' : statusMessage
    const headers = passedBackHeaders(answer, this.#chunked(answer))
    response.writeHead(statusCode, words, [...headers, ...connection])
    this.#from = from
    this.#toldWaiting()
  }

  /** Whether trailers can follow. */
  #chunked({ statusCode = 502, headers }: IncomingMessage): boolean {
    const { method, httpVersionMinor } = this.request
    const hasBody = method !== 'HEAD' && statusCode >= 200 && statusCode !== 204 && statusCode !== 304
    return httpVersionMinor > 0 && hasBody && headers['content-length'] === undefined
  }

  /**
   * Closing a connection with unread data resets it, and the client might never see the answer. A client that waits for
   * `100 Continue` may send its body or not, so the front could not interpret the next bytes.
   */
  #connection(): string[] {
    const closes = this.body.uninvited || (this.#options.ending() && this.request.complete)
    return closes ? ['connection', 'close'] : []
  }

  #streams(): void {
    this.become('streaming')
    this.#streamOver = this.#options.streams.add(() => this.#endStream())
  }

  #endStream(): void {
    this.#options.counts.streamEnded()
    this.#counted ||= this.#tunnel !== null
    this.#end()
    this.abort?.(new Error('the stream was ended'))
  }

  #end(): void {
    this.#begun = true
    this.#ended = true
    if (this.#tunnel === null) this.#response.end()
    else this.#tunnel.restart()
  }

  #toldWaiting(): void {
    if (this.#waitedMs !== null) this.#options.counts.waited(this.#waitedMs)
    this.#waitedMs = null
  }

  #closed(): void {
    const { counts } = this.#options
    const streaming = this.#doing === 'streaming'
    this.body.forget()
    this.#streamOver?.()
    this.#toldWaiting()
    const whole = this.#response.writableFinished || this.#tunnel !== null
    if (whole && !this.#counted) counts.forwarded(this.#from)
    if (!whole && !this.#counted && !streaming) counts.failed('client_gone')
    if (!this.#response.writableFinished) this.abort?.(new Error('the client is gone'))
    this.become('over')
  }

  become(doing: Doing): void {
    if (this.#doing === 'over') return
    this.#options.counts.became(this.#doing, doing)
    this.#doing = doing
  }
}
