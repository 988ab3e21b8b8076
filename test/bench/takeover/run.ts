// usage: npm run bench:takeover -- --help
import { execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { BUNDLE } from '../../harness/bundle.ts'
import { LANGFLOW_MISSING, langflowBinary, writeFlow } from '../../harness/langflow.ts'
import { podObstacle } from '../../harness/pod.ts'
import { type Postgres, postgresMissing, startPostgres } from '../../harness/postgres.ts'
import { type Fact, machineFacts, withPart } from '../../harness/report.ts'
import { shortcomings } from '../report.ts'
import { say, Testbed } from '../testbed.ts'
import { measureTakeovers, type Options } from './measure.ts'
import { partText, type Result, sectionOf, TAKEOVER_PART } from './page.ts'
import { FAULTS, MODES, PRESETS } from './settings.ts'

const USAGE = `usage: npm run bench:takeover -- [--rounds N] [--modes LIST] [--faults LIST] [--preset NAME]

Two replicas of a real LangFlow on a real PostgreSQL and a real API server, a client that runs a flow ten times a
second, and one fault after the other.

  --rounds N      how often each fault comes (default: 3)
  --modes LIST    of ${MODES.join(',')} (default: all)
  --faults LIST   of ${FAULTS.join(',')} (default: all)
  --preset NAME   ${PRESETS.map(({ name, text }) => `${name} (${text})`).join(' or ')}; without it the default one, and the
                  fast one as well for replica and api
  --out FILE      put the result into this Markdown page, in a directory that exists
  --main FILE     the program to measure instead of dist/langflow-leader.mjs, to compare two
  --help          show this

Exit code 0: every target was met; 1: one was missed, or a measurement broke off; 2: wrong usage, or nothing can be
measured here; 130: interrupted.`

/** Of `all`, those that are named, in the order of `all`. */
function listOf<T extends string>(name: string, all: readonly T[], text = all.join(',')): readonly T[] {
  const wanted = text.split(',')
  const unknown = wanted.find((one) => !(all as readonly string[]).includes(one))
  if (unknown !== undefined) throw new Error(`--${name}: '${unknown}' is none of ${all.join(', ')}`)
  return all.filter((one) => wanted.includes(one))
}

/** Throws one sentence where the command line is wrong. */
function parse(): Options & { readonly out: string | undefined; readonly main: string } {
  const text = { type: 'string' } as const
  const options = { rounds: text, modes: text, faults: text, preset: text, out: text, main: text } as const
  const { values } = parseArgs({ options: { ...options, help: { type: 'boolean' } } })
  if (values.help) {
    process.stdout.write(`${USAGE}\n`)
    process.exit(0)
  }
  const { out, main = BUNDLE } = values
  // Not only after an hour.
  if (out !== undefined) accessSync(dirname(out), constants.W_OK)
  const rounds = Number(values.rounds ?? 3)
  if (!(Number.isInteger(rounds) && rounds >= 1)) throw new Error('--rounds is a whole number from 1 on')
  const [preset] =
    values.preset === undefined
      ? []
      : listOf(
          'preset',
          PRESETS.map(({ name }) => name),
          values.preset,
        )
  return {
    rounds,
    modes: listOf('modes', MODES, values.modes),
    faults: listOf('faults', FAULTS, values.faults),
    preset: PRESETS.find(({ name }) => name === preset),
    out,
    main,
  }
}

async function measure(testbed: Testbed, binary: string, options: Options): Promise<Result> {
  const postgres = await startPostgres()
  testbed.endFirst(() => postgres.close())
  const flows = writeFlow(binary, testbed.path('flows'))
  const measured = await measureTakeovers({ testbed, binary, flows }, postgres, options)
  const facts = [...machineFacts(), ...(await versions(binary, postgres))]
  return { facts, rounds: options.rounds, measured }
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

async function main(): Promise<number> {
  let options: ReturnType<typeof parse>
  let testbed: Testbed
  let binary: string
  try {
    options = parse()
    binary = langflowBinary() ?? ''
    const obstacle = binary === '' ? LANGFLOW_MISSING : (postgresMissing() ?? podObstacle())
    if (obstacle !== undefined) throw new Error(obstacle)
    testbed = await Testbed.open(options.main)
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    return 2
  }
  testbed.endOnSignals()
  let result: Result
  try {
    result = await measure(testbed, binary, options)
  } finally {
    await testbed.close()
  }
  const { out } = options
  if (out === undefined) process.stdout.write(`${partText(result)}\n`)
  else {
    const page = existsSync(out) ? readFileSync(out, 'utf8') : ''
    writeFileSync(out, withPart(page, TAKEOVER_PART, partText(result)))
  }
  const wrong = shortcomings(result.measured.map(sectionOf))
  say(wrong.length === 0 ? 'every target was met' : `missed:\n${wrong.join('\n')}`)
  return wrong.length === 0 ? 0 : 1
}

// Not left to the end of the last timer of a wait that is over.
process.exit(await main())
