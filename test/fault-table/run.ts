import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  accessSync,
  constants,
  existsSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { controlPlaneAssets } from '../e2e/assets.ts'
import { hasOpenssl } from '../support/certificate.ts'
import { machineFacts } from '../support/machine.ts'
import { podObstacle } from '../support/pod.ts'
import { markdown, shortcomings } from './document.ts'
import { type FaultRecord, readRecords, recordsInto } from './record.ts'

const USAGE = `usage: node test/fault-table/run.ts [--out FILE]

Plays every case of the fault table on a real API server, in about ten minutes.

  --out FILE  write what was measured, as Markdown
  --help      show this

Exit code 0: each case came through; 1: one did not; 2: wrong usage, or no run is possible here; 130: interrupted.`

const say = (sentence: string) => console.error(sentence)

/** Returns the exit code. */
async function main(): Promise<number> {
  let options: ReturnType<typeof parse>
  try {
    options = parse()
  } catch (error) {
    say(`${(error as Error).message}\n\n${USAGE}`)
    return 2
  }
  if (options.help) {
    console.log(USAGE)
    return 0
  }
  // Now, and not after ten minutes.
  const missing = obstacle(options.out)
  if (missing !== undefined) {
    say(missing)
    return 2
  }
  return play(options.out)
}

function parse() {
  return parseArgs({ options: { out: { type: 'string' }, help: { type: 'boolean', default: false } } }).values
}

/** Why no run is possible on this machine, or its document cannot be written. */
function obstacle(out: string | undefined): string | undefined {
  try {
    if (out !== undefined) checkWritable(out)
    controlPlaneAssets()
  } catch (error) {
    return (error as Error).message
  }
  if (!hasOpenssl()) return 'openssl is not installed (package openssl)'
  if (spawnSync('python3', ['--version']).status !== 0) return 'Python is not installed (package python3)'
  return podObstacle()
}

function checkWritable(out: string): void {
  if (out === '' || out.endsWith('/') || statSync(out, { throwIfNoEntry: false })?.isDirectory())
    throw new Error(`--out must name a file, not "${out}"`)
  try {
    accessSync(existsSync(out) ? out : dirname(out), constants.W_OK)
  } catch (error) {
    throw new Error(`--out: ${(error as Error).message}`)
  }
}

async function play(out: string | undefined): Promise<number> {
  const { passed, interrupted, records } = await runTests()
  if (interrupted) return 130
  const missed = shortcomings(records)
  for (const sentence of missed) say(sentence)
  if (!passed && missed.length === 0) {
    // The document would claim that all is well.
    say('something failed beside the cases: nothing is written')
    return 1
  }
  if (out !== undefined) writeFileSync(out, markdown(records, machineFacts()))
  return passed && missed.length === 0 ? 0 : 1
}

async function runTests(): Promise<{ passed: boolean; interrupted: boolean; records: FaultRecord[] }> {
  const dir = mkdtempSync(join(tmpdir(), 'fault-table-records-'))
  const file = join(dir, 'records')
  const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.e2e.ts'))
  // One file after the other: each plays several cases at once already, and they are timed.
  const tests = spawn(
    process.execPath,
    ['--test', '--test-concurrency=1', ...files.map((name) => join(import.meta.dirname, name))],
    { stdio: 'inherit', env: { ...process.env, ...recordsInto(file) } },
  )
  let interrupted = false
  for (const signal of ['SIGINT', 'SIGTERM'] as const)
    process.on(signal, () => {
      interrupted = true
      tests.kill(signal)
    })
  const [code] = (await once(tests, 'exit')) as [number | null]
  const records = existsSync(file) ? readRecords(file) : []
  rmSync(dir, { recursive: true })
  return { passed: code === 0, interrupted, records }
}

process.exit(await main())
