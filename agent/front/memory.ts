import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { noMemoryLeft, type Refusal } from './refusal.ts'

/** Memory of a request beside its head. */
const REQUEST_BYTES = 6 * 1024
/** Limit for the heads that have not ended, in addition to the budget. */
const UNFINISHED_BYTES = 32 * 1024 * 1024
/** Bytes of bodies that may remain in memory before a collection. */
const COLLECT_EACH_BYTES = 8 * 1024 * 1024

/** The memory that clients may fill with request heads and kept bodies. `spent` is called if a request is refused. */
export class Budget {
  readonly #spent: () => void
  #left = 64 * 1024 * 1024

  constructor(spent: () => void) {
    this.#spent = spent
  }

  /** @param reserve bytes to leave free: requests find room when bodies do not */
  takes(bytes: number, reserve = 0): boolean {
    if (this.#left - bytes < reserve) return false
    this.#left -= bytes
    return true
  }

  gone(bytes: number): void {
    this.#left += bytes
  }

  /** `null`: the request has room until its answer is closed. */
  refuses({ rawHeaders, url = '' }: IncomingMessage, answer: ServerResponse): Refusal | null {
    const bytes = rawHeaders.reduce((sum, { length }) => sum + length, REQUEST_BYTES + url.length)
    if (this.takes(bytes)) {
      answer.once('close', () => this.gone(bytes))
      return null
    }
    this.#spent()
    return noMemoryLeft()
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
    let left = 0
    for (const [socket, before] of this.#before) left += socket.bytesRead - before
    if (left <= UNFINISHED_BYTES) return
    const heads = [...this.#before].map(([socket, before]) => ({ socket, bytes: socket.bytesRead - before }))
    heads.sort((one, other) => other.bytes - one.bytes)
    for (const { socket, bytes } of heads) {
      if (left <= UNFINISHED_BYTES / 2) return
      socket.destroy()
      left -= bytes
    }
  }
}

/**
 * Sends bodies in chunks of a few bytes one after the other. Node takes a microsecond for each chunk, and one read has
 * 10,000 of them. Without this class, 80 such uploads kept all other clients waiting for more than 3 s.
 */
export class Turns {
  readonly #waiting: (() => void)[] = []

  next(go: () => void): void {
    this.#waiting.push(go)
    if (this.#waiting.length === 1) setImmediate(this.#step)
  }

  readonly #step = (): void => {
    this.#waiting[0]?.()
    this.#waiting.shift()
    if (this.#waiting.length > 0) setImmediate(this.#step)
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
