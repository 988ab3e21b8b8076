import assert from 'node:assert/strict'
import { test } from 'node:test'
import { atMost, shortcomings, spread } from './report.ts'

for (const [what, values, failure, count] of [
  ['with all values within its limit', [98, 99], undefined, 0],
  ['with one value above its limit', [99, 100], undefined, 1],
  ['without a value', [], undefined, 1],
  ['whose measurement failed', [1], 'it broke', 1],
] as const)
  test(`a benchmark ${what} has ${count} shortcomings`, () => {
    const row = { ...spread('handover', 'ms', atMost(99, 'ms')), values: [...values] }
    const section = { title: 'one', about: [], notes: [], rows: [row], ...(failure && { failure }) }
    assert.equal(shortcomings([section]).length, count)
  })
