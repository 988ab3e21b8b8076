import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Gaps } from './gaps.ts'

function gaps(finishedAt: number): Gaps {
  const one = new Gaps(100)
  one.seen(0, 'a')
  one.seen(90, 'a')
  one.seen(500, 'b')
  one.seen(400, 'a')
  one.finish(finishedAt)
  return one
}

const BETWEEN = { from: 90, to: 500, before: 'a', after: 'b' }

describe('times without a sign', () => {
  test('are those between two that are longer than the threshold', () => {
    assert.deepEqual(gaps(600).list, [BETWEEN])
  })

  test('last until the end of the run, where nobody came any more', () => {
    assert.deepEqual(gaps(9_000).list, [BETWEEN, { from: 500, to: 9_000, before: 'b', after: null }])
  })

  test('do not begin before the first sign', () => {
    const one = new Gaps(100)
    one.finish(9_000)
    assert.deepEqual(one.list, [])
  })
})
