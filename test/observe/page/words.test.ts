import assert from 'node:assert/strict'
import { test } from 'node:test'
import { lasting, roughly, utc } from '../../../agent/observe/page/page-sections.ts'

test('durations are told in two units at most', () => {
  const told = [0, 84.4, 999.4, 1_000, 1_844, 12_340, 60_000, 200_900, 7_500_000, 187_200_000].map(lasting)
  assert.deepEqual(told, [
    '0 ms',
    '84 ms',
    '999 ms',
    '1.00 s',
    '1.84 s',
    '12.3 s',
    '1 min',
    '3 min 20 s',
    '2 h 5 min',
    '2 d 4 h',
  ])
  assert.deepEqual([-5, 1_999, 59_999, 60_000].map(roughly), ['0 s', '1 s', '59 s', '1 min'])
})

test('a time that is none is shown as it is', () => {
  assert.equal(utc('2026-01-02T03:04:05.678Z'), '2026-01-02 03:04:05 UTC')
  assert.equal(utc('soon'), 'soon')
})
