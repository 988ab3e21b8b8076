import type { Fault } from './faults/fault.ts'
import { GENTLE } from './faults/kinds.ts'
import type { Limit } from './limits.ts'
import type { Process } from './process.ts'
import type { Replica } from './replica.ts'
import type { Workload } from './workload.ts'
import type { World } from './world.ts'

/** Allowance in ms: a late timer (2), clock drift (3 in 15 s) and the time for SIGKILL (20). */
export const REACTION_MS = 30
/** Interval at which the launcher compares its clocks. The workload may execute for that long after a wake-up. */
export const CLOCK_CHECK_MS = 105

/** Finds the documented limit that excuses a workload which acts too late: no program could have ended it in time. */
export class Guard {
  private readonly world: World
  /** Real time until which earlier faults may cost a replica its Lease. */
  private readonly riskUntil = new Map<Replica, number>()

  constructor(world: World) {
    this.world = world
  }

  private get now(): number {
    return this.world.timeline.now
  }

  struck(replica: Replica, { kind, at, ms }: Fault): void {
    if (GENTLE.includes(kind)) return
    const { leaseDurationMs, retryPeriodMs } = replica.config
    const until = at + ms + leaseDurationMs + retryPeriodMs
    this.riskUntil.set(replica, Math.max(this.risk(replica), until))
  }

  /** The limit that excuses a workload of this replica that acts too late. `null`: none does. */
  limit(replica: Replica): Limit | null {
    const { kernel, mode, agent, knowledge, workload } = replica
    if (kernel.unseenSince(knowledge.provenAt) > 0) return 'no clock shows a pause'
    const awakeFor = this.now - kernel.wokeAt
    if (awakeFor < CLOCK_CHECK_MS + REACTION_MS) return 'machine woke up'
    if (workload === null || !this.isInactive(workload.guard)) return null
    if (mode === 'pod') return this.podLimit(replica, workload)
    const { killMarginMs, retryPeriodMs } = replica.config
    const patience = killMarginMs / 2 + CLOCK_CHECK_MS
    if (awakeFor < retryPeriodMs + patience) return 'launcher frozen after a wake-up'
    const helpless = agent === null || !agent.process.runs || this.now - agent.process.thawedAt < patience
    return helpless ? 'launcher and agent frozen' : null
  }

  private podLimit(replica: Replica, workload: Workload): Limit | null {
    // The launcher is PID 1. When it ends, the kernel kills all other processes of the container.
    if (!workload.guard.alive) return null
    // A leader with a frozen launcher keeps its Lease, unless a second fault takes it away.
    const lapsedAt = replica.knowledge.provenAt + replica.config.leaseDurationMs
    return Math.min(this.now, lapsedAt) > this.risk(replica) ? null : 'launcher frozen'
  }

  private risk(replica: Replica): number {
    return this.riskUntil.get(replica) ?? Number.NEGATIVE_INFINITY
  }

  /**
   * Whether the guard can't have acted yet: it is frozen or dead, or has just resumed. A guard that was blocked while it
   * compared its clocks acts only after the next comparison.
   */
  isInactive(guard: Process): boolean {
    const late = guard.stoodInTurn ? CLOCK_CHECK_MS : 0
    return !guard.runs || this.now - guard.thawedAt < REACTION_MS + late
  }
}
