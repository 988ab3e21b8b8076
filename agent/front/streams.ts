import type { Clock, Timer } from '../clock.ts'

/** SSE answers and websockets: what has no end of its own is ended when a takeover is planned. */
export class Streams {
  readonly #clock: Clock
  readonly #graceMs: number
  readonly #ends = new Set<() => void>()
  #timer: Timer | null = null
  #over = false

  constructor(clock: Clock, graceMs: number) {
    this.#clock = clock
    this.#graceMs = graceMs
  }

  /** @param end ends it as if it were complete. @returns what is called once it is over */
  add(end: () => void): () => void {
    this.#ends.add(end)
    // It began after all others were ended.
    if (this.#over) queueMicrotask(() => this.#ends.has(end) && end())
    return () => this.#ends.delete(end)
  }

  /** Ends each once the grace has passed, and those that begin later as they begin. */
  endSoon(): void {
    if (this.#over) return
    this.#timer ??= this.#clock.after(this.#graceMs, () => {
      this.#over = true
      for (const end of [...this.#ends]) end()
    })
  }

  /** The takeover is over, or was called off. */
  goOn(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#over = false
  }
}
