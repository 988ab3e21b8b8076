import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { actingIntervals, type Interval, overlapMs } from './beats.ts'

const RHYTHM = { periodMs: 10, silenceMs: 100 }

function beats(actor: string, from: number, to: number) {
  return Array.from({ length: (to - from) / 10 + 1 }, (_, n) => ({ actor, at: from + 10 * n }))
}

test('beats that a busy machine delayed are one interval, which ends a period after the last', () => {
  const delayed = [...beats('a', 0, 50), ...beats('a', 150, 160)]
  assert.deepEqual(actingIntervals(delayed, RHYTHM), [{ actor: 'a', from: 0, to: 170 }])
  assert.deepEqual(actingIntervals([], RHYTHM), [])
})

test('a frozen process does not act during its silence: another one may, and not after the thaw', () => {
  const frozen = [...beats('a', 0, 50), ...beats('a', 500, 520)]
  assert.deepEqual(actingIntervals(frozen, RHYTHM), [
    { actor: 'a', from: 0, to: 60 },
    { actor: 'a', from: 500, to: 530 },
  ])
  assert.equal(overlapMs(actingIntervals([...frozen, ...beats('b', 60, 300)], RHYTHM)), 0)
  assert.equal(overlapMs(actingIntervals([...frozen, ...beats('b', 200, 500)], RHYTHM)), 10)
})

test('the overlap is what counting each millisecond says', () => {
  const interval = fc
    .tuple(fc.constantFrom('a', 'b', 'c'), fc.nat(40), fc.integer({ min: 1, max: 20 }))
    .map(([actor, from, length]): Interval => ({ actor, from, to: from + length }))
  fc.assert(
    fc.property(fc.array(interval, { maxLength: 8 }), (intervals) => {
      const counted = Array.from({ length: 60 }, (_, ms) => {
        const acting = intervals.filter(({ from, to }) => from <= ms && ms < to)
        return new Set(acting.map(({ actor }) => actor)).size > 1 ? 1 : 0
      })
      assert.equal(
        overlapMs(intervals),
        counted.reduce<number>((sum, one) => sum + one, 0),
      )
    }),
  )
})
