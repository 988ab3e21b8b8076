import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type FaultRecord, markdown, shortcomings } from './document.ts'
import { CASES } from './table.ts'

const CLEAN = { overlapMs: 0, late: 0, lateMs: 0, beats: 10 }
const ALL: FaultRecord[] = CASES.map(({ name }, n) => ({ name, measured: `figure ${n}.`, ...CLEAN }))

describe('the document of the fault table', () => {
  test('has a case for each fault of the design, T1 to T23 and T29', () => {
    const faults = new Set(CASES.map(({ fault }) => fault))
    assert.deepEqual([...faults], [...Array.from({ length: 23 }, (_, n) => `T${n + 1}`), 'T29'])
  })

  test('claims that all came through only where all did', () => {
    const [first, ...rest] = ALL as [FaultRecord, ...FaultRecord[]]
    assert.deepEqual(shortcomings(ALL), [])
    assert.match(markdown(ALL, []), /each came through.* at once for \*\*0 ms\*\*/)
    for (const [records, sentence] of [
      [rest, 'failed, or was not played'],
      [[{ ...first, overlapMs: 3 }, ...rest], 'two acted at once for 3 ms'],
      [[{ ...first, late: 1 }, ...rest], 'acted 1 times after a later term had begun'],
    ] as const) {
      assert.deepEqual(shortcomings(records), [`${first.name}: ${sentence}`])
      assert.match(markdown(records, []), /\*\*Missed in this run:\*\*/)
    }
  })

  test('as it stands in docs/ is of these cases', () => {
    const text = readFileSync(join(import.meta.dirname, '../../docs/evidence/faults.md'), 'utf8')
    const rows = text
      .split('\n')
      .filter((line) => line.startsWith('| '))
      .map((line) => line.slice(2, -2).split(/(?<!\\) \| /))
      .filter((row) => row.length === 5 && row[0] !== 'case' && row[0] !== '-')
    const wanted = CASES.map(({ name, done, must, clientGo = '' }) => [name, done, must, clientGo])
    assert.deepEqual(rows.map(([name, done, must, , go]) => [name, done, must, go]).sort(), wanted.sort())
    assert.doesNotMatch(text, /Missed in this run/)
    assert.ok(rows.every(([, , , measured]) => measured !== '' && measured !== '**nothing**'))
  })
})
