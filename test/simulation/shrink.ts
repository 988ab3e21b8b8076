import { type Outcome, World } from './world.ts'

/** Leaves out one fault after the other for as long as the run still breaks the same invariant. */
export async function shrink(failed: Outcome): Promise<Outcome> {
  let smallest = failed
  for (let index = 0; index < smallest.plan.length; ) {
    const keep = smallest.plan.filter((_, other) => other !== index).map(({ id }) => id)
    const outcome = await new World(failed.seed, { keep, trace: true }).play()
    if (outcome.violation?.invariant === failed.violation?.invariant) {
      smallest = outcome
      index = 0
    } else {
      index++
    }
  }
  const keep = smallest.plan.map(({ id }) => id)
  return new World(failed.seed, { keep, trace: true }).play()
}

/** The command that plays a run again. */
export function replayCommand({ seed, plan }: Outcome, whole = false): string {
  const keep = whole ? '' : ` --keep ${plan.map(({ id }) => id).join(',') || 'none'}`
  return `node test/simulation/run.ts --seed ${seed}${keep} --trace`
}

const SHOWN_LINES = 60

/** What a person needs to see of a run that failed. */
export async function report(failed: Outcome): Promise<string> {
  const small = await shrink(failed)
  const hidden = small.trace.length - SHOWN_LINES
  return [
    `seed ${failed.seed} breaks ${failed.violation?.message}`,
    `  replay it: ${replayCommand(failed, true)}`,
    `  ${small.plan.length} of its ${failed.plan.length} faults are enough: ${replayCommand(small)}`,
    ...(hidden > 0 ? [`  (${hidden} earlier lines)`] : []),
    ...small.trace.slice(-SHOWN_LINES).map((line) => `  ${line}`),
    `  ${small.violation?.message}`,
  ].join('\n')
}
