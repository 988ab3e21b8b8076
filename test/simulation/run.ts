import { parseArgs } from 'node:util'
import { replayCommand, report } from './shrink.ts'
import { World } from './world.ts'

const USAGE = `usage: node test/simulation/run.ts [--seed N] [--keep ID,ID,...] [--trace] [--seeds N | --minutes N]
  --seed N        the first seed, or the only one where nothing else is given (default: 1)
  --keep ID,...   only these faults strike, of those that the seed decides on; "none": none of them
  --trace         print what happened
  --seeds N       play this many seeds
  --minutes N     play seeds for this long`

const MINUTE_MS = 60_000

function wholeNumber(name: string, text: string): number {
  const number = Number(text)
  if (Number.isSafeInteger(number) && number >= 0) return number
  return fail(`--${name} must be a whole number from 0 on, not "${text}"`)
}

function fail(sentence: string): never {
  console.error(`${sentence}\n\n${USAGE}`)
  process.exit(2)
}

function parse() {
  try {
    return parseArgs({
      options: {
        seed: { type: 'string', default: '1' },
        keep: { type: 'string' },
        trace: { type: 'boolean', default: false },
        seeds: { type: 'string' },
        minutes: { type: 'string' },
      },
    }).values
  } catch (error) {
    return fail((error as Error).message)
  }
}

const options = parse()
const first = wholeNumber('seed', options.seed)
const seeds = options.seeds === undefined ? undefined : wholeNumber('seeds', options.seeds)
const minutes = options.minutes === undefined ? undefined : Number(options.minutes)
if (minutes !== undefined && !(minutes > 0)) fail(`--minutes must be above 0, not "${options.minutes}"`)
const keep = options.keep?.split(',').flatMap((id) => (id === 'none' ? [] : [wholeNumber('keep', id)]))

const count = seeds ?? (minutes === undefined ? 1 : Number.POSITIVE_INFINITY)
const until = performance.now() + (minutes === undefined ? Number.POSITIVE_INFINITY : minutes * MINUTE_MS)
let [played, steps, excused, failures] = [0, 0, 0, 0]

for (let seed = first; seed < first + count && performance.now() < until; seed++) {
  const outcome = await new World(seed, { keep, trace: options.trace }).play()
  played++
  steps += outcome.steps
  if (outcome.excused > 0) excused++
  if (options.trace) console.log(outcome.trace.join('\n'))
  if (outcome.violation === null) continue
  failures++
  process.exitCode = 1
  if (options.trace)
    console.log(`${outcome.violation.message}\nreplay it: ${replayCommand(outcome, keep === undefined)}`)
  else console.log(`${await report(outcome)}\n`)
}
console.log(
  `${played} runs, ${steps} steps, ${failures} broke an invariant; in ${excused} something acted within a documented limit`,
)
