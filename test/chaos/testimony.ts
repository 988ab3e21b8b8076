import { writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Beat } from '../support/beats.ts'
import { BUNDLE } from '../support/bundle.ts'
import { mono } from '../support/stage.ts'
import type { Outcome } from './chaos.ts'
import type { Violation } from './judge.ts'

const BEATS_OF_EACH = 6
const TERMS = 4
const FAULTS_MS = 60_000

/** What a violation leaves behind, in words; the whole of it goes into the directory that is kept. */
export function testify(outcome: Outcome, violation: Violation, evidence: string): string {
  const { judge, strikes, minutes, seed, main } = outcome
  // npm runs it in another directory than it may have been started in.
  const program = main === BUNDLE ? '' : ` --main '${resolve(main)}'`
  const now = mono()
  writeFileSync(join(evidence, 'faults.json'), JSON.stringify(strikes.list, null, 2))
  const late = strikes.list.filter(({ healedAt }) => healedAt >= now - FAULTS_MS)
  return [
    `VIOLATION, ${violation.invariant}: ${violation.message}.`,
    '',
    'last signs of life (CLOCK_MONOTONIC in ms):',
    ...lastOfEach(judge.recent).map(
      ({ replica, epoch, pid, what, mono: at }) =>
        `  ${at.toFixed(1)}  ${replica} epoch ${epoch} pid ${pid} ${what}`,
    ),
    '',
    `faults of the last ${FAULTS_MS / 1000} s:`,
    ...late.map(({ kind, replica, role, at, healedAt }) => {
      const until = healedAt === Number.POSITIVE_INFINITY ? 'active' : `until ${healedAt.toFixed(1)}`
      return `  ${at.toFixed(1)}  ${kind}${replica && ` on ${replica} (${role})`}, ${until}`
    }),
    '',
    `everything is in ${evidence}: logs/ of all pods, beats, faults.json`,
    `again: npm run chaos -- --minutes ${minutes} --seed ${seed}${program}`,
    '(the same faults in the same order; processes and the machine are real, so that their timing is not repeated exactly)',
  ].join('\n')
}

/** The last few of each term, in the order of their times. */
function lastOfEach(beats: readonly Beat[]): Beat[] {
  const owners = Map.groupBy(beats, ({ replica, epoch }) => `${replica}/${epoch}`)
  const last = [...owners.values()].slice(-TERMS)
  return last.flatMap((list) => list.slice(-BEATS_OF_EACH)).sort((a, b) => a.mono - b.mono)
}
