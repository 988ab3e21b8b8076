import type { Instant } from '../clock.ts'
import { judgeVersion, rehearse } from './ability.ts'
import { follow, leave } from './follower.ts'
import { lead } from './leader.ts'
import { observe } from './observe.ts'
import { type CandidateConfig, type CandidateState, type Fact, type Input, NEVER } from './state.ts'

/**
 * Who leads, decided: takes one fact in and returns the next state, with what to do about it, and a sentence that says
 * why. A pure function; the elector runs its effects, the simulation runs it under a virtual clock.
 *
 * What it guarantees: while a term lasts, the workload holds grants that end before anybody else can take the
 * Lease. What it does not: that a process without a launcher obeys them (see docs/decisions.md).
 */
export function transition(
  config: CandidateConfig,
  before: CandidateState,
  fact: Fact,
  now: Instant,
): CandidateState {
  const input: Input = { config, fact, now }
  const begun = { ...before, effects: [], wakeAt: NEVER }
  if (begun.phase === 'ending' && begun.exited) return begun

  // 1. Fold the fact into what is known. Another holder ends the term at once, an acknowledged write begins or extends it.
  const observed = observe(input, begun)

  // 2. The holder renews, doubts, loses, or steps down.
  const led = observed.term === null ? observed : lead(input, observed)

  // 3. The versions of LangFlow are compared.
  const state = judgeVersion(input, led)

  // 4. Whoever does not hold the Lease, or not any more, follows or leaves.
  switch (state.phase) {
    case 'follower':
      return rehearse(input, follow(input, state))
    case 'ending':
      return leave(input, state)
    case 'leading':
    case 'stepping down':
      return state
  }
}
