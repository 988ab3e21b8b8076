import { KINDS } from './faults/kinds.ts'
import { LIMITS } from './limits.ts'
import { DELAYS } from './recovery.ts'
import { report } from './shrink.ts'
import { Tally } from './tally.ts'
import { World } from './world.ts'

const PROGRESS_MS = 30_000
/** Enough to see that something is wrong; each takes a while to shrink. */
const MOST_FAILURES = 5

export interface Soaking {
  readonly first: number
  readonly seeds: number
  /** `performance.now()` at which no further run begins. */
  readonly until: number
}

/** Plays seed after seed, says how far it is, and sums up. Returns whether no run broke an invariant. */
export async function soak({ first, seeds, until }: Soaking): Promise<boolean> {
  const began = performance.now()
  const tally = new Tally()
  let saidAt = began
  for (let seed = first; seed < first + seeds && performance.now() < until; seed++) {
    const outcome = await new World(seed).play()
    tally.add(outcome)
    if (outcome.violation !== null) console.log(`${await report(outcome)}\n`)
    if (tally.failures >= MOST_FAILURES) break
    if (performance.now() - saidAt < PROGRESS_MS) continue
    saidAt = performance.now()
    console.log(`${Math.round((saidAt - began) / 1000)} s: ${headline(tally)}`)
  }
  console.log(summary(first, tally))
  return tally.failures === 0
}

function headline({ runs, simulatedHours, failures }: Tally): string {
  return `${runs} seeds, ${simulatedHours.toFixed(0)} simulated hours, ${failures} broke an invariant`
}

function summary(first: number, tally: Tally): string {
  return [
    '',
    `seeds ${first} to ${first + tally.runs - 1}: ${headline(tally)}`,
    `${tally.takeovers} takeovers, ${tally.restarts} restarts in place, ${tally.steps} steps`,
    `longest time from the last fault to one that serves: ${(tally.longestRecoveryMs / 1000).toFixed(1)} s`,
    '',
    'faults by kind:',
    ...columns(KINDS.map((kind) => `${String(tally.faults.get(kind) ?? 0).padStart(9)}  ${kind}`)),
    '',
    'agents told to end, by what they were at:',
    `  ${[...tally.asked].map(([stage, count]) => `${stage} ${count}`).join(', ') || 'none'}`,
    '',
    'runs that came to a documented limit:',
    ...counted(LIMITS, tally.limits),
    '',
    'runs that were later than lease duration, retry period and start after the last fault:',
    ...counted(DELAYS, tally.delays),
  ].join('\n')
}

function counted<Name extends string>(known: Record<Name, string>, counts: Map<Name, number>): string[] {
  const lines = (Object.keys(known) as Name[]).flatMap((name) =>
    counts.has(name) ? [`${String(counts.get(name)).padStart(9)}  ${name}: ${known[name]}`] : [],
  )
  return lines.length === 0 ? ['  none'] : lines
}

const WIDTH = 44

function columns(cells: readonly string[]): string[] {
  const rows = Math.ceil(cells.length / 2)
  return cells
    .slice(0, rows)
    .map((left, index) => `${left.padEnd(WIDTH)}${cells[rows + index] ?? ''}`.trimEnd())
}
