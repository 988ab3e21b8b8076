import { type Beat, type Finding, type Term, Terms } from '../harness/judge.ts'
import { mayCostLease } from './faults.ts'
import type { Injected } from './injector.ts'
import { BACK_OFF } from './kubelet.ts'

export type Invariant =
  | 'at most one acts'
  | 'epochs grow'
  | 'at most one is ready'
  | 'exactly one serves again'

export class Violation extends Error {
  readonly invariant: Invariant

  constructor(invariant: Invariant, sentence: string) {
    super(sentence)
    this.name = 'Violation'
    this.invariant = invariant
  }
}

/** The documented limits. Each excuses only the check that names it. The summary counts them. */
export const EXCUSES = {
  'launcher frozen':
    'In a pod, only the launcher can end the workload. The run had frozen the launcher, and a second fault, or the first one if it froze the whole pod, took the Lease away. The workload continued until the launcher thawed or the liveness probe ended the container. A term that was released is never excused.',
  'epoch lost':
    'The Lease stores the epoch. A person had deleted it, and the candidate that recreated it had never read the last epoch.',
} as const

/** One answer of an agent to `GET /readyz`. */
interface Poll {
  readonly replica: string
  /** Monotonic ms just before the request was sent. */
  readonly sentAt: number
  readonly ready: boolean
}

export interface JudgeOptions {
  /** Monotonic ms since which the run had frozen the replica's launcher at the time `at`. `undefined`: it had not. */
  readonly frozenSince: (replica: string, at: number) => number | undefined
  /** Whether a fault took the Lease from a term whose launcher was frozen since then. */
  readonly leaseTaken: (term: Term, next: Term, frozenSince: number) => boolean
  /** Whether the replica can't know that `epoch` was used, because the Lease was deleted after `since`. */
  readonly epochLost: (replica: string, epoch: number, since: number) => boolean
}

/** Checks the workloads' beats and the agents' answers against the invariants. Throws `Violation` at the first breach. */
export class Judge {
  readonly terms = new Terms()
  readonly counts = { beats: 0, readyPolls: 0 }
  /** For each limit, the number of excused beats, and the most by which one was late, in ms. */
  readonly excused: Record<keyof typeof EXCUSES, { signs: number; longestMs: number }> = {
    'launcher frozen': { signs: 0, longestMs: 0 },
    'epoch lost': { signs: 0, longestMs: 0 },
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

  /** Records an answer. `settle` judges it when all beats before the request are known. */
  poll(poll: Poll): void {
    if (poll.ready) this.#waiting.push(poll)
  }

  /** All beats up to `until`, in monotonic ms, have been passed to `beat`. */
  settle(until: number): void {
    const due = this.#waiting.filter(({ sentAt }) => sentAt <= until)
    this.#waiting = this.#waiting.filter(({ sentAt }) => sentAt > until)
    for (const { replica, sentAt } of due) {
      this.counts.readyPolls += 1
      // Two ready answers prove nothing, because they have different times. But a replica that is asked after another one's
      // workload has begun must not be ready.
      const term = this.terms.at(sentAt)
      if (term === undefined || term.replica === replica) continue
      throw new Violation(
        'at most one is ready',
        `${replica} was asked at ${ms(sentAt)} and answered that it is ready, ${ms(sentAt - term.first)} after the workload of ${term.replica} had begun in epoch ${term.epoch}`,
      )
    }
  }

  #weigh({ what, term, other, at }: Finding): void {
    const { frozenSince, leaseTaken, epochLost } = this.#options
    if (what === 'epoch') {
      if (!epochLost(term.replica, other.epoch, other.first))
        throw new Violation(
          'epochs grow',
          `${term.replica} began to act in epoch ${term.epoch} at ${ms(at)}, after ${other.replica} had acted in epoch ${other.epoch}`,
        )
      this.#excuse('epoch lost', 0)
      return
    }
    const lateMs = at - other.first
    const since = frozenSince(term.replica, at)
    if (since === undefined || !leaseTaken(term, this.terms.after(term) as Term, since))
      throw new Violation(
        'at most one acts',
        `the workload of ${term.replica} (epoch ${term.epoch}) acted at ${ms(at)}, ${ms(lateMs)} after that of ${other.replica} (epoch ${other.epoch}) had begun`,
      )
    this.#excuse('launcher frozen', lateMs)
  }

  #excuse(name: keyof typeof EXCUSES, lateMs: number): void {
    const count = this.excused[name]
    count.signs += 1
    count.longestMs = Math.max(count.longestMs, lateMs)
  }
}

const ms = (time: number) => `${time.toFixed(1)} ms`
const seconds = (time: number) => `${(time / 1000).toFixed(1)} s`

/** The code that an agent logs when it acquires a Lease which its holder has released. */
export const RELEASED = 'released'

/** The longest time from a fault to the takeover that it causes: lease duration + retry period. */
const SHOWS_WITHIN_MS = 15_000 + 2_000

interface Succession {
  readonly term: Term
  /** The first term that began after it. */
  readonly next: Term
  /** The agent's logged reason for the beginning of `next`. `undefined`: unknown, or not logged yet. */
  readonly because: string | undefined
  /** Monotonic ms since which the launcher of `term` was frozen. */
  readonly frozenSince: number
}

/**
 * Whether a fault took the Lease from a replica whose launcher was frozen. A frozen launcher alone costs no Lease: the agent
 * continues to renew, and doesn't release until the end of the workload is confirmed.
 */
export function leaseTaken(
  { term, next, because, frozenSince }: Succession,
  injected: readonly Injected[],
): boolean {
  // If there was an epoch in between, another holder released the Lease.
  if (because === RELEASED && next.epoch === term.epoch + 1) return false
  return injected.some(
    ({ kind, at, healedAt, replica }) =>
      mayCostLease(kind) &&
      (replica === '' || replica === term.replica) &&
      at <= next.first &&
      healedAt >= frozenSince - SHOWS_WITHIN_MS,
  )
}

/** The longest permitted time from the end of the last fault until one replica serves. */
export const RECOVERS_WITHIN_MS =
  15_000 + // lease duration
  2_000 + // retry period
  BACK_OFF.longestMs +
  5_000 + // stop of a workload that ignores SIGTERM
  4_000 // start of agent, launcher and workload

/** A replica counts as recovered after it has served for this long. */
const STEADY_MS = 4_000

/** Judges by the ready replicas at each look whether exactly one serves in time after all faults have healed. */
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

  /**
   * The milliseconds until one replica served permanently. `undefined`: not decided yet. Throws `Violation` if no replica did
   * in time.
   */
  look(now: number, ready: readonly string[]): number | undefined {
    const one = ready.length === 1 ? (ready[0] as string) : ''
    if (one !== this.#one) this.#since = now
    this.#one = one
    const took = this.#since - this.#healedAt
    if (one !== '' && took <= this.#allowedMs) return now - this.#since >= STEADY_MS ? took : undefined
    const passed = now - this.#healedAt
    if (passed <= this.#allowedMs) return undefined
    const who =
      ready.length === 0 ? 'no replica served' : `${ready.join(' and ')} served, but not one alone in time`
    throw new Violation(
      'exactly one serves again',
      `${who}, ${seconds(passed)} after the last fault had healed; the limit is ${seconds(this.#allowedMs)}`,
    )
  }
}
