import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { noMemoryLeft, type Refusal } from './refusal.ts'

/** What a request takes beside its head. */
const REQUEST_BYTES = 6 * 1024

/** The memory that clients may fill: heads of requests, bodies that are kept, messages of websockets. `spent`: a request is refused. */
export class Budget {
  readonly #spent: () => void
  #left = 64 * 1024 * 1024

  constructor(spent: () => void) {
    this.#spent = spent
  }

  /** @param reserve bytes that are not for this: requests find room where bodies and messages find none */
  takes(bytes: number, reserve = 0): boolean {
    if (this.#left - bytes < reserve) return false
    this.#left -= bytes
    return true
  }

  gone(bytes: number): void {
    this.#left += bytes
  }

  /** `null`: there is room for the request until `over` is closed. */
  refuses({ rawHeaders, url = '' }: IncomingMessage, over: ServerResponse | Socket): Refusal | null {
    const bytes = rawHeaders.reduce((sum, { length }) => sum + length, REQUEST_BYTES + url.length)
    if (this.takes(bytes)) {
      over.once('close', () => this.gone(bytes))
      return null
    }
    this.#spent()
    return noMemoryLeft()
  }
}
