import assert from 'node:assert/strict'
import { test } from 'node:test'
import { atMost, markdown, percentileAtMost, type Row, type Section, shortcomings } from './report.ts'

const hundred = Array.from({ length: 100 }, (_, n) => n + 1)

function section(row: Partial<Row>, more: Partial<Section> = {}): Section {
  const rows = [{ what: 'something', unit: 'ms', values: hundred, ...row }]
  return { title: 'Some title', about: ['what it is'], shape: 'spread', rows, notes: [], ...more }
}

for (const [what, one, missed] of [
  ['a percentile that is met', section({ target: percentileAtMost(99, 99, 'ms') }), 0],
  ['one value above a limit that holds for all', section({ target: atMost(99, 'ms') }), 1],
  ['nothing measured', section({ values: [], target: atMost(99, 'ms') }, { shape: 'figure' }), 1],
  ['a measurement that broke off', section({}, { failure: 'not seen' }), 1],
] as const) {
  test(`a benchmark with ${what}: ${missed === 0 ? 'met' : 'missed, and the page says so'}`, () => {
    assert.equal(shortcomings([one]).length, missed)
    const text = markdown({ facts: [['Node', 'v24']], sections: [one], quick: false })
    assert.match(text, missed === 0 ? /Every target was met/ : /\*\*Missed in this run:\*\*/)
  })
}
