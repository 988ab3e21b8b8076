import { IncomingMessage } from 'node:http'
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import type { ExchangeOptions } from './exchange.ts'
import { hopOf, isEmptyThere } from './headers.ts'

/** A body up to this size is read whole before it is sent, so that it can be sent again. */
const SMALL_BYTES = 64 * 1024
/** Smaller pieces are joined: each takes some 400 bytes beside its own, and 64 KiB can hold 10,000 chunks of a byte. */
const PIECE_BYTES = 4 * 1024
/** After this many small pieces since the last read, the rest of a body waits for its turn. */
const MANY_PIECES = 1_000
/**
 * The part of the budget that bodies leave free. A body that would take it is sent while it arrives, like a large one.
 */
const RESERVE_BYTES = 48 * 1024 * 1024

/** The body of a request. The front reads it only when it is about to send the request. */
export class RequestBody {
  readonly #options: ExchangeOptions
  readonly #request: IncomingMessage
  readonly chunked: boolean
  /** The request has no body, and no header states this. */
  readonly unsized: boolean
  readonly #length: number
  #size: 'none' | 'small' | 'large'
  #keptBytes = 0
  #whole: Buffer | null = null
  #invited = false
  /** Small pieces that arrived while the request's stream still held an unread piece. */
  #small: Buffer = Buffer.alloc(0)
  #smallBytes = 0
  #smallPieces = 0
  /** Whether a piece of a body that cannot be kept was read. */
  begun = false

  constructor(options: ExchangeOptions) {
    const { request } = options
    this.#options = options
    this.#request = request
    const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
    const emptyThere = hopOf(request) !== null && isEmptyThere(request)
    this.chunked = encoding !== undefined && !emptyThere
    this.unsized = !this.chunked && length === undefined
    this.#length = Number(length ?? 0)
    if (emptyThere) this.#size = 'small'
    else if (this.chunked || this.#length > SMALL_BYTES) this.#size = 'large'
    else this.#size = this.#length > 0 ? 'small' : 'none'
    if (this.#size !== 'none') request.push = (piece: Buffer | null) => this.#arrived(piece)
  }

  /** A large body is sent while it arrives, and at most once. */
  get large(): boolean {
    return this.#size === 'large'
  }

  get none(): boolean {
    return this.#size === 'none'
  }

  get ready(): boolean {
    return this.#size !== 'small' || this.#whole !== null
  }

  /** Whether the client still waits for `100 Continue`. It might never send the body. */
  get uninvited(): boolean {
    return this.#options.expectsContinue && !this.#invited
  }

  /** Sends `100 Continue`. */
  invite(): void {
    if (this.uninvited) this.#options.response.writeContinue()
    this.#invited = true
  }

  /**
   * Reads a small body, unless the budget is spent. Resolves with `false` if the client disconnected before the end.
   */
  async read(): Promise<boolean> {
    if (!this.#options.budget.takes(this.#length, RESERVE_BYTES)) {
      this.#size = 'large'
      return true
    }
    this.#keptBytes = this.#length
    this.invite()
    const whole = Buffer.alloc(this.#length)
    let bytes = 0
    this.#request.on('data', (piece: Buffer) => {
      bytes += piece.copy(whole, bytes)
      setImmediate(this.#pushSoon)
    })
    try {
      await finished(this.#request, { writable: false })
      this.#whole = whole
      return true
    } catch {
      return false
    }
  }

  /** Frees the memory of the body, which is no longer needed. */
  forget(): void {
    this.#options.budget.gone(this.#keptBytes)
    this.#keptBytes = 0
  }

  /** A small body, after it was read. */
  get whole(): Buffer | null {
    return this.#whole
  }

  /**
   * Sends a large body as it arrives, and calls `done` at its end. It uses no iterator: an iterator keeps the last
   * piece until the next one arrives, and 1,700 of them took 110 MB.
   */
  stream(to: Writable, done: () => void): void {
    this.begun = true
    this.invite()
    const request = this.#request
    const relay = (piece: Buffer) => {
      this.#options.garbage.passed(piece.length)
      // Pieces are written one after the other, so that small pieces that arrive during a write are joined into one.
      request.pause()
      to.write(piece, () => {
        request.resume()
        this.#pushSoon()
      })
    }
    request.on('data', relay)
    request.on('error', () => {})
    request.once('end', done)
    // LangFlow answered before it had read the whole body, or its connection broke. The client can read that only after
    // it has sent the rest.
    to.once('close', () => {
      request.off('data', relay).off('end', done)
      request.on('data', () => setImmediate(this.#pushSoon)).resume()
    })
  }

  /** Replaces the stream's own `push`. */
  #arrived(piece: Buffer | null): boolean {
    if (piece === null || piece.length >= PIECE_BYTES) {
      this.#pushSmall(true)
      return IncomingMessage.prototype.push.call(this.#request, piece)
    }
    if (this.#smallBytes === 0) setImmediate(this.#pushSoon)
    const bytes = this.#smallBytes + piece.length
    if (bytes > this.#small.length) this.#small = Buffer.concat([this.#small], Math.max(1024, 2 * bytes))
    piece.copy(this.#small, this.#smallBytes)
    this.#smallBytes = bytes
    this.#smallPieces += 1
    const { readableLength, readableHighWaterMark } = this.#request
    return this.#smallPieces < MANY_PIECES && readableLength + bytes < readableHighWaterMark
  }

  readonly #pushSoon = (): void => {
    if (this.#smallPieces < MANY_PIECES) this.#pushSmall()
    else this.#options.turns.next(this.#pushSmall)
  }

  /** Pushes the joined pieces once the piece before them was read, or if something else follows. */
  readonly #pushSmall = (follows = false): void => {
    if (this.#smallBytes === 0 || (this.#request.readableLength > 0 && !follows)) return
    const joined = this.#small.subarray(0, this.#smallBytes)
    this.#small = Buffer.alloc(0)
    this.#smallBytes = 0
    this.#smallPieces = 0
    IncomingMessage.prototype.push.call(this.#request, joined)
  }
}
