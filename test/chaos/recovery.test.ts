import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RECOVERS_WITHIN_MS, RecoveryWatch } from './recovery.ts'

test('a recovery fails if no replica, two replicas, or one too late serve after the last fault', () => {
  /** `readyAt` gives the ready replicas at a time. The faults heal at 1 s, and a look follows every 100 ms. */
  const play = (readyAt: (now: number) => readonly string[]): number => {
    const watch = new RecoveryWatch(1_000, RECOVERS_WITHIN_MS)
    for (let now = 1_000; ; now += 100) {
      const took = watch.look(now, readyAt(now))
      if (took !== undefined) return took
    }
  }
  assert.equal(
    play((now) => (now < 3_000 ? ['a-1'] : now < 8_000 ? [] : ['b-1'])),
    7_000,
  )
  for (const readyAt of [
    () => [],
    () => ['a-1', 'b-1'],
    (now: number) => (now < 31_100 ? [] : ['a-1']),
    (now: number) => [`${'abc'[Math.floor(now / 2_000) % 3]}-1`],
  ])
    assert.throws(() => play(readyAt), { invariant: 'exactly one serves again' })
})
