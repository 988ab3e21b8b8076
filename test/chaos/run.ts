import { writeFileSync } from 'node:fs'
import { controlPlaneAssets } from '../e2e/assets.ts'
import { podObstacle } from '../support/pod.ts'
import { type Outcome, playChaos } from './chaos.ts'
import { type Options, parseOptions, USAGE, UsageError } from './options.ts'
import { markdown, type Summary, summarise } from './report.ts'
import { testify } from './testimony.ts'

const say = (sentence: string) => console.error(sentence)

/** Returns the exit code. */
async function main(): Promise<number> {
  let options: Options | 'help'
  try {
    options = parseOptions(process.argv.slice(2))
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    say(`${error.message} (--help says what there is)`)
    return 2
  }
  if (options === 'help') {
    console.log(USAGE)
    return 0
  }
  const missing = obstacle()
  if (missing !== undefined) {
    say(missing)
    return 2
  }
  return play(options)
}

/** Why no run is possible on this machine. */
function obstacle(): string | undefined {
  try {
    controlPlaneAssets()
  } catch (error) {
    return (error as Error).message
  }
  return podObstacle()
}

async function play(options: Options): Promise<number> {
  const interruption = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      if (!interruption.signal.aborted) say('interrupted: ending all processes')
      interruption.abort()
    })
  say(`seed ${options.seed}, ${options.minutes} min`)
  let outcome: Outcome
  try {
    outcome = await playChaos({ ...options, say, signal: interruption.signal })
  } catch (error) {
    say(`the run could not go on: ${(error as Error).message}`)
    return 2
  }
  const summary = summarise(outcome)
  const text = markdown(summary)
  // First of all: what hours have come to must not be lost with a file.
  console.log(text)
  const written = options.report === undefined || write(options.report, summary, text)
  if (outcome.violation !== null && outcome.evidence !== null) {
    console.error(`\n${testify(outcome, outcome.violation, outcome.evidence)}`)
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

process.exit(await main())
