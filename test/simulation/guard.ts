import type { Fault } from './faults/fault.ts'
import { GENTLE } from './faults/kinds.ts'
import type { Limit } from './limits.ts'
import type { Process } from './process.ts'
import type { Replica } from './replica.ts'
import type { Workload } from './workload.ts'
import type { World } from './world.ts'

/** A late timer (2), clocks that drift (3 in 15 s) and the kernel at work on SIGKILL (20), in milliseconds. */
export const REACTION_MS = 30
/** The launcher compares its clocks this often: a machine that slept may execute for as long after it wakes up. */
export const CLOCK_CHECK_MS = 105

/** Whether anything is there that could end a workload in time, and if not, which documented limit that is. */
export class Guard {
  private readonly world: World
  /** Until when the faults that struck a replica so far may cost it its Lease. */
  private readonly riskUntil = new Map<Replica, number>()

  constructor(world: World) {
    this.world = world
  }

  private get now(): number {
    return this.world.timeline.now
  }

  /** One that concerns this replica, or all of them. */
  struck(replica: Replica, { kind, at, ms }: Fault): void {
    if (GENTLE.includes(kind)) return
    const { leaseDurationMs, retryPeriodMs } = replica.config
    const until = at + ms + leaseDurationMs + retryPeriodMs
    this.riskUntil.set(replica, Math.max(this.risk(replica), until))
  }

  /** Asked only where a workload acts that should not. */
  limit(replica: Replica): Limit | null {
    const { kernel, mode, agent, knowledge, workload } = replica
    if (kernel.unseenSince(knowledge.acknowledgedAt) > 0) return 'no clock shows a pause'
    const awakeFor = this.now - kernel.wokeAt
    if (awakeFor < CLOCK_CHECK_MS + REACTION_MS) return 'machine woke up'
    if (workload === null || !this.stands(workload.guard)) return null
    if (mode === 'pod') return this.podLimit(replica, workload)
    const { killMarginMs, retryPeriodMs } = replica.config
    const patience = killMarginMs / 2 + CLOCK_CHECK_MS
    if (awakeFor < retryPeriodMs + patience) return 'launcher stands still on a machine that woke up'
    const helpless = agent === null || !agent.process.runs || this.now - agent.process.thawedAt < patience
    return helpless ? 'launcher and agent stand still' : null
  }

  private podLimit(replica: Replica, workload: Workload): Limit | null {
    // The launcher is PID 1: with its end the kernel ends everything else, without anybody being scheduled.
    if (!workload.guard.alive) return null
    // A leader with a frozen launcher keeps its Lease, unless something else takes it away.
    const lapsedAt = replica.knowledge.acknowledgedAt + replica.config.leaseDurationMs
    return Math.min(this.now, lapsedAt) > this.risk(replica) ? null : 'launcher stands still'
  }

  private risk(replica: Replica): number {
    return this.riskUntil.get(replica) ?? Number.NEGATIVE_INFINITY
  }

  /** Frozen or dead, or only just running again: one that stood still while it looked at its clocks looks again later. */
  stands(guard: Process): boolean {
    const late = guard.stoodInTurn ? CLOCK_CHECK_MS : 0
    return !guard.runs || this.now - guard.thawedAt < REACTION_MS + late
  }
}
