import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertOneActed, type Beat, Judge, lateBeats, overlapMs } from './judge.ts'

function acts(replica: string, epoch: number, from: number, to: number): Beat[] {
  const times = Array.from({ length: (to - from) / 10 + 1 }, (_, n) => from + 10 * n)
  return times.map((mono) => ({ replica, epoch, mono, pid: replica.charCodeAt(0), what: 'beat' }))
}

const HANDOVER = [...acts('a', 1, 0, 1_000), ...acts('b', 2, 1_001, 3_000)]

describe('the judge', () => {
  test('the judge accepts terms that follow each other without a gap', () => assertOneActed(HANDOVER))

  test('the judge counts the time in which two terms act, even if both are of one replica', () => {
    assert.equal(overlapMs([...acts('a', 1, 0, 1_000), ...acts('b', 2, 900, 2_000)]), 100)
    assert.equal(overlapMs([...acts('a', 1, 0, 1_000), ...acts('a', 2, 950, 2_000)]), 50)
  })

  test('the judge catches a single late beat of an earlier term: during the later term, in its gaps, and after its end', () => {
    const late = [1_200, 2_500, 3_500].flatMap((mono) => acts('a', 1, mono, mono))
    assert.equal(overlapMs([...HANDOVER, ...late]), 20)
    assert.deepEqual(lateBeats([...HANDOVER, ...late]), late)
    for (const one of late) assert.throws(() => assertOneActed([...HANDOVER, one]), /acted/)
  })

  test('the judge catches a term whose epoch was already used', () => {
    assert.throws(() => assertOneActed([...HANDOVER, ...acts('c', 2, 4_000, 4_100)]), /later term/)
  })

  test('the judge of a run that goes on reports the first violation, in whatever order the beats are read', () => {
    const judged = (beats: readonly Beat[], ready?: readonly [string, number]) => () => {
      const judge = new Judge()
      if (ready !== undefined) judge.ready(...ready)
      for (const beat of beats) judge.beat(beat)
      judge.settle(10_000)
      return judge.beats
    }
    assert.equal(judged(HANDOVER, ['a', 1_000])(), HANDOVER.length)
    const acted = { invariant: 'at most one acts' }
    assert.throws(judged([...HANDOVER, ...acts('a', 1, 1_030, 1_030)]), acted)
    assert.throws(judged([...acts('a', 1, 0, 1_000), ...acts('b', 2, 990, 990)]), acted)
    assert.throws(judged([...acts('a', 2, 0, 100), ...acts('b', 1, 5_000, 5_000)]), {
      invariant: 'epochs grow',
    })
    assert.throws(judged(HANDOVER, ['a', 1_200]), { invariant: 'at most one is ready' })
  })
})
