import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Beat } from '../harness/judge.ts'
import { KINDS, mayCostLease } from './faults.ts'
import type { Injected } from './injector.ts'
import {
  type Invariant,
  Judge,
  type JudgeOptions,
  leaseTaken,
  RECOVERS_WITHIN_MS,
  RELEASED,
  RecoveryWatch,
  Violation,
} from './judge.ts'

function judge(options: Partial<JudgeOptions> = {}): Judge {
  return new Judge({
    frozenSince: () => undefined,
    leaseTaken: () => true,
    epochLost: () => false,
    ...options,
  })
}

function beat(replica: string, epoch: number, mono: number): Beat {
  return { replica, epoch, mono, pid: 5, what: 'beat' }
}

/** Adds a beat every 10 ms. */
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

describe('the judge of chaos', () => {
  test('reports a workload that acts after the next one has begun, even if that one’s log is read late', () => {
    const one = judge()
    acts(one, 'a-1', 1, 0, 1_000)
    breaks('at most one acts', /a-1/, () => one.beat(beat('b-1', 2, 990)))
    breaks('at most one acts', /a-1 \(epoch 1\) acted at 1030\.0 ms, 40\.0 ms after that of b-1/, () =>
      one.beat(beat('a-1', 1, 1_030)),
    )
  })

  test('excuses a late workload only while its launcher is frozen and a fault has taken its Lease', () => {
    const one = judge({ frozenSince: (replica, at) => (replica === 'a-1' && at < 2_000 ? 900 : undefined) })
    acts(one, 'a-1', 1, 0, 1_000)
    acts(one, 'b-1', 2, 1_010, 1_500)
    acts(one, 'a-1', 1, 1_100, 1_200)
    assert.deepEqual(one.excused['launcher frozen'], { signs: 11, longestMs: 190 })
    breaks('at most one acts', /a-1/, () => one.beat(beat('a-1', 1, 2_010)))
    const other = judge({ frozenSince: () => 900, leaseTaken: () => false })
    acts(other, 'a-1', 1, 0, 1_000)
    acts(other, 'b-1', 2, 1_010, 1_500)
    breaks('at most one acts', /a-1 \(epoch 1\)/, () => other.beat(beat('a-1', 1, 1_100)))
  })

  test('reports an epoch that does not grow, unless it was lost with its Lease', () => {
    const one = judge({ epochLost: (replica) => replica === 'b-1' })
    acts(one, 'a-1', 2, 0, 100)
    one.beat(beat('b-1', 1, 5_000))
    assert.equal(one.excused['epoch lost'].signs, 1)
    breaks('epochs grow', /c-1 began to act in epoch 1/, () => one.beat(beat('c-1', 1, 9_000)))
  })

  test('reports a replica that answers that it is ready after another replica’s workload has begun', () => {
    const one = judge()
    acts(one, 'a-1', 1, 0, 1_000)
    one.poll({ replica: 'a-1', sentAt: 1_000, ready: true })
    acts(one, 'b-1', 2, 1_010, 1_500)
    one.settle(1_100)
    one.poll({ replica: 'a-1', sentAt: 1_200, ready: true })
    breaks('at most one is ready', /a-1 was asked at 1200\.0 ms .* 190\.0 ms after the workload of b-1/, () =>
      one.settle(1_300),
    )
  })
})

test('a frozen launcher’s Lease counts as taken only after a recent fault of its replica, or of all, that may cost a Lease', () => {
  const term = { replica: 'a-1', epoch: 4, first: 0, last: 120_000 }
  const next = { replica: 'b-1', epoch: 5, first: 115_000, last: 116_000 }
  const taken = (kind: string, at: number, healedAt: number, replica = 'a-1', because?: string) => {
    const injected: Injected[] = [
      { kind: 'launcher is frozen', at: 100_000, healedAt: Number.POSITIVE_INFINITY, replica: 'a-1' },
      { kind, at, healedAt, replica },
    ]
    return leaseTaken({ term, next, because, frozenSince: 100_000 }, injected)
  }
  assert.ok(taken('link is a black hole', 98_000, 110_000))
  assert.ok(taken('API server hangs', 101_000, Number.POSITIVE_INFINITY, ''))
  assert.ok(!taken('link is a black hole', 98_000, 110_000, 'b-1'))
  assert.ok(!taken('link is a black hole', 115_001, 119_000))
  assert.ok(!taken('link is a black hole', 70_000, 82_999))
  assert.ok(!taken('link is a black hole', 98_000, 110_000, 'a-1', RELEASED))
  for (const kind of KINDS.filter((one) => !mayCostLease(one))) assert.ok(!taken(kind, 99_000, 110_000), kind)
})

test('a recovery fails if no replica, two replicas, or one too late serve after the last fault', () => {
  /** `readyAt` gives the ready replicas at a time. The faults heal at 1 s, and a look follows every 100 ms. */
  const play = (readyAt: (now: number) => readonly string[]): number => {
    const watch = new RecoveryWatch(1_000, RECOVERS_WITHIN_MS)
    for (let now = 1_000; ; now += 100) {
      const took = watch.look(now, readyAt(now))
      if (took !== undefined) return took
    }
  }
  const fails = (sentence: RegExp, readyAt: (now: number) => readonly string[]) =>
    breaks('exactly one serves again', sentence, () => play(readyAt))
  const after = 'after the last fault had healed; the limit is 30\\.0 s$'
  assert.equal(
    play((now) => (now < 3_000 ? ['a-1'] : now < 8_000 ? [] : ['b-1'])),
    7_000,
  )
  fails(new RegExp(`^no replica served, 30\\.1 s ${after}`), () => [])
  fails(/^a-1 and b-1 served, but not one alone in time/, () => ['a-1', 'b-1'])
  fails(/not one alone in time/, (now) => (now < 31_100 ? [] : ['a-1']))
  fails(/not one alone in time/, (now) => [`${'abc'[Math.floor(now / 2_000) % 3]}-1`])
})
