import { parseArgs } from 'node:util'
import { replayCommand, report } from './shrink.ts'
import { soak } from './soak.ts'
import { World } from './world.ts'

const DEFAULT_MINUTES = 10
const MINUTE_MS = 60_000
/** Soaks begin at a seed of their own, so that each one plays new ones. */
const SEED_RANGE = 1e9

const LONGEST_MINUTES = 10_000

const USAGE = `usage: npm run test:soak -- [--minutes N | --seeds N] [--seed N]
       npm run test:soak -- --seed N [--keep ID,ID,...] [--trace]
  --minutes N     play one seed after the other for this long (default: ${DEFAULT_MINUTES})
  --seeds N       play this many seeds
  --seed N        the first seed (default: another one each time); alone: the only one
  --keep ID,...   only these faults strike, of those that the seed decides on; "none": none of them
  --trace         print what happened
  --help          print this`

function fail(sentence: string): never {
  console.error(`${sentence} (--help says what there is)`)
  process.exit(2)
}

function parse() {
  try {
    return parseArgs({
      options: {
        seed: { type: 'string' },
        keep: { type: 'string' },
        trace: { type: 'boolean', default: false },
        seeds: { type: 'string' },
        minutes: { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    // Of a value that looks like a flag Node says more than one needs to know.
    const [sentence = ''] = (error as Error).message
      .replace(/ is ambiguous.*/s, ' is missing')
      .split(/\. |\n/)
    return fail(sentence)
  }
}

function wholeNumber(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const number = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(number)) return number
  return fail(`--${name} must be a whole number from 0 on, not "${text}"`)
}

async function replay(seed: number, keep: readonly number[] | undefined, trace: boolean): Promise<boolean> {
  const outcome = await new World(seed, { keep, trace }).play()
  const known = outcome.plan.length
  if (known < (keep?.length ?? 0)) fail(`--keep names faults that seed ${seed} does not have`)
  if (trace) console.log(outcome.trace.join('\n'))
  if (outcome.violation === null) console.log('no invariant was broken')
  else if (trace)
    console.log(`${outcome.violation.message}\nreplay it: ${replayCommand(outcome, keep === undefined)}`)
  else console.log(await report(outcome))
  return outcome.violation === null
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
  if (keep !== undefined || options.trace) fail('--keep and --trace go with --seed alone')
  const longest = minutes ?? (seeds === undefined ? DEFAULT_MINUTES : Number.POSITIVE_INFINITY)
  passed = await soak({
    first: seed ?? Math.floor(Math.random() * SEED_RANGE),
    seeds: seeds ?? Number.POSITIVE_INFINITY,
    until: performance.now() + longest * MINUTE_MS,
  })
}
if (!passed) process.exitCode = 1
