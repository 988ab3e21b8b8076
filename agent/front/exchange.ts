import {
  type IncomingHttpHeaders,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type ServerResponse,
  STATUS_CODES,
} from 'node:http'
import { RequestBody } from './body.ts'
import type { Budget } from './budget.ts'
import type { Garbage } from './collect-garbage.ts'
import type { Counts, Doing } from './counts.ts'
import { passedBackHeaders } from './headers.ts'
import { expectsThere, hopOf, waitedThereMs } from './hop.ts'
import type { Refusal } from './refusal.ts'
import type { Streams } from './streams.ts'
import type { Guest } from './waiting-room.ts'

export interface Arrival {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** As the client wrote it. */
  readonly path: string
  /** The client sends the body once it is told to. */
  readonly expectsContinue: boolean
}

export interface ExchangeOptions extends Arrival {
  readonly order: number
  readonly mono: () => number
  readonly counts: Counts
  readonly streams: Streams
  readonly garbage: Garbage
  readonly budget: Budget
  /** Whether the process ends, and each connection with its answer. */
  readonly ending: () => boolean
}

/** One request of a client, and its answer. */
export class Exchange implements Guest {
  readonly request: IncomingMessage
  readonly path: string
  readonly urgent: boolean
  readonly order: number
  /** From its first arrival on, also at another front, without the time that its client took for its body. */
  since: number
  /** `null`: a client's; else another front forwards it. */
  readonly hop: string | null
  readonly body: RequestBody
  /** How many LangFlows may have ended while they had it. */
  attempts = 0
  /** Gives up what was sent. */
  abort: ((why: Error) => void) | null = null
  /** Where the answer that has begun comes from, and the words of its status line. */
  from: 'langflow' | 'leader' = 'langflow'
  statusText = ''

  readonly #options: ExchangeOptions
  readonly #response: ServerResponse
  #doing: Doing = 'arriving'
  #waitedMs: number | null = null
  #counted = false
  #begun = false
  #ended = false
  #streamOver: (() => void) | null = null

  constructor(options: ExchangeOptions) {
    const { request, response, path, order, mono, counts, garbage, budget, expectsContinue } = options
    this.#options = options
    this.request = request
    this.#response = response
    this.path = path
    this.urgent = /^\/health(_check)?(\?|$)/.test(path)
    this.order = order
    this.hop = hopOf(request)
    this.since = mono() - (this.hop === null ? 0 : waitedThereMs(request))
    this.body = new RequestBody(request, response, expectsContinue, garbage, budget)
    counts.arrived()
    response.once('close', () => this.#closed())
  }

  /** The client went, or its connection was ended. */
  get gone(): boolean {
    return this.#response.closed || this.request.errored !== null
  }

  /** Whether it can do no harm that it is done twice. */
  get repeatable(): boolean {
    const { method = '' } = this.request
    return ['GET', 'HEAD', 'OPTIONS'].includes(method) && !this.body.begun
  }

  /** Whether it is sent as it arrives; also what undici does not take, the request for `*`. */
  get streams(): boolean {
    return this.body.large || this.path === '*'
  }

  /** Whether the client, also one behind another front, sends a body that streams once it is told to. */
  get expectsContinue(): boolean {
    if (!this.body.large) return false
    return this.hop === null ? this.body.expectsContinue : expectsThere(this.request)
  }

  waits(held: boolean): void {
    if (!held) this.#waitedMs = this.#options.mono() - this.since
    this.#become(held ? 'waiting' : 'arriving')
  }

  sent(): void {
    this.#become('in flight')
  }

  notSent(): void {
    this.#become('arriving')
  }

  /** An interim answer, such as 103. Node lets nothing but its own kind of hints be written otherwise. */
  inform(status: number, headers: IncomingHttpHeaders): void {
    const { socket, headersSent } = this.#response
    if (status < 102 || this.request.httpVersionMinor === 0 || headersSent) return
    const lines = Object.entries(passedBackHeaders(headers, false)).flatMap(([name, value]) =>
      [value].flat().map((one) => `${name}: ${one}\r\n`),
    )
    socket?.write(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}\r\n`, 'latin1')
  }

  /** Whether trailers can follow an answer with these headers. */
  chunked(headers: IncomingHttpHeaders): boolean {
    const { method, httpVersionMinor } = this.request
    return httpVersionMinor > 0 && method !== 'HEAD' && headers['content-length'] === undefined
  }

  /** @param headers what the client is told, without those of its connection */
  begin(status: number, { connection: _, ...headers }: OutgoingHttpHeaders): void {
    const response = this.#response
    response.sendDate = false
    // What Node's parsers let through its server does not write.
    const words = /[^\t -~\x80-\xff]/.test(this.statusText) ? '' : this.statusText
    response.writeHead(status, words, { ...headers, ...this.#connection() })
    // At once, where nothing follows for the moment.
    setImmediate(() => this.#begun || response.destroyed || response.flushHeaders())
    this.#toldWaiting()
    const type = headers['content-type']
    if (typeof type !== 'string' || !/^text\/event-stream\b/i.test(type)) return
    this.#become('streaming')
    this.#streamOver = this.#options.streams.add(() => this.#endStream())
  }

  /** @returns whether more may be written now; else `resume` is called */
  write(chunk: Buffer, resume: () => void): boolean {
    this.#begun = true
    this.#options.garbage.passed(chunk.length)
    if (this.#ended || this.#response.write(chunk)) return true
    this.#response.once('drain', resume)
    return false
  }

  end(trailers: IncomingHttpHeaders): void {
    if (this.#ended) return
    this.#begun = true
    this.#ended = true
    if (Object.keys(trailers).length > 0) this.#response.addTrailers(trailers as OutgoingHttpHeaders)
    this.#response.end()
  }

  /** The answer broke: the client must not take it for a whole one. */
  cut(): void {
    if (this.#ended || this.gone) return
    this.#counted = true
    this.#options.counts.failed('cut')
    this.#response.destroy()
  }

  refuse(refusal: Refusal): void {
    if (this.gone) return
    this.#toldWaiting()
    if (refusal.reason !== null) this.#options.counts.failed(refusal.reason)
    this.#ended = true
    this.#counted = true
    this.#response.writeHead(refusal.status, { ...refusal.allHeaders, ...this.#connection() })
    this.#response.end(this.request.method === 'HEAD' ? undefined : refusal.body)
  }

  /**
   * Closing a connection on which something is unread resets it, and the client might never see the answer. One that waits to be told
   * to send its body may send it or not, and nobody could tell what comes next.
   */
  #connection(): OutgoingHttpHeaders {
    const closes = this.body.uninvited || (this.#options.ending() && this.request.complete)
    return closes ? { connection: 'close' } : {}
  }

  #endStream(): void {
    this.#options.counts.streamEnded()
    this.end({})
    this.abort?.(new Error('the stream was ended'))
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
    if (this.#response.writableFinished) {
      if (!this.#counted) counts.forwarded(this.from)
    } else {
      if (!this.#counted && !streaming) counts.failed('client_gone')
      this.abort?.(new Error('the client is gone'))
    }
    this.#become('over')
  }

  #become(doing: Doing): void {
    if (this.#doing === 'over') return
    this.#options.counts.became(this.#doing, doing)
    this.#doing = doing
  }
}
