import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Garbage } from './garbage.ts'
import { hopOf, isEmptyThere } from './hop.ts'

/** What is read whole before it is sent, so that it can be sent again. */
const SMALL_BYTES = 64 * 1024

/** The body of a request: unread until the request is about to be sent. */
export class RequestBody {
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  /** The client sends nothing of it before it is told to. */
  readonly expectsContinue: boolean
  readonly chunked: boolean
  readonly #garbage: Garbage
  readonly #size: 'none' | 'small' | 'large'
  #whole: Buffer | null = null
  #invited = false
  /** Whether something was read of one that cannot be kept. */
  begun = false

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    expectsContinue: boolean,
    garbage: Garbage,
  ) {
    this.#garbage = garbage
    this.#request = request
    this.#response = response
    this.expectsContinue = expectsContinue
    const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
    const emptyThere = hopOf(request) !== null && isEmptyThere(request)
    this.chunked = encoding !== undefined && !emptyThere
    if (emptyThere) this.#size = 'small'
    else if (this.chunked || Number(length ?? 0) > SMALL_BYTES) this.#size = 'large'
    else this.#size = Number(length ?? 0) > 0 ? 'small' : 'none'
  }

  /** It is sent while it arrives, and at most once. */
  get large(): boolean {
    return this.#size === 'large'
  }

  get none(): boolean {
    return this.#size === 'none'
  }

  get ready(): boolean {
    return this.#size !== 'small' || this.#whole !== null
  }

  /** Whether the client still waits to be told to send it; it might never be sent. */
  get uninvited(): boolean {
    return this.expectsContinue && !this.#invited
  }

  /** Tells the client to send it. */
  invite(): void {
    if (this.uninvited) this.#response.writeContinue()
    this.#invited = true
  }

  /** Reads a small one. `false`: the client went before its end. */
  async read(): Promise<boolean> {
    this.invite()
    try {
      const chunks: Buffer[] = await this.#request.toArray()
      this.#whole = Buffer.concat(chunks)
      return true
    } catch {
      return false
    }
  }

  /** Of a small one, once it was read. */
  get whole(): Buffer | null {
    return this.#whole
  }

  /** Of a large one, as it arrives. */
  async *pieces(): AsyncGenerator<Buffer> {
    this.begun = true
    this.invite()
    try {
      for await (const chunk of this.#request.iterator({ destroyOnReturn: false })) {
        this.#garbage.passed((chunk as Buffer).length)
        yield chunk as Buffer
      }
    } finally {
      // LangFlow answered before it had read all, or its connection broke: the client can read that only once it has sent the rest.
      this.#request.resume()
    }
  }
}
