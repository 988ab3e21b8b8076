import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { hasOpenssl } from '../harness/certificate.ts'
import { controlPlaneAssets } from '../harness/control-plane.ts'
import { podObstacle } from '../harness/pod.ts'
import { machineFacts } from '../harness/report.ts'
import { markdown, RECORDS, readRecords, shortcomings } from './document.ts'

const USAGE = `usage: node test/fault-table/run.ts [--out FILE]

Plays every case of the fault table on a real API server, in about five minutes.

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
const runner = join(import.meta.dirname, '../run.ts')
const tests = spawn(process.execPath, [runner, 'faults'], {
  cwd: join(import.meta.dirname, '../..'),
  stdio: 'inherit',
  env: { ...process.env, [RECORDS]: file },
})
let interrupted = false
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    interrupted = true
    tests.kill(signal)
  })
const failed = (await once(tests, 'exit'))[0] !== 0
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
