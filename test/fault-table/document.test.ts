import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { describeCase, type FaultRecord, markdown, NOT_MEASURED, shortcomings } from './document.ts'
import { CASES } from './table.ts'

const CLEAN = { overlapMs: 0, late: 0, lateMs: 0, beats: 10 }
const ALL: FaultRecord[] = CASES.map(({ name }, n) => ({ name, measured: `figure ${n}.`, ...CLEAN }))

describe('the document of the fault table', () => {
  test('the table has a case for each fault of the design, T1 to T31', () => {
    const faults = new Set(CASES.map(({ fault }) => fault))
    assert.deepEqual(
      [...faults],
      Array.from({ length: 31 }, (_, n) => `T${n + 1}`),
    )
  })

  test('the document reports that every case passed only if every case passed', () => {
    const [first, ...rest] = ALL as [FaultRecord, ...FaultRecord[]]
    assert.deepEqual(shortcomings(ALL), [])
    assert.match(markdown(ALL, []), /Each case passed.* for \*\*0 ms\*\*/)
    for (const [records, sentence] of [
      [rest, 'failed or not played'],
      [[{ ...first, overlapMs: 3 }, ...rest], 'two replicas acted at the same time for 3 ms'],
      [[{ ...first, late: 1 }, ...rest], '1 signs of life after a later term had begun'],
    ] as const) {
      assert.deepEqual(shortcomings(records), [`${first.name}: ${sentence}`])
      assert.match(markdown(records, []), /\*\*This run missed:\*\*/)
    }
  })

  test('the page in docs/ contains exactly the cases of the table, each with a measurement', () => {
    const text = readFileSync(join(import.meta.dirname, '../../docs/evidence/faults.md'), 'utf8')
    const sections = text.split(/\n\n(?=##)/).filter((section) => section.startsWith('### '))
    const measured = sections.map((section) => /\*\* \*(.+?)\*/.exec(section)?.[1] ?? NOT_MEASURED)
    assert.deepEqual(
      sections.map((section) => section.trim()),
      CASES.map((one, n) => describeCase(one, measured[n] ?? '')),
    )
    assert.doesNotMatch(text, /This run missed/)
    assert.ok(!measured.includes(NOT_MEASURED))
  })
})
