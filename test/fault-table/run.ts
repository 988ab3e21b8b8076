// usage: node test/fault-table/run.ts [--out FILE]
// Plays every case of the fault table on a real API server, and writes the measurements into the Markdown page FILE. Exits with 0 if
// every case passed, 1 if one failed or was skipped, and 130 if interrupted.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { machineFacts } from '../harness/report.ts'
import { markdown, RECORDS, readRecords, shortcomings } from './document.ts'

const { out } = parseArgs({ options: { out: { type: 'string' } } }).values
// Without a control plane, this throws before the run.
const facts = machineFacts()
const dir = mkdtempSync(join(tmpdir(), 'fault-table-records-'))
const file = join(dir, 'records')
const tests = spawn(process.execPath, [join(import.meta.dirname, '../run.ts'), 'faults'], {
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
// If a test failed outside of the cases, the page would report that all is well.
if (failed && missed.length === 0) process.exit(1)
if (out !== undefined) writeFileSync(out, markdown(records, facts))
process.exit(!failed && missed.length === 0 ? 0 : 1)
