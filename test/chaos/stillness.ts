import { mono } from '../support/stage.ts'

/**
 * After a launcher runs again: it looks at its clocks at once, and kills. How soon (200 ms) is measured by the fault
 * table; here it is given five looks, on a machine that is busy with whatever else wakes up then.
 */
const WAKING_MS = 1_000

interface Period {
  readonly from: number
  to: number
}

/**
 * When launchers were kept from executing by the run itself. In a pod only the launcher can end the workload: the one
 * documented limit under which a workload may outlive its Lease (`launcher stands still`, `machine woke up`).
 */
export class Stillness {
  readonly #periods = new Map<string, Period[]>()
  readonly #now: () => number

  constructor(now: () => number = mono) {
    this.#now = now
  }

  /** The launcher of this identity stands still, until what is returned is called; calls after the first do nothing. */
  begin(identity: string): () => void {
    const period: Period = { from: this.#now(), to: Number.POSITIVE_INFINITY }
    this.#periods.set(identity, [...(this.#periods.get(identity) ?? []), period])
    return () => {
      if (period.to === Number.POSITIVE_INFINITY) period.to = this.#now()
    }
  }

  /** Whether the launcher stood still at that time, in monotonic ms, or had only just gone on. */
  at(identity: string, time: number): boolean {
    return (this.#periods.get(identity) ?? []).some(({ from, to }) => time >= from && time <= to + WAKING_MS)
  }
}
