import type { Clock, Timer } from '../clock.ts'
import { type FailedBecause, type FromFront, type FrontCounts, NO_COUNTS } from './front-messages.ts'

const AT_MOST_EVERY_MS = 200

export type RequestState = 'arriving' | 'waiting' | 'in flight' | 'streaming' | 'over'

export class Counts {
  readonly #clock: Clock
  readonly #oldestMs: () => number
  readonly #report: (message: FromFront) => void
  readonly #requests: Record<RequestState, number> = {
    arriving: 0,
    waiting: 0,
    'in flight': 0,
    streaming: 0,
    over: 0,
  }
  readonly #forwarded = { ...NO_COUNTS.forwarded }
  readonly #failed = { ...NO_COUNTS.failed }
  #streamsEnded = 0
  #heldMs: number[] = []
  #due: Timer | null = null

  constructor(clock: Clock, oldestMs: () => number, report: (message: FromFront) => void) {
    this.#clock = clock
    this.#oldestMs = oldestMs
    this.#report = report
  }

  get unfinished(): number {
    const { over, ...rest } = this.#requests
    return Object.values(rest).reduce((sum, count) => sum + count)
  }

  arrived(): void {
    this.#requests.arriving++
  }

  became(from: RequestState, to: RequestState): void {
    this.#requests[from]--
    this.#requests[to]++
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
      held: this.#requests.waiting,
      oldestHeldMs: Math.round(this.#oldestMs()),
      inFlight: this.#requests['in flight'],
      streams: this.#requests.streaming,
      forwarded: { ...this.#forwarded },
      failed: { ...this.#failed },
      streamsEnded: this.#streamsEnded,
      rssBytes: process.memoryUsage.rss(),
    }
  }

  #changed(): void {
    this.#due ??= this.#clock.after(AT_MOST_EVERY_MS, () => {
      this.#due = null
      this.#report({ type: 'counts', counts: this.#now(), heldMs: this.#heldMs })
      this.#heldMs = []
      if (this.#requests.waiting > 0) this.#changed()
    })
  }
}
