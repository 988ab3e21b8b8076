import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { overlapSection } from './overlap.ts'
import { shortcomings } from './report.ts'

/** Beats each 10 ms. */
function beats(replica: string, epoch: number, from: number, to: number): string {
  const times = Array.from({ length: (to - from) / 10 + 1 }, (_, n) => from + n * 10)
  return times
    .map((mono) => `${JSON.stringify({ replica, epoch, pid: epoch, what: 'beat', mono })}\n`)
    .join('')
}

for (const { name, second, terms, values, misses } of [
  { name: 'one after the other', second: 150, terms: 2, values: [0, 2, 50], misses: 0 },
  { name: 'both at once', second: 70, terms: 2, values: [30, 2, -30], misses: 1 },
  { name: 'fewer than there were terms', second: 150, terms: 3, values: [0, 2, 50], misses: 1 },
]) {
  test(`workloads that acted: ${name}`, (t) => {
    const dir = mkdtempSync(join(tmpdir(), 'overlap-'))
    t.after(() => rmSync(dir, { recursive: true }))
    const file = join(dir, 'beats')
    writeFileSync(file, beats('a', 1, 0, 100) + beats('b', 2, second, second + 100))
    const section = overlapSection([file], terms)
    assert.deepEqual(
      section.rows.map((row) => row.values[0]),
      values,
    )
    assert.equal(shortcomings([section]).length, misses)
  })
}
