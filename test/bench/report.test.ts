import assert from 'node:assert/strict'
import { test } from 'node:test'
import { atMost, shortcomings, spread } from './report.ts'

for (const [what, values, failure, count] of [
  ['whose values are all within its limit', [98, 99], undefined, 0],
  ['of which one value is above its limit', [99, 100], undefined, 1],
  ['that was not measured', [], undefined, 1],
  ['that broke off', [1], 'it broke', 1],
] as const)
  test(`a benchmark ${what} has ${count} shortcomings`, () => {
    const row = { ...spread('handover', 'ms', atMost(99, 'ms')), values: [...values] }
    const section = { title: 'one', about: [], notes: [], rows: [row], ...(failure && { failure }) }
    assert.equal(shortcomings([section]).length, count)
  })
