import type { Instant } from '../clock.ts'
import { rehearse } from './ability.ts'
import { campaign } from './campaigning.ts'
import { hold } from './holding.ts'
import { learn } from './learning.ts'
import { judgeVersion } from './outdated.ts'
import type { CandidateConfig, ElectionState, Fact, Transition } from './state.ts'
import { Turn } from './turn.ts'

/**
 * Who leads, decided: takes one fact in and returns the next state, what to do about it, and a sentence that says
 * why. A pure function; the elector runs its effects, the simulation runs it under a virtual clock.
 *
 * What it guarantees: while a term lasts, the workload holds grants that end before anybody else can take the
 * Lease. What it does not: that a process without a launcher obeys them (see docs/decisions.md).
 */
export function transition(
  config: CandidateConfig,
  state: ElectionState,
  fact: Fact,
  now: Instant,
): Transition {
  const turn = new Turn(config, state, fact, now)
  if (state.ended) return turn.finish()
  learn(turn)
  if (turn.state.term !== null) hold(turn)
  judgeVersion(turn)
  if (turn.state.term === null) {
    campaign(turn)
    rehearse(turn)
  }
  return turn.finish()
}
