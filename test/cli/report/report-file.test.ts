import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { writeReport } from '../../../agent/cli/report/report-file.ts'

const dir = mkdtempSync(join(tmpdir(), 'report-file-test-'))
after(() => rmSync(dir, { recursive: true }))
const path = join(dir, 'report.txt')

test('a report that does not fit on the disk leaves no file, and is one sentence', () => {
  const program = `
    import { writeReport } from ${JSON.stringify(join(import.meta.dirname, '../../../agent/cli/report/report-file.ts'))}
    await writeReport(${JSON.stringify(path)}, 'x'.repeat(100_000)).catch(({ message }) => process.stdout.write(message))`
  // A limit for the size of a file fails in the same way as a full disk.
  const args = [
    '-c',
    'ulimit -f 8 && exec "$@"',
    'sh',
    process.execPath,
    '--input-type=module',
    '-e',
    program,
  ]
  const { stdout, stderr } = spawnSync('sh', args, { encoding: 'utf8' })
  assert.deepEqual([stdout, readdirSync(dir)], [`cannot write ${path}: EFBIG: file too large`, []], stderr)
})

test('a report is readable by its owner alone, and replaces no file', async () => {
  await writeReport(path, 'one')
  assert.equal(statSync(path).mode & 0o777, 0o600)
  await assert.rejects(writeReport(path, 'two'), { exitCode: 1, message: /the file exists: choose another/ })
  assert.deepEqual([readFileSync(path, 'utf8'), readdirSync(dir)], ['one', ['report.txt']])
})

test('a directory that does not exist is one sentence', async () => {
  const message = 'cannot write /none/report.txt: ENOENT: no such file or directory'
  await assert.rejects(writeReport('/none/report.txt', 'x'), { exitCode: 1, message })
})
