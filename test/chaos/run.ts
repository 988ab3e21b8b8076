import { existsSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { BUNDLE } from '../harness/bundle.ts'
import { controlPlaneAssets } from '../harness/control-plane.ts'
import { podObstacle } from '../harness/pod.ts'
import { type Outcome, playChaos, summary } from './chaos.ts'

const LONGEST_MINUTES = 1_440
const SEEDS = 2 ** 32

const USAGE = `usage: npm run chaos -- [--minutes N] [--seed S] [--main FILE]

Runs five replicas on a real API server, injects a random fault every few seconds, and judges (CONTRIBUTING.md).

  --minutes N         duration in minutes, from 1 to ${LONGEST_MINUTES} (default: 10)
  --seed S            seed of the faults, from 0 to ${SEEDS - 1} (default: random)
  --main FILE         run this program instead of dist/langflow-leader.mjs, to check that a broken one is caught

Exit codes: 0 no violation, 1 a violation or nothing to check, 2 wrong usage or an error of the run itself, 130 interrupted.`

const say = (sentence: string) => console.error(sentence)

function number(name: string, text: string, least: number, most: number): number {
  const value = Number(text)
  if (/^\d+(\.\d+)?$/.test(text) && value >= least && value <= most) return value
  throw new Error(`--${name} must be a number from ${least} to ${most}, not "${text}"`)
}

/** Throws an error of one sentence if the command line is wrong, or this machine lacks a requirement. */
function parse() {
  const text = { type: 'string' } as const
  const { values } = parseArgs({
    options: { minutes: text, seed: text, main: text, help: { type: 'boolean' } },
  })
  if (values.help) {
    console.log(USAGE)
    process.exit(0)
  }
  const { main = BUNDLE, minutes = '10', seed = `${Math.floor(Math.random() * SEEDS)}` } = values
  if (!existsSync(main)) throw new Error(`--main: the file ${main} does not exist`)
  controlPlaneAssets()
  const obstacle = podObstacle()
  if (obstacle !== undefined) throw new Error(obstacle)
  return {
    minutes: number('minutes', minutes, 1, LONGEST_MINUTES),
    seed: Math.floor(number('seed', seed, 0, SEEDS - 1)),
    main,
  }
}

/** Returns the exit code. */
async function play(options: ReturnType<typeof parse>): Promise<number> {
  const interruption = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      if (!interruption.signal.aborted) say('interrupted; ending all processes')
      interruption.abort()
    })
  say(`seed ${options.seed}, ${options.minutes} min`)
  let outcome: Outcome
  try {
    outcome = await playChaos({ ...options, say, signal: interruption.signal })
  } catch (error) {
    say(`the run failed: ${(error as Error).message}`)
    return 2
  }
  console.log(summary(outcome))
  if (outcome.violation !== undefined) {
    say(`\n${outcome.violation}`)
    return 1
  }
  if (interruption.signal.aborted) return 130
  const { judge, faults, recoveries } = outcome
  const looked = judge.beats > 0 && judge.readyAnswers > 0
  if (looked && faults.length > 0 && recoveries.length > 0) return 0
  say(
    'the run proves nothing: it had no faults, no beats, no ready answers or no recoveries; try more --minutes',
  )
  return 1
}

try {
  process.exit(await play(parse()))
} catch (error) {
  say(`${(error as Error).message}. Run with --help for the options.`)
  process.exit(2)
}
