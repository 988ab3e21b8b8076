import type { Clock, Timer } from '../clock.ts'
import { type FailedBecause, type FromFront, NO_COUNTS } from './front-messages.ts'

const AT_MOST_EVERY_MS = 200

export type RequestState = 'arriving' | 'held' | 'inFlight' | 'streams' | 'over'

export class Counts {
  readonly #clock: Clock
  readonly #oldestMs: () => number
  readonly #report: (message: FromFront) => void
  readonly #requests = { arriving: 0, held: 0, inFlight: 0, streams: 0, over: 0 }
  readonly #forwarded = { ...NO_COUNTS.forwarded }
  readonly #failed = { ...NO_COUNTS.failed }
  #streamsEnded = 0
  #answeredAt = 0
  #due: Timer | null = null

  constructor(clock: Clock, oldestMs: () => number, report: (message: FromFront) => void) {
    this.#clock = clock
    this.#oldestMs = oldestMs
    this.#report = report
  }

  get unfinished(): number {
    const { arriving, held, inFlight, streams } = this.#requests
    return arriving + held + inFlight + streams
  }

  get inFlight(): number {
    return this.#requests.inFlight
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

  bytesFrom(source: 'langflow' | 'leader'): void {
    if (source === 'leader') return
    this.#answeredAt = this.#clock.mono()
    this.#changed()
  }

  streamEnded(): void {
    this.#streamsEnded++
    this.#changed()
  }

  #changed(): void {
    this.#due ??= this.#clock.after(AT_MOST_EVERY_MS, () => {
      this.#due = null
      const { held, inFlight, streams } = this.#requests
      const requests = { held, inFlight, streams, oldestHeldMs: Math.round(this.#oldestMs()) }
      const totals = { forwarded: this.#forwarded, failed: this.#failed, streamsEnded: this.#streamsEnded }
      const answeredAt = this.#answeredAt
      const counts = { ...requests, ...totals, answeredAt, rssBytes: process.memoryUsage.rss() }
      this.#report({ type: 'counts', counts })
      if (held > 0) this.#changed()
    })
  }
}
