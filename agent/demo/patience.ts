import type { Clock } from '../clock.ts'
import { formatDuration } from '../config/values.ts'
import { FatalError } from '../exit.ts'

/** How often it is looked: often enough for a board, and no measure depends on it. */
const LOOK_EVERY_MS = 10

/** Waits for what is bound to happen, but not for ever, and not when all is over. */
export class Patience {
  readonly #clock: Clock
  readonly #signal: AbortSignal
  readonly #waits: (what: string) => void

  /** `signal` ends every wait with its reason. `waits` hears what is awaited. */
  constructor(clock: Clock, signal: AbortSignal, waits: (what: string) => void) {
    this.#clock = clock
    this.#signal = signal
    this.#waits = waits
  }

  /** The first answer of `look` that is neither `undefined` nor `null`. Rejects with a `FatalError` after `withinMs`. */
  async until<T>(what: string, withinMs: number, look: () => T | null | undefined): Promise<T> {
    this.#waits(what)
    const deadline = this.#clock.mono() + withinMs
    for (;;) {
      this.#signal.throwIfAborted()
      const found = look()
      if (found !== undefined && found !== null) return found
      if (this.#clock.mono() >= deadline) {
        throw new FatalError(`waited ${formatDuration(withinMs)} in vain for ${what}`)
      }
      await new Promise<void>((resolve) => this.#clock.after(LOOK_EVERY_MS, resolve))
    }
  }
}
