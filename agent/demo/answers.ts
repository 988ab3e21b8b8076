import type { Clock } from '../clock.ts'
import { ask } from './ask.ts'
import type { Place } from './gates.ts'
import type { Beat, Rhythm } from './overlap.ts'
import { repeat } from './repeat.ts'

/** A second without an answer: a busy workload may need nearly as long for one. */
export const ANSWERING: Rhythm = { periodMs: 50, silenceMs: 1_000 }

/**
 * Asks each workload's own port for `/health`, past every gate: who answers acts. Stands in for the beats that a
 * workload of someone else's does not write.
 */
export class Answers {
  readonly beats: Beat[] = []
  readonly #places: readonly Place[]
  readonly #clock: Clock
  #stops: (() => void)[] = []

  constructor(places: readonly Place[], clock: Clock) {
    this.#places = places
    this.#clock = clock
  }

  start(): void {
    const question = {
      host: '127.0.0.1',
      path: '/health',
      timeoutMs: ANSWERING.silenceMs,
      clock: this.#clock,
    }
    this.#stops = this.#places.map(({ name, port }) =>
      repeat(this.#clock, ANSWERING.periodMs, async () => {
        const answered = await ask({ ...question, port }).then(
          () => true,
          () => false,
        )
        if (answered) this.beats.push({ actor: name, at: this.#clock.mono() })
      }),
    )
  }

  stop(): void {
    for (const stop of this.#stops) stop()
  }
}
