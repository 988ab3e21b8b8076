import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { markdown, shortcomings } from './document.ts'
import type { FaultRecord } from './record.ts'
import { type CaseName, type FaultCase, TABLE } from './table.ts'

const NAMES = Object.keys(TABLE) as CaseName[]
const ALL: FaultRecord[] = NAMES.map((name, n) => ({
  name,
  measured: `figure ${n}.`,
  overlapMs: 0,
  late: 0,
  lateMs: 0,
  beats: 10,
}))

/** Every cell of every row that has as many as a case. */
function cells(text: string): string[][] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('| '))
    .map((line) => line.slice(2, -2).split(/(?<!\\) \| /))
    .filter((row) => row.length === 5)
}

describe('the document of the fault table', () => {
  test('has a case for each fault of the design, T1 to T22', () => {
    const faults = new Set<string>(Object.values(TABLE).map(({ fault }) => fault))
    assert.deepEqual([...faults].sort(), Array.from({ length: 22 }, (_, n) => `T${n + 1}`).sort())
  })

  test('shows every case with what was measured, and claims that all came through', () => {
    const text = markdown(ALL, [['cores', '2']])
    const rows = cells(text)
    for (const [n, name] of NAMES.entries()) {
      const row = rows.find(([first]) => first === name) ?? assert.fail(`no row for ${name}`)
      const { done, must, clientGo = '' }: FaultCase = TABLE[name]
      assert.deepEqual(row.slice(1), [done, must, `figure ${n}.`, clientGo])
    }
    assert.match(text, /each came through/)
    assert.match(text, /at once for \*\*0 ms\*\*/)
    assert.deepEqual(shortcomings(ALL), [])
  })

  test('says which case is missing, and does not claim that all came through', () => {
    const [missing, ...rest] = ALL
    assert.deepEqual(shortcomings(rest), [`${missing?.name}: failed, or was not played`])
    const text = markdown(rest, [])
    assert.doesNotMatch(text, /each came through/)
    assert.match(text, /\*\*Missed in this run:\*\*/)
  })

  test('says where two acted at once', () => {
    const [first, ...rest] = ALL as [FaultRecord, ...FaultRecord[]]
    const wrong = shortcomings([{ ...first, overlapMs: 3 }, ...rest])
    assert.deepEqual(wrong, [`${first.name}: two acted at once for 3 ms`])
  })

  test('says where one acted late, though a lone sign of life makes no overlap', () => {
    const [first, ...rest] = ALL as [FaultRecord, ...FaultRecord[]]
    const wrong = [{ ...first, late: 1 }, ...rest]
    assert.deepEqual(shortcomings(wrong), [`${first.name}: acted 1 times after a later term had begun`])
    assert.doesNotMatch(markdown(wrong, []), /each came through/)
  })

  test('tells what processes did that woke up in a later term', () => {
    const name = 'the machine is suspended for 30 s'
    const records = ALL.map((one) =>
      one.name === name ? { ...one, overlapMs: 2.34, late: 3, lateMs: 20.12 } : one,
    )
    assert.deepEqual(shortcomings(records), [])
    assert.match(markdown(records, []), /“the machine is suspended for 30 s”: 3 after [^;]*, 20\.1 ms from/)
  })

  test('as it stands in docs/ is of these cases', () => {
    const text = readFileSync(join(import.meta.dirname, '../../docs/faults.md'), 'utf8')
    const rows = cells(text).filter(([first]) => first !== 'case' && first !== '-')
    const wanted = Object.entries(TABLE).map(([name, one]: [string, FaultCase]) => [
      name,
      one.done,
      one.must,
      one.clientGo ?? '',
    ])
    const shown = rows.map(([name, done, must, , clientGo]) => [name, done, must, clientGo])
    assert.deepEqual(shown.sort(), wanted.sort())
    assert.doesNotMatch(text, /Missed in this run/)
    assert.ok(rows.every(([, , , measured]) => measured !== '' && measured !== '**nothing**'))
  })
})
