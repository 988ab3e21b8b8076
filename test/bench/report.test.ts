import assert from 'node:assert/strict'
import { test } from 'node:test'
import { markdown, shortcomings } from './report.ts'
import { atMost, percentileAtMost, type Row, type Section } from './row.ts'

const hundred = Array.from({ length: 100 }, (_, n) => n + 1)

function section(row: Partial<Row>, more: Partial<Section> = {}): Section {
  const rows = [{ what: 'something', unit: 'ms', values: [1], ...row }]
  return { title: 'Some title', about: ['what it is'], shape: 'spread', rows, notes: [], ...more }
}

const text = (one: Section) => markdown({ facts: [['Node', 'v24']], sections: [one], quick: false })

test('a met target is told with its numbers', () => {
  const one = section({ values: hundred, target: percentileAtMost(99, 99, 'ms') })
  assert.deepEqual(shortcomings([one]), [])
  assert.match(text(one), /\| something \| ms \| 100 \| 1 \| 50 \| 95 \| 99 \| 100 \| p99 ≤ 99 ms \| met \|/)
  assert.match(text(one), /Every target was met/)
})

test('one value above a limit that holds for all is a miss, told at the top and in its row', () => {
  const one = section({ values: hundred, target: atMost(99, 'ms') })
  assert.deepEqual(shortcomings([one]), ['Some title: something, target ≤ 99 ms'])
  assert.match(text(one), /\*\*Missed in this run:\*\*\n\n- Some title: something/)
  assert.match(text(one), /\| ≤ 99 ms \| \*\*MISSED\*\* \|/)
})

for (const shape of ['spread', 'figure'] as const) {
  test(`nothing measured is a miss as well (${shape})`, () => {
    const one = section({ values: [], target: atMost(99, 'ms') }, { shape })
    assert.equal(shortcomings([one]).length, 1)
    assert.match(text(one), /MISSED/)
  })
}

test('a measurement that broke off is a miss, and says why', () => {
  const one = section({}, { failure: 'the next holder: not seen' })
  assert.deepEqual(shortcomings([one]), ['Some title: broke off'])
  assert.match(text(one), /the next holder: not seen/)
})
