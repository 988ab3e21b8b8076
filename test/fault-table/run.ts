import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { hasOpenssl } from '../harness/certificate.ts'
import { controlPlaneAssets } from '../harness/control-plane.ts'
import { podObstacle } from '../harness/pod.ts'
import { machineFacts } from '../harness/report.ts'
import { markdown, RECORDS, readRecords, shortcomings } from './document.ts'

const USAGE = `usage: node test/fault-table/run.ts [--out FILE]

Plays every case of the fault table on a real API server, in about eight minutes.

  --out FILE  write the measurements into this Markdown page
  --help      show this

Exit codes: 0 if every case passed, 1 if one failed, 2 for wrong usage or if this machine can't run the cases, 130 if interrupted.`

/** Ends the program before the run if no run is possible here, or if the document can't be written. */
function outFile(): string | undefined {
  try {
    const { out, help } = parseArgs({
      options: { out: { type: 'string' }, help: { type: 'boolean' } },
    }).values
    if (help) {
      console.log(USAGE)
      process.exit(0)
    }
    if (out !== undefined) accessSync(existsSync(out) ? out : dirname(out), constants.W_OK)
    controlPlaneAssets()
    if (!hasOpenssl()) throw new Error('openssl is not installed (package openssl)')
    if (spawnSync('python3', ['--version']).status !== 0)
      throw new Error('Python is not installed (package python3)')
    const obstacle = podObstacle()
    if (obstacle !== undefined) throw new Error(obstacle)
    return out
  } catch (error) {
    console.error((error as Error).message)
    process.exit(2)
  }
}

const out = outFile()
const dir = mkdtempSync(join(tmpdir(), 'fault-table-records-'))
const file = join(dir, 'records')
/** Files that mostly wait, and so can run in pairs. The other files have stricter limits, and run alone. */
const PAIRS = [
  ['api-server', 'clocks'],
  ['readiness', 'revisions'],
  ['ending', 'network'],
]
const names = readdirSync(import.meta.dirname).flatMap((name) => /^(.*)\.e2e\.ts$/.exec(name)?.[1] ?? [])
const alone = names.filter((name) => !PAIRS.flat().includes(name))
let interrupted = false
let failed = false
for (const round of [...PAIRS, ...alone.map((name) => [name])]) {
  if (interrupted) break
  const files = round.map((name) => join(import.meta.dirname, `${name}.e2e.ts`))
  const env = { ...process.env, [RECORDS]: file }
  const tests = spawn(process.execPath, ['--test', `--test-concurrency=${round.length}`, ...files], {
    stdio: 'inherit',
    env,
  })
  const interrupt = (signal: NodeJS.Signals) => {
    interrupted = true
    tests.kill(signal)
  }
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, interrupt)
  const [code] = (await once(tests, 'exit')) as [number | null]
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, interrupt)
  if (code !== 0) failed = true
}
const records = existsSync(file) ? readRecords(file) : []
rmSync(dir, { recursive: true })
if (interrupted) process.exit(130)
const missed = shortcomings(records)
for (const sentence of missed) console.error(sentence)
if (failed && missed.length === 0) {
  // Every case passed, so a document would report that all is well.
  console.error('a test failed outside the cases, so the document was not written')
  process.exit(1)
}
if (out !== undefined) writeFileSync(out, markdown(records, machineFacts()))
process.exit(!failed && missed.length === 0 ? 0 : 1)
