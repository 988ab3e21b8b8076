import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertOneActed, type Beat, lateBeats, overlapMs } from './beats.ts'

function beat(replica: string, epoch: number, mono: number): Beat {
  return { replica, epoch, mono, pid: replica.charCodeAt(0), what: 'beat' }
}

/** Beats each 10 ms. */
function acts(replica: string, epoch: number, from: number, to: number): Beat[] {
  return Array.from({ length: (to - from) / 10 + 1 }, (_, n) => beat(replica, epoch, from + 10 * n))
}

const HANDOVER = [...acts('a', 1, 0, 1_000), ...acts('b', 2, 1_001, 3_000)]

describe('signs of life', () => {
  test('of terms one right after the other overlap for no time', () => {
    assert.equal(overlapMs(HANDOVER), 0)
    assert.deepEqual(lateBeats(HANDOVER), [])
    assertOneActed(HANDOVER)
  })

  test('of two at once overlap for as long as both act', () => {
    assert.equal(overlapMs([...acts('a', 1, 0, 1_000), ...acts('b', 2, 900, 2_000)]), 100)
  })

  test('that come late and alone stand for one period each', () => {
    const late = [1_200, 1_500, 1_800, 2_500].map((mono) => beat('a', 1, mono))
    const beats = [...HANDOVER, ...late]
    assert.equal(overlapMs(beats), 40)
    assert.deepEqual(lateBeats(beats), late)
    assert.throws(() => assertOneActed([...HANDOVER, ...late.slice(0, 1)]), /acted at once/)
  })

  test('that come late are late even where the later term stands still, or has ended', () => {
    const beats = [...HANDOVER, beat('a', 1, 3_500)]
    assert.equal(overlapMs(beats), 0)
    assert.throws(() => assertOneActed(beats), /after a later term had begun/)
  })

  test('that begin in an epoch which another one has had are late', () => {
    assert.throws(() => assertOneActed([...HANDOVER, ...acts('c', 2, 4_000, 4_100)]), /later term/)
  })

  test('of one replica in two epochs count like those of two', () => {
    assert.equal(overlapMs([...acts('a', 1, 0, 1_000), ...acts('a', 2, 950, 2_000)]), 50)
  })
})
