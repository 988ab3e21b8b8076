import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { succession as choose, type Member, type Own } from '../../agent/peers/succession.ts'
import { podAge } from '../../agent/replica/pod-age.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

const OLD = { revision: 'old', podAgeMs: 600_000 }

function succession(own: Own, others: readonly Member[], ...inVain: string[]) {
  const { successor, newer } = choose(own, others, new Set(inVain))
  return { successor, newer }
}

function member(identity: string, more: Partial<Member> = {}): Member {
  return { identity, ready: true, prepared: true, warm: false, revision: 'old', podAgeMs: 500_000, ...more }
}

describe('who follows a leader', () => {
  test('is nobody where none is ready', () => {
    const others = [
      member('a', { ready: false }),
      member('b', { ready: false, revision: 'new', podAgeMs: 1 }),
    ]
    assert.deepEqual(succession(OLD, others), { successor: null, newer: false })
  })

  test('is one of the newest revision, also where one of the old is better prepared', () => {
    const others = [member('a'), member('b', { revision: 'new', podAgeMs: 10_000, prepared: false })]
    assert.deepEqual(succession(OLD, others), { successor: 'b', newer: true })
  })

  test('is the better prepared one of a revision', () => {
    const others = [member('a', { prepared: false }), member('b')]
    assert.deepEqual(succession(OLD, others), { successor: 'b', newer: false })
  })

  test('is none of an older revision where one of the own is ready', () => {
    const own = { revision: 'new', podAgeMs: 20_000 }
    const others = [member('a'), member('b', { revision: 'new', podAgeMs: 10_000 })]
    assert.deepEqual(succession(own, others), { successor: 'b', newer: false })
  })

  test('is one of an older revision where nobody else is ready, which is no reason to hand over', () => {
    const own = { revision: 'new', podAgeMs: 20_000 }
    assert.deepEqual(succession(own, [member('a')]), { successor: 'a', newer: false })
  })
})

describe('among several newer revisions', () => {
  const others = [
    member('second', { revision: 'b', podAgeMs: 300_000 }),
    member('third', { revision: 'c', podAgeMs: 20_000, prepared: false }),
  ]

  test('the newest is chosen, whatever is prepared', () => {
    assert.deepEqual(succession(OLD, others), { successor: 'third', newer: true })
  })

  test('one that was tried in vain gives way to the other, and is no reason to hand over when it is the only one', () => {
    assert.deepEqual(succession(OLD, others, 'third'), { successor: 'second', newer: true })
    assert.deepEqual(succession(OLD, others, 'third', 'second'), { successor: 'third', newer: false })
    assert.deepEqual(succession(OLD, [member('a'), ...others], 'third', 'second'), {
      successor: 'a',
      newer: false,
    })
  })
})

describe('a revision is newer', () => {
  test('when its oldest pod is the younger one, as after a rollback to the hash of before', () => {
    const leader = { revision: 'second', podAgeMs: 300_000 }
    assert.equal(succession(leader, [member('a', { revision: 'first', podAgeMs: 9_000 })]).newer, true)
  })

  test('and not because a pod of it was made anew in the middle of a rollout', () => {
    const leader = { revision: 'new', podAgeMs: 30_000 }
    const others = [member('old one', { ready: false }), member('made anew', { podAgeMs: 2_000 })]
    assert.equal(succession(leader, others).newer, false)
  })

  test('also for a young leader of the old revision, whose elder tells', () => {
    const leader = { revision: 'old', podAgeMs: 5_000 }
    const others = [member('elder'), member('b', { revision: 'new', podAgeMs: 20_000 })]
    assert.deepEqual(succession(leader, others), { successor: 'b', newer: true })
  })

  test('never where revision or age is unknown', () => {
    const newer = member('b', { revision: 'new', podAgeMs: 10_000 })
    assert.equal(succession({ revision: null, podAgeMs: 600_000 }, [newer]).newer, false)
    assert.equal(succession({ revision: 'old', podAgeMs: null }, [newer]).newer, false)
    assert.equal(succession(OLD, [{ ...newer, podAgeMs: null }]).newer, false)
    assert.equal(succession(OLD, [{ ...newer, revision: null }]).newer, false)
  })

  test('for one of two replicas at most, whatever their ages', () => {
    for (const [first, second] of [
      [1_000, 1_000],
      [1_000, 2_000],
      [2_000, 1_000],
    ] as const) {
      const says = (own: number, other: number) =>
        succession({ revision: `${own}`, podAgeMs: own }, [member('x', { revision: 'x', podAgeMs: other })])
          .newer
      assert.ok(!(says(first, second) && says(second, first)))
    }
  })
})

describe("a pod's age", () => {
  function directory(t: TestContext): string {
    const path = mkdtempSync(join(tmpdir(), 'pod-age-'))
    t.after(() => rmSync(path, { recursive: true }))
    return path
  }

  test('goes on when its agent is restarted, whatever becomes of the wall clock', async (t) => {
    const path = directory(t)
    const clock = new VirtualClock()
    podAge(path, clock)
    clock.wallAhead += 3_600_000
    await clock.pass(90_000)
    assert.equal(podAge(path, clock)(clock.now()), 90_000)
  })

  test('goes on by the wall clock when its machine was restarted', (t) => {
    const path = directory(t)
    const clock = new VirtualClock()
    writeFileSync(join(path, 'born'), JSON.stringify({ bootId: 'an earlier one', boot: 5 }))
    const bornAt = clock.now().wall / 1000 - 90
    utimesSync(join(path, 'born'), bornAt, bornAt)
    assert.equal(podAge(path, clock)(clock.now()), 90_000)
  })

  test('is unknown where nothing can be written, or what was written is no age', (t) => {
    assert.equal(podAge('/proc/nowhere', new VirtualClock())(new VirtualClock().now()), null)
    const path = directory(t)
    writeFileSync(join(path, 'born'), '')
    assert.equal(podAge(path, new VirtualClock())(new VirtualClock().now()), null)
  })
})

describe('who serves sooner than a leader that starts from nothing', () => {
  const faster = (own: Own, others: readonly Member[], ...inVain: string[]) =>
    choose(own, others, new Set(inVain)).faster

  test('is a ready one with a warm standby, as warm as was asked for', () => {
    assert.equal(faster(OLD, [member('a', { warm: true })]), true)
    assert.equal(faster(OLD, [member('a')]), false)
    assert.equal(faster(OLD, [member('a', { warm: true, prepared: false })]), false)
    assert.equal(faster(OLD, [member('a', { warm: true, ready: false })]), false)
    assert.equal(faster(OLD, [member('a', { warm: true })], 'a'), false)
    assert.equal(faster(OLD, []), false)
  })

  test('is none of an older revision: it would have to hand over again', () => {
    const own = { revision: 'new', podAgeMs: 20_000 }
    assert.equal(faster(own, [member('a', { warm: true })]), false)
    assert.equal(faster(own, [member('a', { warm: true, revision: 'new', podAgeMs: 10_000 })]), true)
  })
})
