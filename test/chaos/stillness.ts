import { mono } from '../support/stage.ts'

/** After a launcher runs again: it looks at its clocks each 100 ms, as documented. */
const LOOK_MS = 100
/**
 * And from that look until the kernel has ended what it kills: the fault table allows 150 ms for a pair of replicas, and
 * here more than twice as many processes want the same cores.
 */
const KILL_MS = 300
const WAKING_MS = LOOK_MS + KILL_MS

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

  /** Since when the launcher stood still at that time, both in monotonic ms, or had only just gone on. */
  since(identity: string, time: number): number | undefined {
    const periods = this.#periods.get(identity) ?? []
    return periods.find(({ from, to }) => time >= from && time <= to + WAKING_MS)?.from
  }
}
