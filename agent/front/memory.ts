import { IncomingMessage, type ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { noMemoryLeft, type Refusal } from './refusal.ts'

const BUDGET_BYTES = 64 * 1024 * 1024
/** Memory of a request beside its head. */
const REQUEST_BYTES = 6 * 1024
/** Limit for the heads that have not ended, in addition to the budget. */
const UNFINISHED_BYTES = 32 * 1024 * 1024
/** Bytes of bodies that may remain in memory before a collection. */
const COLLECT_EACH_BYTES = 8 * 1024 * 1024
/** Smaller pieces of a body are joined. */
const PIECE_BYTES = 4 * 1024
const NOTHING = Buffer.alloc(0)

/** The memory that clients may fill with requests. `spent` is called if a request is refused. */
export class Budget {
  readonly #spent: () => void
  #left = BUDGET_BYTES

  constructor(spent: () => void) {
    this.#spent = spent
  }

  /** Without a refusal, the request has room until its answer is closed. */
  refusal({ rawHeaders, url = '' }: IncomingMessage, answer: ServerResponse): Refusal | null {
    const bytes = rawHeaders.reduce((sum, { length }) => sum + length, REQUEST_BYTES + url.length)
    if (bytes > this.#left) {
      this.#spent()
      return noMemoryLeft()
    }
    this.#left -= bytes
    answer.once('close', () => {
      this.#left += bytes
    })
    return null
  }
}

/**
 * A request that joins small pieces of its body while an earlier piece is unread: each piece takes some 400 bytes
 * beside its own, and one read of 64 KiB can hold 10,000 chunks of a byte.
 */
export class JoiningRequest extends IncomingMessage {
  #small: Buffer = NOTHING
  #smallBytes = 0

  override push(piece: Buffer | null): boolean {
    if (piece === null || piece.length >= PIECE_BYTES) {
      this.#pushJoined()
      return super.push(piece)
    }
    if (this.#smallBytes === 0) setImmediate(() => this.pushSmall())
    const bytes = this.#smallBytes + piece.length
    if (bytes > this.#small.length) this.#small = Buffer.concat([this.#small], Math.max(1024, 2 * bytes))
    piece.copy(this.#small, this.#smallBytes)
    this.#smallBytes = bytes
    return this.readableLength + bytes < this.readableHighWaterMark
  }

  /** Must be called when a piece was read. */
  pushSmall(): void {
    if (this.readableLength === 0) this.#pushJoined()
  }

  #pushJoined(): void {
    if (this.#smallBytes === 0) return
    const joined = this.#small.subarray(0, this.#smallBytes)
    this.#small = NOTHING
    this.#smallBytes = 0
    super.push(joined)
  }
}

/**
 * Bounds the memory of heads that have not ended. Node keeps up to 64 KiB of each and does not report it: 7,000 of them
 * took 560 MB.
 */
export class UnfinishedHeads {
  /** Connections without a request in progress, each with the bytes that it had sent when its last request was over. */
  readonly #before = new Map<Socket, number>()

  connected(socket: Socket): void {
    this.#before.set(socket, 0)
    socket.once('close', () => this.#before.delete(socket))
  }

  ended(socket: Socket): void {
    this.#before.delete(socket)
  }

  /** The next head may begin. */
  answered(socket: Socket): void {
    if (!socket.destroyed) this.#before.set(socket, socket.bytesRead)
  }

  /** If the unfinished heads take too much memory together, closes the connections with the longest ones. */
  bound(): void {
    const heads = [...this.#before].map(([socket, before]) => ({ socket, bytes: socket.bytesRead - before }))
    let left = heads.reduce((sum, { bytes }) => sum + bytes, 0)
    if (left <= UNFINISHED_BYTES) return
    heads.sort((one, other) => other.bytes - one.bytes)
    for (const { socket, bytes } of heads) {
      if (left <= UNFINISHED_BYTES / 2) return
      socket.destroy()
      left -= bytes
    }
  }
}

/**
 * Starts V8's garbage collection after a number of bytes. V8 collects when its own heap fills, but the pieces of bodies
 * lie outside that heap. Three uploads of 200 MB took 160 MB without this class, and take 105 MB with it, at the same
 * speed.
 */
export class Garbage {
  #bytes = 0

  passed(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes < COLLECT_EACH_BYTES) return
    this.#bytes = 0
    // If the process was started without `--expose-gc`, V8 collects at its own times.
    globalThis.gc?.({ type: 'minor' })
  }
}
