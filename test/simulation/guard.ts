import type { Fault } from './faults/fault.ts'
import { GENTLE } from './faults/kinds.ts'
import type { Limit } from './limits.ts'
import type { Process } from './process.ts'
import type { Replica } from './replica.ts'
import type { Workload } from './workload.ts'

/** A late timer (2), clocks that drift (3 in 15 s) and the kernel at work on SIGKILL (20), in milliseconds. */
export const REACTION_MS = 30
/** The launcher compares its clocks this often: a machine that slept may execute for as long after it wakes up. */
export const CLOCK_CHECK_MS = 105
const NAMESPACE_ENDS_MS = 80

export interface GuardTimings {
  readonly leaseDurationMs: number
  readonly retryPeriodMs: number
  readonly killMarginMs: number
}

/** Whether anything is there that could end a workload in time, and if not, which documented limit that is. */
export class Guard {
  private readonly timings: GuardTimings
  private readonly now: () => number
  /** Until when the faults that struck so far may cost a replica its Lease. */
  private riskUntil = Number.NEGATIVE_INFINITY
  /** Workloads that lost their Lease while nothing could end them: they stay unguarded until something can. */
  private readonly lost = new WeakSet<Workload>()

  constructor(timings: GuardTimings, now: () => number) {
    this.timings = timings
    this.now = now
  }

  struck({ kind, at, ms }: Fault): void {
    if (GENTLE.includes(kind)) return
    const { leaseDurationMs, retryPeriodMs } = this.timings
    this.riskUntil = Math.max(this.riskUntil, at + ms + leaseDurationMs + retryPeriodMs)
  }

  /** Asked only where a workload acts that should not. */
  limit(replica: Replica): Limit | null {
    const { kernel, mode, workload, agent } = replica
    const awakeFor = this.now() - kernel.wokeAt
    if (awakeFor < CLOCK_CHECK_MS + REACTION_MS) return 'machine woke up'
    if (workload === null || !this.stands(workload.guard)) return null
    if (mode === 'pod') return this.podLimit(workload)
    const patience = this.timings.killMarginMs / 2 + CLOCK_CHECK_MS
    if (awakeFor < this.timings.retryPeriodMs + patience)
      return 'launcher stands still on a machine that woke up'
    const helpless = agent === null || !agent.process.runs || this.now() - agent.process.thawedAt < patience
    return helpless ? 'launcher and agent stand still' : null
  }

  private podLimit(workload: Workload): Limit | null {
    const { alive, diedAt } = workload.guard
    if (!alive) return this.now() - diedAt < NAMESPACE_ENDS_MS ? 'namespace is ending' : null
    // A leader with a frozen launcher keeps its Lease, unless something else takes it away.
    if (this.now() > this.riskUntil && !this.lost.has(workload)) return null
    this.lost.add(workload)
    return 'launcher stands still'
  }

  /** Frozen or dead, or only just running again: one that stood still while it looked at its clocks looks again later. */
  stands(guard: Process): boolean {
    const late = guard.stoodInTurn ? CLOCK_CHECK_MS : 0
    return !guard.runs || this.now() - guard.thawedAt < REACTION_MS + late
  }
}
