import { IncomingMessage, type ServerResponse } from 'node:http'
import type { Writable } from 'node:stream'
import { finished } from 'node:stream/promises'
import { hopOf, isEmptyThere } from './headers.ts'
import type { Budget, Garbage, Turns } from './memory.ts'

/** What is read whole before it is sent, so that it can be sent again. */
const SMALL_BYTES = 64 * 1024
/** Smaller pieces are joined: each takes some 400 bytes beside its own, and 64 KiB can hold 10,000 chunks of a byte. */
const PIECE_BYTES = 4 * 1024
/** Of a body that has sent more small pieces since it was last read, the rest waits for its turn. */
const MANY_PIECES = 1_000
/** Of the budget: bodies that would take it are sent as larger ones are, while they arrive. */
const RESERVE_BYTES = 48 * 1024 * 1024

/** The body of a request: unread until the request is about to be sent. */
export class RequestBody {
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  /** The client sends nothing of it before it is told to. */
  readonly expectsContinue: boolean
  readonly chunked: boolean
  /** There is none, and no header says so. */
  readonly unsized: boolean
  readonly #garbage: Garbage
  readonly #turns: Turns
  readonly #budget: Budget
  readonly #length: number
  #size: 'none' | 'small' | 'large'
  #keptBytes = 0
  #whole: Buffer | null = null
  #invited = false
  /** Small pieces that came while the stream of the request had one that nobody has read yet. */
  #small: Buffer = Buffer.alloc(0)
  #smallBytes = 0
  #smallPieces = 0
  /** Whether something was read of one that cannot be kept. */
  begun = false

  constructor(
    request: IncomingMessage,
    response: ServerResponse,
    expectsContinue: boolean,
    garbage: Garbage,
    budget: Budget,
    turns: Turns,
  ) {
    this.#turns = turns
    this.#garbage = garbage
    this.#budget = budget
    this.#request = request
    this.#response = response
    this.expectsContinue = expectsContinue
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

  /** Reads a small one, unless the budget is spent. `false`: the client went before its end. */
  async read(): Promise<boolean> {
    if (!this.#budget.takes(this.#length, RESERVE_BYTES)) {
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

  /** It is needed no more. */
  forget(): void {
    this.#budget.gone(this.#keptBytes)
    this.#keptBytes = 0
  }

  /** Of a small one, once it was read. */
  get whole(): Buffer | null {
    return this.#whole
  }

  /**
   * Sends a large one as it arrives; `done` is called at its end. Not by an iterator: that keeps the last piece until the next one
   * comes, and 1,700 of them took 110 MB.
   */
  stream(to: Writable, done: () => void): void {
    this.begun = true
    this.invite()
    const request = this.#request
    const relay = (piece: Buffer) => {
      this.#garbage.passed(piece.length)
      // One after the other: what is joined meanwhile is one piece.
      request.pause()
      to.write(piece, () => {
        request.resume()
        this.#pushSoon()
      })
    }
    request.on('data', relay)
    request.on('error', () => {})
    request.once('end', done)
    // LangFlow answered before it had read all, or its connection broke: the client can read that only once it has sent the rest.
    to.once('close', () => {
      request.off('data', relay).off('end', done)
      request.on('data', () => setImmediate(this.#pushSoon)).resume()
    })
  }

  /** In the place of the stream's own `push`. */
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
    else this.#turns.next(this.#pushSmall)
  }

  /** Once the one before was read, or something else follows. */
  readonly #pushSmall = (follows = false): void => {
    if (this.#smallBytes === 0 || (this.#request.readableLength > 0 && !follows)) return
    const joined = this.#small.subarray(0, this.#smallBytes)
    this.#small = Buffer.alloc(0)
    this.#smallBytes = 0
    this.#smallPieces = 0
    IncomingMessage.prototype.push.call(this.#request, joined)
  }
}
