// usage: node test/fault-table/run.ts [--out FILE]
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { machineFacts } from '../support/machine.ts'
import { markdown, shortcomings } from './document.ts'
import { readRecords, recordsInto } from './record.ts'

const USAGE = 'usage: node test/fault-table/run.ts [--out FILE]'

function parse(): string | undefined {
  try {
    const { out } = parseArgs({ options: { out: { type: 'string' } } }).values
    // Not only after ten minutes.
    if (out !== undefined) accessSync(dirname(out), constants.W_OK)
    return out
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${USAGE}\n`)
    process.exit(2)
  }
}

const out = parse()
const dir = mkdtempSync(join(tmpdir(), 'fault-table-records-'))
const records = join(dir, 'records')
const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.e2e.ts'))
// One file after the other: each plays several cases at once already, and they are timed.
const tests = spawn(
  process.execPath,
  ['--test', '--test-concurrency=1', ...files.map((name) => join(import.meta.dirname, name))],
  { stdio: 'inherit', env: { ...process.env, ...recordsInto(records) } },
)
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => tests.kill(signal))
const [code] = (await once(tests, 'exit')) as [number | null]
const played = existsSync(records) ? readRecords(records) : []
rmSync(dir, { recursive: true })
const missed = shortcomings(played)
if (out !== undefined) writeFileSync(out, markdown(played, machineFacts()))
if (missed.length > 0) process.stderr.write(`${missed.join('\n')}\n`)
process.exitCode = code === 0 && missed.length === 0 ? 0 : 1
