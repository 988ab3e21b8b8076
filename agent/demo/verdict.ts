import { FatalError } from '../exit.ts'
import { ANSWERING, type Answers } from './answers.ts'
import { BEATING, readBeats, termOf } from './beats.ts'
import type { Journal } from './journal.ts'
import { actingIntervals, overlapMs } from './overlap.ts'
import type { Result } from './result.ts'

/**
 * Whether two workloads ever acted at once: from the beats that they wrote, or from `answers` of their ports where they
 * write none. Throws a `FatalError` where a term left no beats, since 0 ms would then prove nothing.
 */
export function judge(
  beatsDir: string,
  answers: Answers | null,
  journal: Journal,
): Pick<Result, 'overlapMs' | 'overlapFrom' | 'samples'> {
  if (answers !== null) {
    return {
      overlapMs: whole(overlapMs(actingIntervals(answers.beats, ANSWERING))),
      overlapFrom: 'answers',
      samples: answers.beats.length,
    }
  }
  const { beats, terms } = readBeats(beatsDir)
  const silent = journal.entries.find(
    ({ event, replica, epoch }) => event === 'serving' && !terms.has(termOf(replica, epoch)),
  )
  if (silent) {
    throw new FatalError(`the workload of ${silent.replica} left no beats in epoch ${silent.epoch}`)
  }
  return {
    overlapMs: whole(overlapMs(actingIntervals(beats, BEATING))),
    overlapFrom: 'beats',
    samples: beats.length,
  }
}

/** Never rounds down to nothing. */
function whole(ms: number): number {
  return Math.ceil(ms)
}
