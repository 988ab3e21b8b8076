import { parseArgs } from 'node:util'
import { KINDS } from './faults/kinds.ts'
import { LIMITS } from './limits.ts'
import { Tally } from './play.ts'
import { DELAYS } from './recovery.ts'
import { replayCommand, report } from './shrink.ts'
import { World } from './world.ts'

const DEFAULT_MINUTES = 10
const LONGEST_MINUTES = 10_000
const MINUTE_MS = 60_000
/** A soak begins at a random seed below this, so that each soak plays new seeds. */
const SEED_RANGE = 1e9
const PROGRESS_MS = 30_000
/** A soak ends after this many failures, because each one takes a while to shrink. */
const MOST_FAILURES = 5

const USAGE = `usage: npm run test:soak -- [--minutes N | --seeds N] [--seed N]
       npm run test:soak -- --seed N [--keep ID,ID,...] [--trace]
  --minutes N     play seeds for this long (default: ${DEFAULT_MINUTES})
  --seeds N       play this many seeds
  --seed N        the first seed (default: random). Without --minutes and --seeds, play only this one
  --keep ID,...   inject only these of the seed's faults; "none" for a run without faults
  --trace         print all events of the run
  --help          show this help`

function fail(sentence: string): never {
  console.error(`${sentence}. Run with --help for the options.`)
  process.exit(2)
}

function parse() {
  const text = { type: 'string' } as const
  const flag = { type: 'boolean', default: false } as const
  try {
    const options = { seed: text, keep: text, trace: flag, seeds: text, minutes: text, help: flag }
    return parseArgs({ options }).values
  } catch (error) {
    return fail((error as Error).message)
  }
}

function wholeNumber(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const number = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(number)) return number
  return fail(`--${name} must be a whole number of at least 0, not "${text}"`)
}

async function replay(seed: number, keep: readonly number[] | undefined, trace: boolean): Promise<boolean> {
  const outcome = await new World(seed, { keep, trace }).play()
  if (outcome.plan.length < (keep?.length ?? 0)) fail(`--keep names a fault that seed ${seed} does not have`)
  if (trace) console.log(outcome.trace.join('\n'))
  if (outcome.violation === null) console.log('no invariant was broken')
  else if (trace)
    console.log(`${outcome.violation.message}\nreplay it: ${replayCommand(outcome, keep === undefined)}`)
  else console.log(await report(outcome))
  return outcome.violation === null
}

/** Plays seeds in order, and prints its progress and a summary. Returns whether all runs kept all invariants. */
async function soak(first: number, seeds: number, minutes: number): Promise<boolean> {
  const began = performance.now()
  const tally = new Tally()
  let reportedAt = began
  for (let seed = first; seed < first + seeds; seed++) {
    if (performance.now() > began + minutes * MINUTE_MS || tally.failures >= MOST_FAILURES) break
    const outcome = await new World(seed).play()
    tally.add(outcome)
    if (outcome.violation !== null) console.log(`${await report(outcome)}\n`)
    if (performance.now() - reportedAt < PROGRESS_MS) continue
    reportedAt = performance.now()
    console.log(`${Math.round((reportedAt - began) / 1000)} s: ${headline(tally)}`)
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
    `${tally.takeovers} takeovers, ${tally.restarts} restarts in place, ${tally.consents} runs with a leader by consent, ${tally.steps} steps`,
    `longest time from the last fault until a replica serves permanently: ${(tally.longestRecoveryMs / 1000).toFixed(1)} s`,
    '',
    'faults by kind:',
    ...KINDS.map((kind) => `${String(tally.faults.get(kind) ?? 0).padStart(9)}  ${kind}`),
    '',
    'agents terminated, by their stage:',
    `  ${[...tally.terminatedAt].map(([stage, count]) => `${stage} ${count}`).join(', ') || 'none'}`,
    '',
    'runs with an incident that a documented limit excuses:',
    ...counted(LIMITS, tally.limits),
    '',
    'runs that took longer than lease duration + retry period + start to recover, and why:',
    ...counted(DELAYS, tally.delays),
  ].join('\n')
}

function counted<Name extends string>(about: Record<Name, string>, counts: Map<Name, number>): string[] {
  const lines = (Object.keys(about) as Name[])
    .filter((name) => counts.has(name))
    .map((name) => `${String(counts.get(name)).padStart(9)}  ${name}: ${about[name]}`)
  return lines.length === 0 ? ['  none'] : lines
}

const options = parse()
if (options.help) {
  console.log(USAGE)
  process.exit(0)
}
const seed = wholeNumber('seed', options.seed)
const seeds = wholeNumber('seeds', options.seeds)
const minutes = options.minutes === undefined ? undefined : Number(options.minutes)
if (minutes !== undefined && !(minutes > 0 && minutes <= LONGEST_MINUTES))
  fail(`--minutes must be above 0 and at most ${LONGEST_MINUTES}, not "${options.minutes}"`)
if (seeds === 0) fail('--seeds must be at least 1')
const keep = options.keep
  ?.split(',')
  .flatMap((id) => (id === 'none' ? [] : [wholeNumber('keep', id) as number]))

let passed: boolean
if (seed !== undefined && seeds === undefined && minutes === undefined) {
  passed = await replay(seed, keep, options.trace)
} else {
  if (keep !== undefined || options.trace)
    fail('--keep and --trace require --seed, without --minutes and --seeds')
  const first = seed ?? Math.floor(Math.random() * SEED_RANGE)
  const longest = minutes ?? (seeds === undefined ? DEFAULT_MINUTES : Number.POSITIVE_INFINITY)
  passed = await soak(first, seeds ?? Number.POSITIVE_INFINITY, longest)
}
if (!passed) process.exitCode = 1
