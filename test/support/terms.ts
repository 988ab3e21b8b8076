import type { Beat } from './beats.ts'

/** One term of one replica, by what its workload wrote. */
export interface Term {
  readonly replica: string
  readonly epoch: number
  /** Monotonic ms of its first and its last sign of life so far. */
  readonly first: number
  last: number
}

/** What a sign of life tells that must not be. */
export interface Finding {
  readonly what: 'late' | 'epoch'
  /** The term that acted on, or began in an epoch that is not the highest. */
  readonly term: Term
  /** The term that had begun, or was there, before. */
  readonly other: Term
  /** Monotonic ms. */
  readonly at: number
}

/** The terms of all replicas in the order of their first signs of life. Beats may come in any order. */
export class Terms {
  readonly list: Term[] = []
  readonly #byOwner = new Map<string, Term>()

  /** The term that had begun last at that time. */
  at(time: number): Term | undefined {
    return this.list.findLast(({ first }) => first <= time)
  }

  /** The term that began next after this one. */
  after(term: Term): Term | undefined {
    return this.list[this.list.lastIndexOf(term) + 1]
  }

  add({ replica, epoch, mono }: Beat): Finding[] {
    const owner = `${replica}/${epoch}`
    const term = this.#byOwner.get(owner)
    if (term !== undefined) {
      term.last = Math.max(term.last, mono)
      const next = this.after(term)
      return next !== undefined && mono > next.first ? [{ what: 'late', term, other: next, at: mono }] : []
    }
    const begun: Term = { replica, epoch, first: mono, last: mono }
    this.#byOwner.set(owner, begun)
    const place = this.list.findLastIndex(({ first }) => first <= mono) + 1
    const before = this.list[place - 1]
    const after = this.list[place]
    this.list.splice(place, 0, begun)
    const findings: Finding[] = []
    if (before !== undefined && before.epoch >= epoch)
      findings.push({ what: 'epoch', term: begun, other: before, at: mono })
    if (after !== undefined && epoch >= after.epoch)
      findings.push({ what: 'epoch', term: after, other: begun, at: after.first })
    for (const earlier of this.list.slice(0, place))
      if (earlier.last > mono) findings.push({ what: 'late', term: earlier, other: begun, at: earlier.last })
    return findings
  }
}
