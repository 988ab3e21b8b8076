import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { noMemoryLeft, type Refusal } from './refusal.ts'

/** What a request takes beside its head. */
const REQUEST_BYTES = 6 * 1024
/** Of heads that have not ended, beside the budget. */
const UNFINISHED_BYTES = 32 * 1024 * 1024
/** What may be left of bodies in memory before it is collected. */
const COLLECT_EACH_BYTES = 8 * 1024 * 1024

/** The memory that clients may fill with heads of requests and bodies that are kept. `spent`: a request is refused. */
export class Budget {
  readonly #spent: () => void
  #left = 64 * 1024 * 1024

  constructor(spent: () => void) {
    this.#spent = spent
  }

  /** @param reserve bytes that are not for this: requests find room where bodies find none */
  takes(bytes: number, reserve = 0): boolean {
    if (this.#left - bytes < reserve) return false
    this.#left -= bytes
    return true
  }

  gone(bytes: number): void {
    this.#left += bytes
  }

  /** `null`: there is room for the request until its answer is closed. */
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

/** Node keeps up to 64 KiB of a head that has not ended, and says nothing of it: 7,000 of them took 560 MB. */
export class UnfinishedHeads {
  /** Connections without a request under way, and how much each had sent when its last one was over. */
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

  /** Closes the connections with the longest ones, where all together take too much. */
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
 * Bodies in chunks of a few bytes go on one after the other. Node takes a microsecond for each chunk, and one read has 10,000 of them:
 * without this, 80 such uploads kept all other clients waiting for more than 3 s.
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
 * Has V8 collect what has passed. By itself it does so as its own heap fills, and the pieces of bodies lie outside of that: three
 * uploads of 200 MB took 160 MB, and so take 105 MB, at the same speed.
 */
export class Garbage {
  readonly #collect: () => unknown
  #bytes = 0

  /** Where the process was not given `--expose-gc`, V8 does as it does by itself. */
  constructor(collect: () => unknown = () => globalThis.gc?.({ type: 'minor' })) {
    this.#collect = collect
  }

  passed(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes < COLLECT_EACH_BYTES) return
    this.#bytes = 0
    this.#collect()
  }
}
