import type { Stage } from './agent-host.ts'
import type { FaultKind } from './faults/kinds.ts'
import type { Limit } from './limits.ts'
import type { Delay } from './recovery.ts'
import { type Outcome, World } from './world.ts'

const HOUR_MS = 3_600_000

/** What many runs came to. */
export class Tally {
  runs = 0
  steps = 0
  takeovers = 0
  restarts = 0
  failures = 0
  private simulatedMs = 0
  /** The longest time from the last fault to one that serves. */
  longestRecoveryMs = 0
  /** How often each kind of fault struck something. */
  readonly faults = new Map<FaultKind, number>()
  /** How many runs came to each documented limit. */
  readonly limits = new Map<Limit, number>()
  /** How many runs needed each delay to be in time again after their last fault. */
  readonly delays = new Map<Delay, number>()
  /** How often an agent was told to end at each stage. */
  readonly asked = new Map<Stage, number>()

  add(outcome: Outcome): void {
    this.runs++
    this.steps += outcome.steps
    this.takeovers += outcome.takeovers
    this.restarts += outcome.restarts
    this.simulatedMs += outcome.simulatedMs
    if (outcome.violation !== null) this.failures++
    this.longestRecoveryMs = Math.max(this.longestRecoveryMs, outcome.recovery?.ms ?? 0)
    count(this.faults, outcome.struck)
    count(this.limits, outcome.limits)
    count(this.delays, outcome.recovery?.delays ?? [])
    count(this.asked, outcome.asked)
  }

  get simulatedHours(): number {
    return this.simulatedMs / HOUR_MS
  }
}

function count<K>(counts: Map<K, number>, keys: Iterable<K>): void {
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1)
}

/** Plays one seed after the other until one breaks an invariant, or all are played. */
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
