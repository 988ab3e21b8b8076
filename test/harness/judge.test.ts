import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertOneActed, type Beat, lateBeats, overlapMs } from './judge.ts'

/** Beats each 10 ms. */
function acts(replica: string, epoch: number, from: number, to: number): Beat[] {
  const times = Array.from({ length: (to - from) / 10 + 1 }, (_, n) => from + 10 * n)
  return times.map((mono) => ({ replica, epoch, mono, pid: replica.charCodeAt(0), what: 'beat' }))
}

const HANDOVER = [...acts('a', 1, 0, 1_000), ...acts('b', 2, 1_001, 3_000)]

describe('the judge', () => {
  test('accepts terms one right after the other', () => assertOneActed(HANDOVER))

  test('counts the time in which two act, also of one replica in two epochs', () => {
    assert.equal(overlapMs([...acts('a', 1, 0, 1_000), ...acts('b', 2, 900, 2_000)]), 100)
    assert.equal(overlapMs([...acts('a', 1, 0, 1_000), ...acts('a', 2, 950, 2_000)]), 50)
  })

  test('catches a lone sign of life of an earlier term: in the later one, in its silence, and after its end', () => {
    const late = [1_200, 2_500, 3_500].flatMap((mono) => acts('a', 1, mono, mono))
    assert.equal(overlapMs([...HANDOVER, ...late]), 20)
    assert.deepEqual(lateBeats([...HANDOVER, ...late]), late)
    for (const one of late) assert.throws(() => assertOneActed([...HANDOVER, one]), /acted/)
  })

  test('catches a term in an epoch that another one has had', () => {
    assert.throws(() => assertOneActed([...HANDOVER, ...acts('c', 2, 4_000, 4_100)]), /later term/)
  })
})
