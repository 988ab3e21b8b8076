import assert from 'node:assert/strict'
import { test } from 'node:test'
import { percentile, summarise } from './statistics.ts'

const upTo = (n: number) => Array.from({ length: n }, (_, i) => n - i)

for (const [values, share, expected] of [
  [upTo(100), 0.5, 50],
  [upTo(100), 0.99, 99],
  [upTo(100), 1, 100],
  [upTo(20), 0.95, 19],
  [upTo(20), 0.99, 20],
  [upTo(3), 0.5, 2],
  [[7], 0.01, 7],
  [[10, 9, 100], 0.5, 10],
] as const) {
  test(`the ${share} percentile of ${values.length} values is ${expected}`, () => {
    assert.equal(percentile(values, share), expected)
  })
}

test('a summary leaves the values as they were', () => {
  const values = [3, 1, 2]
  assert.deepEqual(summarise(values), { n: 3, min: 1, median: 2, p95: 3, p99: 3, max: 3 })
  assert.deepEqual(values, [3, 1, 2])
})

test('no values have no percentile', () => {
  assert.throws(() => percentile([], 0.5), RangeError)
})
