import type { Clock, Timer } from '../clock.ts'

/** SSE answers and websockets: what has no end of its own is ended, after a grace, when a takeover is planned. */
export class Streams {
  readonly #clock: Clock
  readonly #graceMs: number
  readonly #noneLeft: () => void
  readonly #ends = new Set<() => void>()
  #timer: Timer | null = null
  #over = false

  /** `noneLeft`: once all are to be ended, none goes on; also where that is because all others have ended by themselves. */
  constructor(clock: Clock, graceMs: number, noneLeft: () => void) {
    this.#clock = clock
    this.#graceMs = graceMs
    this.#noneLeft = noneLeft
  }

  /** @param end ends it as if it were complete. @returns what is called once it is over */
  add(end: () => void): () => void {
    this.#ends.add(end)
    // It began after all others were ended.
    if (this.#over) queueMicrotask(() => this.#ends.delete(end) && end())
    return () => {
      this.#ends.delete(end)
      this.#look()
    }
  }

  /** Ends each once the grace has passed, and those that begin later as they begin. `by`: monotonic ms, then at the latest. */
  endSoon(by: number): void {
    const leftMs = Math.min(this.#graceMs, by - this.#clock.mono())
    this.#timer ??= this.#clock.after(Math.max(0, leftMs), () => this.endNow())
    if (leftMs <= 0) this.endNow()
    else this.#look()
  }

  /** The grace is over. */
  endNow(): void {
    this.#over = true
    // First of all, so that whoever connects again waits.
    this.#noneLeft()
    const ends = [...this.#ends]
    this.#ends.clear()
    for (const end of ends) end()
  }

  /** The takeover is over, or was called off. */
  goOn(): void {
    this.#timer?.cancel()
    this.#timer = null
    this.#over = false
  }

  #look(): void {
    if (this.#timer !== null && this.#ends.size === 0) this.#noneLeft()
  }
}
