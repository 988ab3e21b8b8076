import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { actingIntervals, type Interval, overlapMs } from '../../agent/demo/overlap.ts'

const RHYTHM = { periodMs: 10, silenceMs: 100 }

function steps(actor: string, from: number, to: number) {
  return Array.from({ length: (to - from) / 10 + 1 }, (_, n) => ({ actor, at: from + 10 * n }))
}

test('beats close to each other are one interval, which ends a period after the last', () => {
  assert.deepEqual(actingIntervals(steps('a', 0, 50), RHYTHM), [{ actor: 'a', from: 0, to: 60 }])
})

test('a frozen process does not act during its silence', () => {
  const beats = [...steps('a', 0, 50), ...steps('a', 500, 520)]
  assert.deepEqual(actingIntervals(beats, RHYTHM), [
    { actor: 'a', from: 0, to: 60 },
    { actor: 'a', from: 500, to: 530 },
  ])
})

test('a beat that a busy machine delayed is no silence', () => {
  const beats = [...steps('a', 0, 50), ...steps('a', 150, 160)]
  assert.deepEqual(actingIntervals(beats, RHYTHM), [{ actor: 'a', from: 0, to: 170 }])
})

test('no beats are no intervals', () => {
  assert.deepEqual(actingIntervals([], RHYTHM), [])
  assert.equal(overlapMs([]), 0)
})

test('one after the other is no overlap, also where they touch', () => {
  const beats = [...steps('a', 0, 50), ...steps('b', 60, 100)]
  assert.equal(overlapMs(actingIntervals(beats, RHYTHM)), 0)
})

test('two at once overlap for as long as both act', () => {
  const beats = [...steps('a', 0, 50), ...steps('b', 40, 100)]
  assert.equal(overlapMs(actingIntervals(beats, RHYTHM)), 20)
})

test('another one may act while the first is frozen, and not after it was thawed', () => {
  const frozen = [...steps('a', 0, 50), ...steps('a', 500, 520)]
  assert.equal(overlapMs(actingIntervals([...frozen, ...steps('b', 200, 300)], RHYTHM)), 0)
  assert.equal(overlapMs(actingIntervals([...frozen, ...steps('b', 200, 500)], RHYTHM)), 10)
})

test('the same actor does not overlap with itself, and three at once do not count twice', () => {
  const one = { actor: 'a', from: 0, to: 10 }
  assert.equal(overlapMs([one, { ...one, from: 5, to: 20 }]), 0)
  assert.equal(overlapMs([one, { ...one, actor: 'b' }, { ...one, actor: 'c' }]), 10)
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
