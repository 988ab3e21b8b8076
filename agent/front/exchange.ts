import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../clock.ts'
import { type BodyOptions, RequestBody } from './body.ts'
import type { Counts, RequestState } from './counts.ts'
import { hopOf, passedBackHeaders, waitedThereMs } from './headers.ts'
import { type JoiningRequest, passed } from './memory.ts'
import type { Refusal } from './refusal.ts'
import type { Streams, Tunnel } from './streams.ts'

export type Source = 'langflow' | 'leader'

export interface Arrival extends BodyOptions {
  readonly tunnel: Tunnel | null
}

export interface ExchangeOptions extends Arrival {
  readonly order: number
  readonly clock: Pick<Clock, 'mono'>
  readonly counts: Counts
  readonly streams: Streams
  /** Each connection then ends with its answer. */
  readonly ending: () => boolean
}

type ExchangePhase =
  | { readonly name: 'open' }
  | { readonly name: 'answering'; readonly from: Source }
  | { readonly name: 'streaming'; readonly from: Source; readonly over: () => void }
  | { readonly name: 'tunnelling'; readonly from: Source; readonly over: () => void }
  /** The answer is written. `outcome` counts when the client has read it. */
  | { readonly name: 'ended'; readonly outcome: Source | 'counted' }

export class Exchange {
  readonly request: JoiningRequest
  readonly path: string
  /** It goes before all others, and needs no place in the window. */
  readonly urgent: boolean
  readonly order: number
  readonly since: number
  /** Of the other front that forwards this request; `null` if it comes from a client. */
  readonly hop: string | null
  readonly body: RequestBody
  attempts = 0
  abort: (why: Error) => void = () => {}
  readonly #options: ExchangeOptions
  readonly #response: ServerResponse
  #phase: ExchangePhase = { name: 'open' }
  #state: RequestState = 'arriving'

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

  get gone(): boolean {
    return this.#response.closed || this.request.errored !== null
  }

  get repeatable(): boolean {
    const { method = '' } = this.request
    return ['GET', 'HEAD', 'OPTIONS'].includes(method) && !this.body.begun
  }

  get upgrades(): boolean {
    return this.#options.tunnel !== null
  }

  waits(held: boolean): void {
    this.become(held ? 'held' : 'arriving')
  }

  become(state: RequestState): void {
    if (this.#state === 'over') return
    this.#options.counts.became(this.#state, state)
    this.#state = state
  }

  begin(answer: IncomingMessage, from: Source): void {
    this.#options.counts.bytesFrom(from)
    this.#writeHead(answer, this.#connection())
    const streams = /^text\/event-stream\b/i.test(answer.headers['content-type'] ?? '')
    if (streams) this.#options.streams.moved()
    this.#phase = streams ? { name: 'streaming', from, over: this.#streams() } : { name: 'answering', from }
  }

  open(answer: IncomingMessage, from: Source, far: Socket, head: Buffer): void {
    this.#writeHead(answer, ['connection', 'Upgrade', 'upgrade', 'websocket'])
    this.abort = () => far.destroy()
    this.#options.tunnel?.open(far, head, () => this.#options.streams.moved())
    far.on('data', () => this.#options.counts.bytesFrom(from))
    this.#phase = { name: 'tunnelling', from, over: this.#streams() }
  }

  /** @returns whether more may be written now. If not, `resume` is called later. */
  write(chunk: Buffer, resume: () => void): boolean {
    passed(chunk.length)
    if (this.#phase.name === 'ended') return true
    if ('from' in this.#phase) this.#options.counts.bytesFrom(this.#phase.from)
    if (this.#phase.name === 'streaming') this.#options.streams.moved()
    if (this.#response.write(chunk)) return true
    this.#response.once('drain', resume)
    return false
  }

  end(): void {
    const phase = this.#phase
    if (phase.name === 'ended' || phase.name === 'open') return
    this.#ended(phase.from)
    this.#response.end()
  }

  cut(): void {
    const { name } = this.#phase
    if (name === 'ended' || this.gone) return
    this.#options.counts.failed('cut')
    this.#ended('counted')
    if (name === 'tunnelling') this.#options.tunnel?.end()
    // The end of the connection would complete an HTTP/1.0 answer.
    else if (this.request.httpVersionMinor === 0) this.#response.socket?.resetAndDestroy()
    else this.#response.destroy()
  }

  refuse(refusal: Refusal): void {
    if (this.gone) return
    if (refusal.reason !== null) this.#options.counts.failed(refusal.reason)
    this.#ended('counted')
    const headers = Object.entries(refusal.headers).flat()
    this.#response.writeHead(refusal.status, [...headers, ...this.#connection()])
    this.#response.end(this.request.method === 'HEAD' ? undefined : refusal.body)
  }

  #writeHead(answer: IncomingMessage, connection: string[]): void {
    const { statusCode = 502, statusMessage = '' } = answer
    this.#response.sendDate = false
    // Node's parsers accept characters that its server refuses to write.
    const words = /[^\t -~\x80-\xff]/.test(statusMessage) ? '' : statusMessage
    this.#response.writeHead(statusCode, words, [...passedBackHeaders(answer), ...connection])
    // The body may follow much later.
    this.#response.flushHeaders()
  }

  /** A client that waits for `100 Continue` may send its body or not: the next bytes would be ambiguous. */
  #connection(): string[] {
    const closes = this.body.uninvited || (this.#options.ending() && this.request.complete)
    return closes ? ['connection', 'close'] : []
  }

  #streams(): () => void {
    this.become('streams')
    return this.#options.streams.add(() => this.#endStream())
  }

  #endStream(): void {
    this.#options.counts.streamEnded()
    if (this.#phase.name === 'tunnelling') {
      this.#ended('counted')
      this.#options.tunnel?.end()
    } else this.end()
    this.abort(new Error('the stream was ended'))
  }

  #ended(outcome: Source | 'counted'): void {
    if ('over' in this.#phase) this.#phase.over()
    this.#phase = { name: 'ended', outcome }
  }

  #closed(): void {
    const { counts } = this.#options
    const phase = this.#phase
    const isRead = this.#response.writableFinished
    if ('over' in phase) phase.over()
    if (phase.name === 'tunnelling') counts.forwarded(phase.from)
    else if (phase.name === 'open' || phase.name === 'answering') counts.failed('client_gone')
    else if (phase.name === 'ended' && phase.outcome !== 'counted') {
      if (isRead) counts.forwarded(phase.outcome)
      else counts.failed('client_gone')
    }
    if (!isRead) this.abort(new Error('the client is gone'))
    this.become('over')
  }
}
