import { type Beat, type Finding, overlapMs, type Term, Terms } from '../harness/judge.ts'
import { mayCostLease } from './faults/kinds.ts'
import type { Injected } from './injector.ts'

export type Invariant = 'one acts' | 'epochs grow' | 'one is ready' | 'one serves again'

export class Violation extends Error {
  readonly invariant: Invariant

  constructor(invariant: Invariant, sentence: string) {
    super(sentence)
    this.name = 'Violation'
    this.invariant = invariant
  }
}

/** The documented limits; each excuses nothing but the one check that it is named in, and is counted. */
export const EXCUSES = {
  'launcher stood still':
    'In a pod only the launcher can end the workload. The run had frozen it, and a second fault (or the first, where it froze the whole pod) took the Lease away meanwhile: the workload went on until the launcher ran again or the liveness probe ended the container. No term that was released is excused.',
  'epoch forgotten':
    'Epochs live in the Lease. A person had deleted it, and the candidate that made it anew was never shown the last epoch.',
} as const

export type Excuse = keyof typeof EXCUSES

/** One answer of an agent to `GET /readyz`. */
export interface Poll {
  readonly replica: string
  /** Monotonic ms: before the request was sent, and after it was answered. */
  readonly sentAt: number
  readonly answeredAt: number
  readonly ready: boolean
}

export interface JudgeOptions {
  /** Since when the replica's launcher was kept from executing by the run at that time; `undefined`: it was not. */
  readonly stillSince: (replica: string, at: number) => number | undefined
  /** Whether a fault took the Lease from a term whose launcher stood still since then. */
  readonly leaseTaken: (term: Term, next: Term, stillSince: number) => boolean
  /** Whether the replica cannot know that this epoch was used, since the Lease was deleted after `since`. */
  readonly epochForgotten: (replica: string, epoch: number, since: number) => boolean
}

/** Beats are judged for the overlap in pieces of this length. */
const PIECE_MS = 60_000
/** Silences of the workload's log that count: a tenth of a second, as in the fault table. */
const SILENCE_MS = 100
/** Polls come each quarter of a second. */
const UNREADY_MS = 1_000

/** Holds what the workloads wrote and the agents answered against the invariants. Throws `Violation` at the first breach. */
export class Judge {
  readonly terms = new Terms()
  /** Times in which no workload executed. */
  readonly silences = new Gaps(SILENCE_MS)
  /** Times in which no agent said that it is ready. */
  readonly outages = new Gaps(UNREADY_MS)
  readonly counts = { beats: 0, starts: 0, polls: 0, readyPolls: 0, recoveries: 0 }
  readonly excused: Record<Excuse, { signs: number; incidents: number; longestMs: number }> = {
    'launcher stood still': { signs: 0, incidents: 0, longestMs: 0 },
    'epoch forgotten': { signs: 0, incidents: 0, longestMs: 0 },
  }
  /** Milliseconds of two terms acting at once, in all that was judged; only what is excused can be in it. */
  overlapMs = 0
  readonly #options: JudgeOptions
  readonly #incidents = new Set<string>()
  #piece: Beat[] = []
  #summedUp: readonly Beat[] = []
  #waiting: Poll[] = []

  constructor(options: JudgeOptions) {
    this.#options = options
  }

  /** The last beats: of up to two minutes. */
  get recent(): readonly Beat[] {
    return [...this.#summedUp, ...this.#piece]
  }

  beat(beat: Beat): void {
    this.counts.beats += 1
    if (beat.what === 'start') this.counts.starts += 1
    if (beat.mono - (this.#piece[0]?.mono ?? beat.mono) > PIECE_MS) this.#sumUp()
    this.#piece.push(beat)
    this.silences.seen(beat.mono, `${beat.replica}/${beat.epoch}`)
    for (const finding of this.terms.add(beat)) this.#weigh(finding)
  }

  /** Judged once the beats until it was sent are known: see `settle`. */
  poll(poll: Poll): void {
    this.counts.polls += 1
    if (!poll.ready) return
    this.outages.seen(poll.answeredAt, poll.replica)
    this.#waiting.push(poll)
  }

  /** All beats until then, in monotonic ms, have been given. */
  settle(until: number): void {
    const due = this.#waiting.filter(({ sentAt }) => sentAt <= until)
    this.#waiting = this.#waiting.filter(({ sentAt }) => sentAt > until)
    for (const { replica, sentAt } of due) {
      this.counts.readyPolls += 1
      // Two answers are not one instant. But who is asked after another's workload has begun must not be ready.
      const term = this.terms.at(sentAt)
      if (term === undefined || term.replica === replica) continue
      throw new Violation(
        'one is ready',
        `${replica} was asked at ${ms(sentAt)} and said that it is ready, ${ms(sentAt - term.first)} after the workload of ${term.replica} had begun in epoch ${term.epoch}`,
      )
    }
  }

  /** Everything has healed, and nobody, or more than one, served at the end of the time allowed. */
  notRecovered(sentence: string): never {
    throw new Violation('one serves again', sentence)
  }

  /** The end of the run, in monotonic ms. */
  finish(now: number): void {
    this.#sumUp()
    this.silences.finish(now)
    this.outages.finish(now)
  }

  #sumUp(): void {
    this.overlapMs += overlapMs(this.#piece)
    this.#summedUp = this.#piece
    this.#piece = []
  }

  #weigh({ what, term, other, at }: Finding): void {
    const key = `${what} ${term.replica}/${term.epoch} ${other.replica}/${other.epoch}`
    if (what === 'epoch') {
      if (!this.#options.epochForgotten(term.replica, other.epoch, other.first))
        throw new Violation(
          'epochs grow',
          `${term.replica} began to act in epoch ${term.epoch} at ${ms(at)}, after ${other.replica} had acted in epoch ${other.epoch}`,
        )
      this.#excuse('epoch forgotten', key, 0)
      return
    }
    const lateMs = at - other.first
    const stillSince = this.#options.stillSince(term.replica, at)
    const next = this.terms.after(term) as Term
    if (stillSince === undefined || !this.#options.leaseTaken(term, next, stillSince))
      throw new Violation(
        'one acts',
        `the workload of ${term.replica} (epoch ${term.epoch}) acted at ${ms(at)}, ${ms(lateMs)} after that of ${other.replica} (epoch ${other.epoch}) had begun`,
      )
    this.#excuse('launcher stood still', key, lateMs)
  }

  #excuse(name: Excuse, key: string, lateMs: number): void {
    const count = this.excused[name]
    count.signs += 1
    count.longestMs = Math.max(count.longestMs, lateMs)
    if (!this.#incidents.has(key)) count.incidents += 1
    this.#incidents.add(key)
  }
}

function ms(time: number): string {
  return `${time.toFixed(1)} ms`
}

/** A time without what was expected, in monotonic ms. */
export interface Gap {
  readonly from: number
  readonly to: number
  /** Who was there before it, and after it; `null`: nobody came before the end of the run. */
  readonly before: string
  readonly after: string | null
}

/** Finds the times longer than a threshold between signs of whatever is expected all along. */
export class Gaps {
  readonly list: Gap[] = []
  readonly #thresholdMs: number
  #last: { readonly at: number; readonly who: string } | undefined

  constructor(thresholdMs: number) {
    this.#thresholdMs = thresholdMs
  }

  /** A sign of life of somebody at that time; one that comes out of order changes nothing. */
  seen(at: number, who: string): void {
    if (this.#last !== undefined && at <= this.#last.at) return
    this.#close(at, who)
    this.#last = { at, who }
  }

  /** The end of the run: a time that has not ended by then counts as well. */
  finish(at: number): void {
    this.#close(at, null)
  }

  #close(at: number, after: string | null): void {
    const last = this.#last
    if (last !== undefined && at - last.at > this.#thresholdMs)
      this.list.push({ from: last.at, to: at, before: last.who, after })
  }
}

/** What an agent says of a Lease whose holder gave it back. */
export const RELEASED = 'its holder released it'

/** After the end of a fault: a lease duration until the Lease has run out, and a retry period until somebody looks. */
const SHOWS_WITHIN_MS = 15_000 + 2_000

export interface Succession {
  readonly term: Term
  /** The first that began after it. */
  readonly next: Term
  /** Why that could begin, as its agent says; `undefined`: that is not known, or not yet. */
  readonly because: string | undefined
  /** Monotonic ms: since then the launcher of `term` stood still. */
  readonly stillSince: number
}

/**
 * Whether a fault took the Lease from a replica whose launcher stood still. That alone costs no Lease: the agent goes on
 * renewing, and without proof that nothing lives it releases nothing.
 */
export function leaseTaken(
  { term, next, because, stillSince }: Succession,
  injected: readonly Injected[],
): boolean {
  // With an epoch in between it was another holder that released.
  if (because === RELEASED && next.epoch === term.epoch + 1) return false
  return injected.some(
    ({ kind, at, healedAt, replica }) =>
      mayCostLease(kind) &&
      (replica === '' || replica === term.replica) &&
      at <= next.first &&
      healedAt >= stillSince - SHOWS_WITHIN_MS,
  )
}
