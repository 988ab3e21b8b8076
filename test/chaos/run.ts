import { accessSync, constants, existsSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'
import { BUNDLE } from '../harness/bundle.ts'
import { controlPlaneAssets } from '../harness/control-plane.ts'
import { podObstacle } from '../harness/pod.ts'
import { type ChaosOptions, type Outcome, playChaos } from './chaos.ts'
import { evidenceOf, markdown, type Summary, summarise } from './report.ts'

const LONGEST_MINUTES = 1_440
const SEEDS = 2 ** 32

const USAGE = `usage: npm run chaos -- [--minutes N] [--seed S] [--report FILE-BASE]

Five replicas on a real API server, a random fault each few seconds, and a judge that looks on: no two workloads act at
once, epochs only grow, no two are ready at once, and after all faults have healed one serves in time. The run stops at
the first violation and keeps everything that was written.

  --minutes N         how long, from 1 to ${LONGEST_MINUTES} (default: 10)
  --seed S            decides on the faults, from 0 to ${SEEDS - 1} (default: another one each time)
  --report FILE-BASE  write FILE-BASE.json and FILE-BASE.md, in a directory that exists
  --main FILE         the program to run instead of dist/langflow-leader.mjs, to see that a broken one is caught
  --help              show this

Exit code 0: no violation; 1: a violation; 2: wrong usage, no run is possible here, or its report
could not be written; 130: interrupted.`

const say = (sentence: string) => console.error(sentence)

function number(name: string, text: string, least: number, most: number): number {
  const value = Number(text)
  if (/^\d+(\.\d+)?$/.test(text) && value >= least && value <= most) return value
  throw new Error(`--${name} must be a number from ${least} to ${most}, not "${text}"`)
}

/** Throws one sentence where the command line is wrong, or no run is possible on this machine. */
function parse() {
  const text = { type: 'string' } as const
  const options = { minutes: text, seed: text, report: text, main: text, help: { type: 'boolean' } } as const
  const { values } = parseArgs({ options })
  if (values.help) {
    console.log(USAGE)
    process.exit(0)
  }
  const { main = BUNDLE, report, minutes = '10', seed = `${Math.floor(Math.random() * SEEDS)}` } = values
  if (!existsSync(main)) throw new Error(`--main: there is no file ${main}`)
  // A directory that is missing must not show only after the run.
  if (report !== undefined) accessSync(dirname(report), constants.W_OK)
  controlPlaneAssets()
  const obstacle = podObstacle()
  if (obstacle !== undefined) throw new Error(obstacle)
  return {
    minutes: number('minutes', minutes, 1, LONGEST_MINUTES),
    seed: Math.floor(number('seed', seed, 0, SEEDS - 1)),
    report,
    main,
  }
}

/** Returns the exit code. */
async function play({ report, ...options }: ReturnType<typeof parse>): Promise<number> {
  const interruption = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      if (!interruption.signal.aborted) say('interrupted: ending all processes')
      interruption.abort()
    })
  say(`seed ${options.seed}, ${options.minutes} min`)
  let outcome: Outcome
  try {
    outcome = await playChaos({ ...options, say, signal: interruption.signal } satisfies ChaosOptions)
  } catch (error) {
    say(`the run could not go on: ${(error as Error).message}`)
    return 2
  }
  const summary = summarise(outcome)
  const text = markdown(summary)
  // First of all: what hours have come to must not be lost with a file.
  console.log(text)
  const written = report === undefined || write(report, summary, text)
  if (outcome.violation !== null && outcome.evidence !== null) {
    say(`\n${evidenceOf(outcome, outcome.violation, outcome.evidence)}`)
    return 1
  }
  if (!written) return 2
  return outcome.interrupted ? 130 : 0
}

/** Returns whether that was possible. */
function write(base: string, summary: Summary, text: string): boolean {
  try {
    writeFileSync(`${base}.json`, `${JSON.stringify(summary, null, 2)}\n`)
    writeFileSync(`${base}.md`, `${text}\n`)
  } catch (error) {
    say(`the report could not be written: ${(error as Error).message}`)
    return false
  }
  say(`report: ${base}.json, ${base}.md`)
  return true
}

try {
  process.exit(await play(parse()))
} catch (error) {
  say(`${(error as Error).message} (--help says what there is)`)
  process.exit(2)
}
