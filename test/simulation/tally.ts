import type { Stage } from './agent-host.ts'
import type { FaultKind } from './faults/kinds.ts'
import type { Limit } from './limits.ts'
import type { Delay } from './recovery.ts'
import type { Outcome } from './world.ts'

const HOUR_MS = 3_600_000

/** What many runs came to. */
export class Tally {
  runs = 0
  steps = 0
  takeovers = 0
  restarts = 0
  failures = 0
  simulatedMs = 0
  /** How often each kind of fault struck something. */
  readonly faults = new Map<FaultKind, number>()
  /** How many runs came to each documented limit. */
  readonly limits = new Map<Limit, number>()
  /** How many runs needed each delay to be in time again after their last fault. */
  readonly delays = new Map<Delay, number>()
  /** The longest time that it took, in milliseconds. */
  longestRecoveryMs = 0
  /** How often an agent was told to end at each stage. */
  readonly asked = new Map<Stage, number>()

  add({
    struck,
    steps,
    takeovers,
    restarts,
    simulatedMs,
    limits,
    asked,
    recovery,
    violation,
  }: Outcome): void {
    this.runs++
    this.steps += steps
    this.takeovers += takeovers
    this.restarts += restarts
    this.simulatedMs += simulatedMs
    if (violation !== null) this.failures++
    for (const kind of struck) count(this.faults, kind)
    for (const limit of limits) count(this.limits, limit)
    for (const delay of recovery?.delays ?? []) count(this.delays, delay)
    this.longestRecoveryMs = Math.max(this.longestRecoveryMs, recovery?.ms ?? 0)
    for (const stage of asked) count(this.asked, stage)
  }

  get simulatedHours(): number {
    return this.simulatedMs / HOUR_MS
  }
}

function count<K>(counts: Map<K, number>, key: K): void {
  counts.set(key, (counts.get(key) ?? 0) + 1)
}
