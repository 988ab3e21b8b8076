import { type Beat, type Finding, type Term, Terms } from '../harness/judge.ts'
import { mayCostLease } from './faults.ts'
import type { Injected } from './injector.ts'
import { BACK_OFF } from './kubelet.ts'

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

/** One answer of an agent to `GET /readyz`. */
interface Poll {
  readonly replica: string
  /** Monotonic ms, before the request was sent. */
  readonly sentAt: number
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

/** Holds what the workloads wrote and the agents answered against the invariants. Throws `Violation` at the first breach. */
export class Judge {
  readonly terms = new Terms()
  readonly counts = { beats: 0, readyPolls: 0 }
  /** Signs of life, and the longest time that one came too late, in ms. */
  readonly excused: Record<keyof typeof EXCUSES, { signs: number; longestMs: number }> = {
    'launcher stood still': { signs: 0, longestMs: 0 },
    'epoch forgotten': { signs: 0, longestMs: 0 },
  }
  readonly #options: JudgeOptions
  #waiting: Poll[] = []

  constructor(options: JudgeOptions) {
    this.#options = options
  }

  beat(beat: Beat): void {
    this.counts.beats += 1
    for (const finding of this.terms.add(beat)) this.#weigh(finding)
  }

  /** Judged once the beats until it was sent are known: see `settle`. */
  poll(poll: Poll): void {
    if (poll.ready) this.#waiting.push(poll)
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

  #weigh({ what, term, other, at }: Finding): void {
    const { stillSince, leaseTaken, epochForgotten } = this.#options
    if (what === 'epoch') {
      if (!epochForgotten(term.replica, other.epoch, other.first))
        throw new Violation(
          'epochs grow',
          `${term.replica} began to act in epoch ${term.epoch} at ${ms(at)}, after ${other.replica} had acted in epoch ${other.epoch}`,
        )
      this.#excuse('epoch forgotten', 0)
      return
    }
    const lateMs = at - other.first
    const since = stillSince(term.replica, at)
    if (since === undefined || !leaseTaken(term, this.terms.after(term) as Term, since))
      throw new Violation(
        'one acts',
        `the workload of ${term.replica} (epoch ${term.epoch}) acted at ${ms(at)}, ${ms(lateMs)} after that of ${other.replica} (epoch ${other.epoch}) had begun`,
      )
    this.#excuse('launcher stood still', lateMs)
  }

  #excuse(name: keyof typeof EXCUSES, lateMs: number): void {
    const count = this.excused[name]
    count.signs += 1
    count.longestMs = Math.max(count.longestMs, lateMs)
  }
}

const ms = (time: number) => `${time.toFixed(1)} ms`
const seconds = (time: number) => `${(time / 1000).toFixed(1)} s`

/** What an agent says of a Lease whose holder gave it back. */
export const RELEASED = 'its holder released it'

/** After the end of a fault: a lease duration until the Lease has run out, and a retry period until somebody looks. */
const SHOWS_WITHIN_MS = 15_000 + 2_000

interface Succession {
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

/** What may pass after the last fault has healed until one serves, in milliseconds. */
export const RECOVERS_WITHIN_MS =
  15_000 + // lease duration
  2_000 + // retry period
  BACK_OFF.longestMs +
  5_000 + // stop of a workload that ignores SIGTERM
  4_000 // start of agent, launcher and workload

/** One that serves must go on for this long to count. */
const STEADY_MS = 4_000

/** Judges whether exactly one serves in time after everything has healed, by who is ready at each look. */
export class RecoveryWatch {
  readonly #healedAt: number
  readonly #allowedMs: number
  #one = ''
  #since: number

  constructor(healedAt: number, allowedMs: number) {
    this.#healedAt = healedAt
    this.#allowedMs = allowedMs
    this.#since = healedAt
  }

  /** Milliseconds until one served who went on; `undefined`: it cannot be told yet. Throws `Violation` where nobody did in time. */
  look(now: number, ready: readonly string[]): number | undefined {
    const one = ready.length === 1 ? (ready[0] as string) : ''
    if (one !== this.#one) this.#since = now
    this.#one = one
    const took = this.#since - this.#healedAt
    if (one !== '' && took <= this.#allowedMs) return now - this.#since >= STEADY_MS ? took : undefined
    const passed = now - this.#healedAt
    if (passed <= this.#allowedMs) return undefined
    const who = ready.length === 0 ? 'nobody served' : `${ready.join(' and ')} served, and no one in time`
    throw new Violation(
      'one serves again',
      `${who}, ${seconds(passed)} after the last fault had healed; ${seconds(this.#allowedMs)} are allowed`,
    )
  }
}
