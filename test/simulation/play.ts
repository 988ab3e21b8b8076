import type { Stage } from './agent-host.ts'
import type { FaultKind } from './faults/kinds.ts'
import type { Limit } from './limits.ts'
import type { Delay } from './recovery.ts'
import { type Outcome, World } from './world.ts'

const HOUR_MS = 3_600_000

export class Tally {
  runs = 0
  steps = 0
  takeovers = 0
  restarts = 0
  failures = 0
  /** The number of runs in which a leader went on by consent of its members. */
  consents = 0
  private simulatedMs = 0
  /** The longest time from the last fault until a replica serves permanently. */
  longestRecoveryMs = 0
  /** How often each kind of fault found a target. */
  readonly faults = new Map<FaultKind, number>()
  /** The number of runs that each documented limit excused. */
  readonly limits = new Map<Limit, number>()
  /** The number of runs that needed each delay to recover in time. */
  readonly delays = new Map<Delay, number>()
  readonly terminatedAt = new Map<Stage, number>()

  add(outcome: Outcome): void {
    this.runs++
    this.steps += outcome.steps
    this.takeovers += outcome.takeovers
    this.restarts += outcome.restarts
    this.simulatedMs += outcome.simulatedMs
    if (outcome.ledByConsent) this.consents++
    if (outcome.violation !== null) this.failures++
    this.longestRecoveryMs = Math.max(this.longestRecoveryMs, outcome.recovery?.ms ?? 0)
    count(this.faults, outcome.struck)
    count(this.limits, outcome.limits)
    count(this.delays, outcome.recovery?.delays ?? [])
    count(this.terminatedAt, outcome.terminatedAt)
  }

  get simulatedHours(): number {
    return this.simulatedMs / HOUR_MS
  }
}

function count<K>(counts: Map<K, number>, keys: Iterable<K>): void {
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1)
}

export async function playUntilFailure(
  first: number,
  seeds: number,
  among?: readonly FaultKind[],
): Promise<{ tally: Tally; failure: Outcome | null }> {
  const tally = new Tally()
  for (let seed = first; seed < first + seeds; seed++) {
    const outcome = await new World(seed, { among }).play()
    tally.add(outcome)
    if (outcome.violation !== null) return { tally, failure: outcome }
  }
  return { tally, failure: null }
}
