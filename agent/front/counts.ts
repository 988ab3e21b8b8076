import type { Clock, Timer } from '../clock.ts'
import { type FailedBecause, type FromFront, type FrontCounts, NO_COUNTS } from './front-messages.ts'

const AT_MOST_EVERY_MS = 200

/** The state of a request. */
export type Doing = 'arriving' | 'waiting' | 'in flight' | 'streaming' | 'over'

/** Counts the requests by state and result, and reports to the agent from time to time. */
export class Counts {
  readonly #clock: Clock
  readonly #oldestMs: () => number
  readonly #tell: (message: FromFront) => void
  readonly #doing: Record<Doing, number> = { arriving: 0, waiting: 0, 'in flight': 0, streaming: 0, over: 0 }
  readonly #forwarded = { ...NO_COUNTS.forwarded }
  readonly #failed = { ...NO_COUNTS.failed }
  #streamsEnded = 0
  #heldMs: number[] = []
  #due: Timer | null = null

  constructor(clock: Clock, oldestMs: () => number, tell: (message: FromFront) => void) {
    this.#clock = clock
    this.#oldestMs = oldestMs
    this.#tell = tell
  }

  /** Requests and websockets that are not over. */
  get unfinished(): number {
    const { over, ...rest } = this.#doing
    return Object.values(rest).reduce((sum, count) => sum + count)
  }

  arrived(): void {
    this.#doing.arriving++
  }

  became(from: Doing, to: Doing): void {
    this.#doing[from]--
    this.#doing[to]++
    this.#changed()
  }

  forwarded(to: 'langflow' | 'leader'): void {
    this.#forwarded[to]++
    this.#changed()
  }

  failed(reason: FailedBecause): void {
    this.#failed[reason]++
    this.#changed()
  }

  streamEnded(): void {
    this.#streamsEnded++
    this.#changed()
  }

  waited(ms: number): void {
    this.#heldMs.push(Math.round(ms))
    this.#changed()
  }

  #now(): FrontCounts {
    return {
      held: this.#doing.waiting,
      oldestHeldMs: Math.round(this.#oldestMs()),
      inFlight: this.#doing['in flight'],
      streams: this.#doing.streaming,
      forwarded: { ...this.#forwarded },
      failed: { ...this.#failed },
      streamsEnded: this.#streamsEnded,
      rssBytes: process.memoryUsage.rss(),
    }
  }

  #changed(): void {
    this.#due ??= this.#clock.after(AT_MOST_EVERY_MS, () => {
      this.#due = null
      this.#tell({ type: 'counts', counts: this.#now(), heldMs: this.#heldMs })
      this.#heldMs = []
      // The age of the oldest waiting request grows without any event.
      if (this.#doing.waiting > 0) this.#changed()
    })
  }
}
