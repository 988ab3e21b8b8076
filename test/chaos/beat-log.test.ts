import assert from 'node:assert/strict'
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Beat } from '../support/beats.ts'
import { BeatLog } from './beat-log.ts'

const line = (mono: number) => `${JSON.stringify({ replica: 'a-1', epoch: 1, pid: 5, what: 'beat', mono })}\n`
const times = (beats: Iterable<Beat>) => [...beats].map(({ mono }) => mono)

test('the log is read on from where it was left, half a line included', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'beat-log-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const file = join(dir, 'beats')
  const log = new BeatLog(file)
  t.after(() => log.close())
  assert.deepEqual(times(log.read()), [])
  appendFileSync(file, line(1) + line(2) + line(3).slice(0, 9))
  assert.deepEqual(times(log.read()), [1, 2])
  assert.deepEqual(times(log.read()), [])
  appendFileSync(file, line(3).slice(9))
  assert.deepEqual(times(log.read()), [3])
  const many = Array.from({ length: 10_000 }, (_, n) => n)
  appendFileSync(file, many.map(line).join(''))
  assert.deepEqual(times(log.read()), many)
})
