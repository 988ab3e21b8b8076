import { type Outcome, World } from './world.ts'

export interface Played {
  readonly runs: number
  readonly steps: number
  /** Runs in which something acted within a documented limit. */
  readonly excused: number
  readonly failure: Outcome | null
}

/** Plays one seed after the other until one breaks an invariant, all are played, or `performance.now()` is `until`. */
export async function playUntilFailure(first: number, seeds: number, until: number): Promise<Played> {
  let [runs, steps, excused] = [0, 0, 0]
  for (let seed = first; seed < first + seeds && performance.now() < until; seed++) {
    const outcome = await new World(seed).play()
    runs++
    steps += outcome.steps
    if (outcome.excused > 0) excused++
    if (outcome.violation !== null) return { runs, steps, excused, failure: outcome }
  }
  return { runs, steps, excused, failure: null }
}
