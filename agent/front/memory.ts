import { IncomingMessage, type ServerResponse } from 'node:http'
import { AGAIN, Refusal } from './refusal.ts'

const BUDGET_BYTES = 64 * 1024 * 1024
const REQUEST_BYTES = 6 * 1024
const COLLECT_EACH_BYTES = 8 * 1024 * 1024
const PIECE_BYTES = 4 * 1024
const NOTHING = Buffer.alloc(0)

export class Budget {
  #left = BUDGET_BYTES

  /** Without a refusal, the request has room until its answer is closed. */
  refusal({ rawHeaders, url = '' }: IncomingMessage, answer: ServerResponse): Refusal | null {
    const bytes = rawHeaders.reduce((sum, { length }) => sum + length, REQUEST_BYTES + url.length)
    if (bytes > this.#left)
      return new Refusal(503, `this front has no memory left for another request: ${AGAIN}`, 'hold_limit')
    this.#left -= bytes
    answer.once('close', () => {
      this.#left += bytes
    })
    return null
  }
}

/** Joins small pieces of its body: each takes 400 bytes more, and a read can hold 10,000 pieces of a byte. */
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

let uncollectedBytes = 0

/** Collects the bodies, which lie outside V8's heap: three uploads of 200 MB took 160 MB without this. */
export function passed(bytes: number): void {
  uncollectedBytes += bytes
  if (uncollectedBytes < COLLECT_EACH_BYTES) return
  uncollectedBytes = 0
  globalThis.gc?.({ type: 'minor' })
}
