import assert from 'node:assert/strict'
import { test } from 'node:test'
import { added, boundOf, meanOf, readHistogram } from './histogram.ts'

type Exposed = readonly [low: number, middle: number, all: number, sum: number]

function exposed([low, middle, all, sum]: Exposed): string {
  return [
    '# TYPE lag_seconds histogram',
    `lag_seconds_bucket{le="0.005"} ${low}`,
    `lag_seconds_bucket{le="0.01"} ${middle}`,
    `lag_seconds_bucket{le="+Inf"} ${all}`,
    `lag_seconds_sum ${sum}`,
    `lag_seconds_count ${all}`,
    'other_lag_seconds_sum 9',
  ].join('\n')
}

const read = (numbers: Exposed) => readHistogram(exposed(numbers), 'lag_seconds')

for (const [what, before, after, mean, bound] of [
  ['one value in the first bucket', [3, 3, 4, 2], [4, 4, 5, 2.25], 0.25, 0.005],
  ['one value in the first bucket and one in the second', [0, 0, 0, 0], [1, 2, 2, 0.5], 0.25, 0.01],
  ['one value above all bounds', [1, 1, 1, 0], [1, 1, 2, 3], 3, Number.POSITIVE_INFINITY],
  ['no value', [1, 1, 2, 3], [1, 1, 2, 3], undefined, undefined],
] as const)
  test(`a histogram that gained ${what} between two reads has the mean ${mean} and the bound ${bound}`, () => {
    const between = added(read(before), read(after))
    assert.equal(meanOf(between), mean)
    assert.equal(boundOf(between), bound)
  })

test("reading a histogram that isn't exposed fails", () => {
  assert.throws(() => readHistogram('other_lag_seconds_sum 9', 'lag_seconds'), /no histogram lag_seconds/)
})
