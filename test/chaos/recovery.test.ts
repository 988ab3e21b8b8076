import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { RecoveryWatch } from './recovery.ts'

/** Who is ready at which time; looked at each 100 ms, healed at 1 s, 20 s allowed. */
function play(readyAt: (now: number) => readonly string[]) {
  const watch = new RecoveryWatch(1_000, 20_000)
  for (let now = 1_000; now < 100_000; now += 100) {
    const recovery = watch.look(now, readyAt(now))
    if (recovery !== undefined) return { ...recovery, now }
  }
  return assert.fail('no verdict')
}

describe('the recovery after the last fault', () => {
  test('is over once one has served for a while, and counts from its first answer', () => {
    assert.deepEqual(
      play((now) => (now < 6_000 ? [] : ['a-1'])),
      { ms: 5_000, allowedMs: 20_000, now: 10_000 },
    )
  })

  test('does not count one that stops serving again', () => {
    const { ms } = play((now) => (now < 3_000 ? ['a-1'] : now < 8_000 ? [] : ['b-1']))
    assert.equal(ms, 7_000)
  })

  test('fails where nobody serves in time', () => {
    assert.match(play(() => []).failed ?? '', /^nobody served, 20\.1 s after .* 20\.0 s are allowed$/)
  })

  test('fails where two say that they serve', () => {
    assert.match(play(() => ['a-1', 'b-1']).failed ?? '', /^a-1 and b-1 served, and no one in time/)
  })

  test('fails where they take turns, and none goes on', () => {
    assert.ok(play((now) => [`${'abc'[Math.floor(now / 2_000) % 3]}-1`]).failed !== undefined)
  })

  test('fails where one serves too late', () => {
    assert.ok(play((now) => (now < 21_100 ? [] : ['a-1'])).failed !== undefined)
  })
})
