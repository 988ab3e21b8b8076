// usage: npm run bench:takeover -- --help
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { LANGFLOW_MISSING, langflowBinary, writeFlow } from '../../e2e/langflow.ts'
import { type Fact, machineFacts } from '../../support/machine.ts'
import { podObstacle } from '../../support/pod.ts'
import { type Postgres, postgresMissing, startPostgres } from '../../support/postgres.ts'
import { Ground } from '../ground.ts'
import { withPart } from '../page-part.ts'
import { say } from '../progress.ts'
import { shortcomings } from '../report.ts'
import { measureTakeovers } from './measure.ts'
import { type Options, parseOptions, USAGE, UsageError } from './options.ts'
import { partText, plotOf, type Result, TAKEOVER_PART } from './page.ts'
import { sectionOf } from './sections.ts'

const PICTURE = 'takeover.svg'

function parse(): Options {
  try {
    const options = parseOptions(process.argv.slice(2))
    if (options !== 'help') return options
    process.stdout.write(`${USAGE}\n`)
    process.exit(0)
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    process.stderr.write(`${error.message}\n`)
    process.exit(2)
  }
}

async function measure(ground: Ground, binary: string, options: Options): Promise<Result> {
  const postgres = await startPostgres()
  ground.endFirst(() => postgres.close())
  const flows = writeFlow(binary, ground.path('flows'))
  const measured = await measureTakeovers({ ground, binary, flows }, postgres, options)
  return {
    facts: [...machineFacts(), ...(await versions(binary, postgres))],
    rounds: options.rounds,
    measured,
  }
}

async function versions(binary: string, postgres: Postgres): Promise<Fact[]> {
  const python = join(dirname(binary), 'python')
  const asked = "from importlib.metadata import version; print(version('langflow-base'))"
  const langflow = execFileSync(python, ['-c', asked], { encoding: 'utf8' }).trim()
  return [
    ['LangFlow', `langflow-base ${langflow}, one worker`],
    ['PostgreSQL', `${await postgres.sql('SHOW server_version')}, without fsync`],
  ]
}

/** Why nothing can be measured on this machine; `undefined`: it can. */
function obstacle(): string | undefined {
  try {
    if (langflowBinary() === undefined) return LANGFLOW_MISSING
  } catch (error) {
    return (error as Error).message
  }
  return postgresMissing() ?? podObstacle()
}

function write(result: Result, out: string | undefined): void {
  const text = partText(result, PICTURE)
  if (out === undefined) {
    process.stdout.write(`${text}\n`)
    return
  }
  writeFileSync(out, withPart(existsSync(out) ? readFileSync(out, 'utf8') : '', TAKEOVER_PART, text))
  writeFileSync(join(dirname(out), PICTURE), plotOf(result))
}

async function main(): Promise<void> {
  const options = parse()
  const why = obstacle()
  if (why !== undefined) refuse(why)
  const ground = await Ground.open(options.main).catch((error: Error) => refuse(error.message))
  for (const [signal, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)
    process.once(signal, () => {
      process.stderr.write(`${signal}: ending what was started\n`)
      void ground.close().finally(() => process.exit(code))
    })
  let result: Result
  try {
    result = await measure(ground, langflowBinary() as string, options)
  } finally {
    await ground.close()
  }
  write(result, options.out)
  const wrong = shortcomings(result.measured.map(sectionOf))
  say(wrong.length === 0 ? 'every target was met' : `missed:\n${wrong.join('\n')}`)
  // Not left to the end of the last timer of a patience that is no longer needed.
  process.exit(wrong.length === 0 ? 0 : 1)
}

function refuse(why: string): never {
  process.stderr.write(`${why}\n`)
  process.exit(2)
}

await main()
