import { type Outcome, World } from './world.ts'

type Play = (seed: number, keep: readonly number[]) => Promise<Outcome>

const playAgain: Play = (seed, keep) => new World(seed, { keep, trace: true }).play()

/** Removes faults one by one, while the run still breaks the same invariant. */
export async function shrink(failed: Outcome, play = playAgain): Promise<Outcome> {
  let smallest = failed
  for (let index = 0; index < smallest.plan.length; ) {
    const keep = smallest.plan.filter((_, other) => other !== index).map(({ id }) => id)
    const outcome = await play(failed.seed, keep)
    if (outcome.violation?.invariant === failed.violation?.invariant) {
      smallest = outcome
      index = 0
    } else {
      index++
    }
  }
  return play(
    failed.seed,
    smallest.plan.map(({ id }) => id),
  )
}

export function replayCommand({ seed, plan }: Outcome, whole = false): string {
  const keep = whole ? '' : ` --keep ${plan.map(({ id }) => id).join(',') || 'none'}`
  return `npm run test:soak -- --seed ${seed}${keep} --trace`
}

const SHOWN_LINES = 60

/** Describes a failed run: the violation, the commands that replay it, and the end of the shortest trace. */
export async function report(failed: Outcome): Promise<string> {
  const small = await shrink(failed)
  const hidden = small.trace.length - SHOWN_LINES
  return [
    `seed ${failed.seed} breaks ${failed.violation?.message}`,
    `  replay it: ${replayCommand(failed, true)}`,
    `  with only ${small.plan.length} of its ${failed.plan.length} faults: ${replayCommand(small)}`,
    ...(hidden > 0 ? [`  (${hidden} earlier lines)`] : []),
    ...small.trace.slice(-SHOWN_LINES).map((line) => `  ${line}`),
    `  ${small.violation?.message}`,
  ].join('\n')
}
