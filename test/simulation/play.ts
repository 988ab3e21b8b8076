import type { FaultKind } from './faults/kinds.ts'
import { Tally } from './tally.ts'
import { type Outcome, World } from './world.ts'

export interface Played {
  readonly tally: Tally
  readonly failure: Outcome | null
}

/** Plays one seed after the other until one breaks an invariant, or all are played. */
export async function playUntilFailure(
  first: number,
  seeds: number,
  among?: readonly FaultKind[],
): Promise<Played> {
  const tally = new Tally()
  for (let seed = first; seed < first + seeds; seed++) {
    const outcome = await new World(seed, { among }).play()
    tally.add(outcome)
    if (outcome.violation !== null) return { tally, failure: outcome }
  }
  return { tally, failure: null }
}
