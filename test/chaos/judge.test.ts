import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Beat } from '../support/beats.ts'
import { type Invariant, Judge, type JudgeOptions, Violation } from './judge.ts'

function judge(options: Partial<JudgeOptions> = {}): Judge {
  return new Judge({
    stillSince: () => undefined,
    leaseTaken: () => true,
    epochForgotten: () => false,
    ...options,
  })
}

function beat(replica: string, epoch: number, mono: number): Beat {
  return { replica, epoch, mono, pid: 5, what: 'beat' }
}

/** Beats each 10 ms. */
function acts(on: Judge, replica: string, epoch: number, from: number, to: number): void {
  for (let mono = from; mono <= to; mono += 10) on.beat(beat(replica, epoch, mono))
}

function breaks(invariant: Invariant, sentence: RegExp, run: () => void): void {
  assert.throws(run, (error) => {
    assert.ok(error instanceof Violation)
    assert.equal(error.invariant, invariant)
    assert.match(error.message, sentence)
    return true
  })
}

describe('the judge', () => {
  test('accepts terms that follow each other', () => {
    const one = judge()
    acts(one, 'a-1', 1, 0, 1_000)
    acts(one, 'b-1', 2, 1_010, 2_000)
    acts(one, 'a-1', 4, 2_400, 3_000)
    one.finish(3_010)
    assert.equal(one.overlapMs, 0)
    assert.equal(one.terms.list.length, 3)
    assert.deepEqual(
      one.silences.list.map(({ from, to, before, after }) => [from, to, before, after]),
      [[2_000, 2_400, 'b-1/2', 'a-1/4']],
    )
  })

  test('catches a workload that acts after the next one has begun', () => {
    const one = judge()
    acts(one, 'a-1', 1, 0, 1_000)
    acts(one, 'b-1', 2, 1_010, 1_020)
    breaks('one acts', /a-1 \(epoch 1\) acted at 1030\.0 ms, 20\.0 ms after that of b-1/, () =>
      one.beat(beat('a-1', 1, 1_030)),
    )
    one.finish(1_030)
    assert.equal(one.overlapMs, 10)
  })

  test('catches it where the next one’s log is read late', () => {
    const one = judge()
    acts(one, 'a-1', 1, 0, 1_000)
    breaks('one acts', /a-1/, () => one.beat(beat('b-1', 2, 990)))
  })

  test('catches a second term of the same replica that begins before the first one has ended', () => {
    const one = judge()
    acts(one, 'a-1', 1, 0, 1_000)
    acts(one, 'a-1', 2, 1_010, 1_020)
    breaks('one acts', /epoch 1/, () => one.beat(beat('a-1', 1, 1_015)))
  })

  test('excuses a workload whose launcher stood still then, and nothing else', () => {
    const one = judge({ stillSince: (replica, at) => (replica === 'a-1' && at < 2_000 ? 900 : undefined) })
    acts(one, 'a-1', 1, 0, 1_000)
    acts(one, 'b-1', 2, 1_010, 1_500)
    acts(one, 'a-1', 1, 1_100, 1_200)
    assert.deepEqual(one.excused['launcher stood still'], { signs: 11, incidents: 1, longestMs: 190 })
    breaks('one acts', /a-1/, () => one.beat(beat('a-1', 1, 2_010)))
    one.finish(2_010)
    assert.ok(one.overlapMs >= 100)
  })

  test('excuses no workload whose Lease nothing took while its launcher stood still', () => {
    const asked: unknown[] = []
    const one = judge({
      stillSince: () => 900,
      leaseTaken: (term, next, stillSince) => {
        asked.push([term.replica, next.replica, stillSince])
        return false
      },
    })
    acts(one, 'a-1', 1, 0, 1_000)
    acts(one, 'b-1', 2, 1_010, 1_500)
    breaks('one acts', /a-1 \(epoch 1\)/, () => one.beat(beat('a-1', 1, 1_100)))
    assert.deepEqual(asked, [['a-1', 'b-1', 900]])
  })

  test('asks who took the Lease of the term right after, whoever acts by now', () => {
    const asked: unknown[] = []
    const one = judge({
      stillSince: () => 900,
      leaseTaken: (term, next) => asked.push([term.replica, next.replica]) > 0,
    })
    acts(one, 'a-1', 1, 0, 1_000)
    acts(one, 'a-1', 1, 2_000, 2_000)
    one.beat(beat('b-1', 2, 1_200))
    one.beat(beat('c-1', 3, 1_500))
    one.beat(beat('a-1', 1, 2_010))
    assert.deepEqual(asked, Array(3).fill(['a-1', 'b-1']))
  })

  test('counts the time without a workload, and without a ready replica, that ended the run', () => {
    const one = judge()
    acts(one, 'a-1', 1, 0, 1_000)
    one.poll({ replica: 'a-1', sentAt: 500, answeredAt: 505, ready: true })
    one.poll({ replica: 'a-1', sentAt: 900, answeredAt: 905, ready: false })
    one.finish(61_000)
    const last = { to: 61_000, after: null }
    assert.deepEqual(one.silences.list, [{ from: 1_000, before: 'a-1/1', ...last }])
    assert.deepEqual(one.outages.list, [{ from: 505, before: 'a-1', ...last }])
  })

  test('catches an epoch that is not higher than the last one', () => {
    for (const epoch of [1, 2]) {
      const one = judge()
      acts(one, 'a-1', 2, 0, 100)
      breaks('epochs grow', /b-1 began to act in epoch/, () => one.beat(beat('b-1', epoch, 5_000)))
    }
  })

  test('excuses an epoch that was forgotten with its Lease', () => {
    const one = judge({
      epochForgotten: (replica, epoch, since) => replica === 'b-1' && epoch === 2 && since === 0,
    })
    acts(one, 'a-1', 2, 0, 100)
    one.beat(beat('b-1', 1, 5_000))
    assert.equal(one.excused['epoch forgotten'].incidents, 1)
    breaks('epochs grow', /c-1/, () => one.beat(beat('c-1', 1, 9_000)))
  })

  test('catches a replica that is ready although it was asked after another’s workload had begun', () => {
    const one = judge()
    acts(one, 'a-1', 1, 0, 1_000)
    one.poll({ replica: 'a-1', sentAt: 500, answeredAt: 505, ready: true })
    one.poll({ replica: 'b-1', sentAt: 500, answeredAt: 505, ready: false })
    acts(one, 'b-1', 2, 1_010, 1_500)
    one.settle(1_000)
    assert.equal(one.counts.readyPolls, 1)
    one.poll({ replica: 'a-1', sentAt: 1_200, answeredAt: 1_205, ready: true })
    one.settle(1_100)
    breaks('one is ready', /a-1 was asked at 1200\.0 ms .* 190\.0 ms after the workload of b-1/, () =>
      one.settle(1_300),
    )
  })

  test('does not take two answers for one instant', () => {
    const one = judge()
    acts(one, 'a-1', 1, 0, 1_000)
    one.poll({ replica: 'a-1', sentAt: 1_000, answeredAt: 1_100, ready: true })
    acts(one, 'b-1', 2, 1_010, 1_500)
    one.poll({ replica: 'b-1', sentAt: 1_050, answeredAt: 1_060, ready: true })
    one.settle(2_000)
    assert.equal(one.counts.readyPolls, 2)
  })

  test('sums up the overlap of a long log piece by piece', () => {
    const one = judge({ stillSince: () => 0 })
    for (let minute = 0; minute < 4; minute++) {
      acts(one, 'a-1', 1, minute * 61_000, minute * 61_000 + 100)
      acts(one, 'b-1', 2, minute * 61_000 + 50, minute * 61_000 + 150)
    }
    one.finish(4 * 61_000)
    assert.equal(one.overlapMs, 200)
    assert.deepEqual(one.recent.at(-1), beat('b-1', 2, 3 * 61_000 + 150))
  })
})
