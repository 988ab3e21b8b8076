import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Lease } from '../../agent/lease/lease.ts'
import { Candidate, failure, heldBy, leaseOf, released } from './candidate.ts'

describe('a candidate', () => {
  test('takes a released Lease on the event that shows it', () => {
    const c = Candidate.follower().sees(heldBy('other', 10)).pass(500).sees(released(11))
    assert.equal(c.write.kind, 'acquire')
    assert.equal(c.write.lease.metadata.resourceVersion, '11')
    assert.equal(c.write.lease.spec?.leaseTransitions, 4)
  })

  test('takes a Lease that nobody ever held at once', () => {
    const c = Candidate.follower().sees(leaseOf({}, 1))
    assert.equal(c.write.lease.spec?.holderIdentity, 'me')
    assert.equal(c.write.lease.spec?.leaseTransitions, 1)
  })

  test('takes a held Lease only after it stood unchanged for the record’s duration', () => {
    const c = Candidate.follower().sees(heldBy('other', 10, { leaseDurationSeconds: 30 }))
    c.pass(29_999)
    assert.equal(c.effects('write').length, 0)
    c.pass(1)
    assert.equal(c.write.kind, 'acquire')
  })

  test('starts counting again with every change of the record', () => {
    const c = Candidate.follower()
      .sees(heldBy('other', 10))
      .pass(14_000)
      .sees(heldBy('other', 11))
      .pass(14_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.pass(1).write.kind, 'acquire')
  })

  test('does not start counting again for an annotation', () => {
    const c = Candidate.follower().sees(heldBy('other', 10)).pass(14_000)
    const touched = heldBy('other', 11, { renewTime: 'r10' })
    c.sees({ ...touched, metadata: { ...touched.metadata, annotations: { note: 'x' } } }).pass(1_000)
    assert.equal(c.write.lease.metadata.resourceVersion, '11')
  })

  test('ignores what the holder and the wall clock say about the time', () => {
    const c = Candidate.follower().sees(heldBy('other', 10, { renewTime: '1970-01-01T00:00:00.000000Z' }))
    c.wallAhead += 3_600_000
    c.pass(14_999)
    assert.equal(c.effects('write').length, 0)
  })

  test('ignores events older than what it knows', () => {
    const c = Candidate.follower().sees(heldBy('other', 10)).sees(released(9))
    assert.equal(c.effects('write').length, 0)
  })

  test('an absent Lease is made at the moment from which it is free, not at the next look', () => {
    const c = Candidate.follower().sees(heldBy('leader', 10)).sees(null)
    c.wait(14_900)
    assert.equal(c.state.pending, null)
    c.wait(200)
    assert.equal(c.write.kind, 'acquire')
  })

  test('waits out a lease duration after the Lease was deleted, also when it reappears empty', () => {
    const c = Candidate.follower().sees(heldBy('other', 10)).pass(1_000).sees(null).wait(5_000)
    c.sees(leaseOf({}, 12, 'u2'), true).wait(9_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.wait(1).write.kind, 'acquire')
  })

  test('does not believe an empty Lease that replaced a held one behind its back', () => {
    const c = Candidate.follower()
      .sees(heldBy('other', 10))
      .sees(leaseOf({}, 12, 'u2'))
      .wait(14_999)
    assert.equal(c.effects('write').length, 0)
  })

  test('does not believe a held Lease that somebody emptied', () => {
    const c = Candidate.follower().sees(heldBy('other', 10)).sees(leaseOf({}, 11)).wait(14_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.wait(1).write.lease.spec?.leaseTransitions, 4)
  })

  test('waits for an emptied Lease as long as its record said, where that is longer', () => {
    const c = Candidate.follower().sees(heldBy('other', 10, { leaseDurationSeconds: 30 }))
    c.sees(leaseOf({}, 11)).wait(29_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.wait(1).write.kind, 'acquire')
  })

  test('does not believe an empty Lease that it could not look for: somebody may have held it meanwhile', () => {
    const c = Candidate.follower().sees(null).pass(60_000)
    c.sees(leaseOf({}, 13), true).wait(14_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.wait(1).write.lease.metadata.resourceVersion, '13')
  })

  test('does not wait less because an emptied Lease was changed once more', () => {
    const c = Candidate.follower().sees(heldBy('other', 10, { leaseDurationSeconds: 30 }))
    c.sees(leaseOf({}, 11), true).wait(5_000)
    c.sees(leaseOf({ leaseDurationSeconds: 40 }, 12), true).wait(1_000)
    c.sees(leaseOf({ leaseDurationSeconds: 1 }, 13), true).wait(23_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.wait(1).write.kind, 'acquire')
  })

  test('does not take its own late creation for leadership once it has seen another holder', () => {
    for (const heldMs of [4_000, 16_000]) {
      const c = Candidate.follower().sees(null)
      while (c.state.pending === null) c.wait(100)
      const { write } = c
      c.sees(heldBy('other', 60, { leaseTransitions: 1 })).fail('timeout', true, write)
      c.pass(heldMs)
        .sees(heldBy('other', 61, { leaseTransitions: 1 }))
        .sees(null)
        .forget()
      c.sees(
        { ...write.lease, metadata: { ...write.lease.metadata, uid: 'u9', resourceVersion: '70' } },
        true,
      )
      assert.equal(c.state.term, null)
      assert.equal(c.wait(14_999).effects('write').length, 0)
      assert.equal(c.wait(1).write.kind, 'acquire')
    }
  })

  test('does not take it for leadership either when its answer comes after the event that showed it', () => {
    const c = Candidate.follower().sees(null)
    while (c.state.pending === null) c.wait(100)
    const { write } = c
    const created = { ...c.commit(write), metadata: { ...c.commit(write).metadata, resourceVersion: '70' } }
    c.sees(heldBy('other', 60, { leaseTransitions: 1 }))
      .sees(null)
      .sees(created)
    c.tell({ type: 'written', id: write.id, lease: created })
    assert.deepEqual([c.state.term, c.state.pending], [null, null])
  })

  test('creates an absent Lease although each answer takes almost as long as a request may', () => {
    const c = Candidate.follower().sees(null)
    for (let n = 0; n < 5 && c.state.pending === null; n++) {
      while (!c.state.inFlight) c.pass(10)
      c.pass(4_500).sees(null, true)
    }
    assert.equal(c.write.kind, 'acquire')
  })

  test('does not believe an answer that lay in its connection while the machine slept', () => {
    const c = Candidate.follower().sees(null).wait(14_000)
    while (!c.state.inFlight || c.mono < 1_015_000) c.pass(100)
    c.bootAhead += 30_000
    c.sees(null, true)
    assert.equal(c.effects('write').length, 0)
  })

  test('looks at an emptied Lease each retry period: nobody renews it, so that silence proves nothing', () => {
    const c = Candidate.follower().sees(heldBy('other', 10)).sees(leaseOf({}, 11), true).pass(2_000)
    assert.equal(c.effects('read').length, 1)
    c.sees(leaseOf({}, 11), true).pass(2_000)
    assert.equal(c.effects('read').length, 2)
  })

  test('does not believe an empty Lease that was changed: somebody may have held it between two looks', () => {
    for (const before of [leaseOf({}, 11), released(11)]) {
      const c = Candidate.follower().workload({ canRun: false }).sees(before).pass(60_000)
      c.sees(leaseOf({}, 13)).workload({ canRun: true }).wait(14_999)
      assert.equal(c.effects('write').length, 0)
      assert.equal(c.wait(1).write.lease.metadata.resourceVersion, '13')
    }
  })

  test('does not believe an absence that was read before the Lease was seen again', () => {
    const c = Candidate.follower().sees(heldBy('other', 10)).sees(null)
    assert.equal(c.effects('read').length, 1)
    c.sees(leaseOf(heldBy('other', 12).spec ?? {}, 12, 'u2')).sees(null, true)
    c.pass(1_900)
      .sees(null)
      .sees(leaseOf({}, 14, 'u3'))
      .wait(14_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.wait(1).write.kind, 'acquire')
  })

  test('creates a Lease that has not existed for a lease duration, in a higher epoch', () => {
    const c = Candidate.follower().sees(heldBy('other', 10)).sees(null)
    for (let looks = 0; looks < 8; looks++) c.pass(2_000).sees(null, true)
    assert.equal(c.write.lease.metadata.resourceVersion, undefined)
    assert.equal(c.write.lease.spec?.leaseTransitions, 4)
  })

  test('begins the wait for an absent Lease anew where it did not look for a while', () => {
    const c = Candidate.follower().sees(heldBy('other', 10)).sees(null)
    c.pass(14_000).sees(null, true)
    for (let looks = 0; looks < 7; looks++) c.pass(2_000).sees(null, true)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.pass(2_000).sees(null, true).write.kind, 'acquire')
  })

  test('creates a Lease only upon a read that shows it absent', () => {
    const c = Candidate.follower().sees(null)
    for (let looks = 0; looks < 7; looks++) c.pass(2_000).sees(null, true)
    assert.equal(c.pass(2_000).effects('write').length, 0)
    c.sees(heldBy('other', 10)).sees(null).sees(null, true)
    assert.equal(c.effects('write').length, 0)
  })

  test('does not take a Lease whose holder was cleared by hand before its duration is over', () => {
    const c = Candidate.follower().sees(heldBy('other', 10)).sees(heldBy('', 11)).pass(14_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.pass(1).write.kind, 'acquire')
  })

  test('does not campaign without an idle launcher', () => {
    const c = Candidate.follower().workload({ canRun: false }).sees(released(10)).pass(60_000)
    assert.equal(c.effects('write').length, 0)
    assert.match(c.last.decision, /no idle launcher/)
    assert.equal(c.workload({ canRun: true }).write.kind, 'acquire')
  })

  test('sends nothing while the watch lives, and polls each retry period while it does not', () => {
    const c = Candidate.follower().sees(heldBy('other', 10)).pass(14_000)
    assert.equal(c.effects('read').length, 0)
    c.tell({ type: 'watch', up: false, problem: 'cut' })
    for (let poll = 1; poll <= 5; poll++) {
      assert.equal(c.effects('read').length, poll)
      c.sees(heldBy('other', 10 + poll), true).pass(2_000)
    }
  })

  test('reads after a lost race and follows the winner', () => {
    const c = Candidate.follower().sees(released(10)).fail('conflict')
    assert.equal(c.effects('read').length, 1)
    c.sees(heldBy('winner', 11), true).pass(10_000)
    assert.equal(c.effects('write').length, 1)
  })

  test('does not loop when every write is refused for no visible reason', () => {
    const c = Candidate.follower().sees(released(10))
    for (let round = 0; round < 3; round++) {
      c.fail('conflict').sees(released(10), true)
      assert.equal(c.state.pending, null)
      c.pass(2_000)
    }
    assert.equal(c.effects('write').length, 4)
  })

  test('recognises its own acquisition whose answer was lost, from the watch', () => {
    const c = Candidate.follower().sees(released(10))
    const committed = c.commit()
    c.pass(3_000).fail('timeout', true).sees(committed)
    assert.equal(c.state.term?.epoch, 4)
    assert.equal(c.state.term?.renewedAt.mono, c.mono - 3_000)
  })

  test('recognises a write that was refused with 409 although it had succeeded', () => {
    const c = Candidate.follower().sees(released(10))
    const committed = c.commit()
    c.fail('conflict').sees(committed, true)
    assert.equal(c.state.term?.epoch, 4)
  })

  test('does not write as fast as the network while each of its writes is refused although it succeeds', () => {
    const c = Candidate.leader()
    for (let n = 0; n < 3; n++) {
      c.pass(n === 0 ? 2_000 : 100)
      const committed = c.commit()
      c.fail('conflict').sees(committed, true).pass(1_900)
      assert.equal(c.state.pending, null)
    }
  })

  test('takes back at once what came through in its name after it had given up', () => {
    const c = Candidate.leader().pass(2_000)
    const late = c.commit()
    c.fail('timeout', true)
    while (c.state.term !== null) {
      c.pass(500)
      if (c.state.pending) c.fail('network')
    }
    assert.ok(c.events().includes('lost'))
    c.workload({ alive: 'no', canRun: true, epoch: null }).sees(late)
    assert.equal(c.write.kind, 'acquire')
    assert.equal(c.write.lease.spec?.leaseTransitions, 5)
  })
})

describe('the leader', () => {
  test('renews every retry period with a compare-and-swap on its own last write', () => {
    const c = Candidate.leader()
    for (let round = 0; round < 5; round++) {
      const before = c.state.seen?.lease?.metadata.resourceVersion
      c.pass(2_000)
      assert.equal(c.write.lease.metadata.resourceVersion, before)
      c.acknowledge()
    }
    assert.equal(c.effects('write').length, 5)
  })

  test('counts every deadline from the sending of the acknowledged write', () => {
    const c = Candidate.leader().pass(2_000)
    const sentAt = c.mono
    c.pass(4_000).acknowledge()
    const grant = c.effects('grant').at(-1)
    assert.ok(grant?.type === 'grant')
    assert.equal(grant.grant.doubtAt.mono, sentAt + 10_000)
    assert.equal(grant.grant.killAt.mono, sentAt + 14_000)
  })

  test('is in doubt at the renew deadline, and loses at lease duration less kill margin, without releasing', () => {
    const c = Candidate.leader().pass(2_000).fail('timeout', true).pass(7_999)
    assert.deepEqual(c.events(), [])
    c.pass(1)
    assert.deepEqual(c.events(), ['doubt'])
    c.pass(3_999)
    assert.equal(c.effects('kill').length, 0)
    c.pass(1)
    assert.deepEqual(c.events(), ['doubt', 'lost'])
    assert.equal(c.effects('kill').length, 1)
    assert.ok(c.effects('write').every((e) => e.type === 'write' && e.write.kind === 'renew'))
  })

  test('goes on in the same epoch when a renewal succeeds in doubt', () => {
    const c = Candidate.leader().pass(2_000).fail('network').pass(8_000)
    assert.equal(c.state.term?.doubt, true)
    c.pass(2_000).acknowledge()
    assert.equal(c.state.term?.doubt, false)
    assert.equal(c.state.term?.epoch, 4)
    assert.equal(c.effects('kill').length, 0)
  })

  test('asks again at once in doubt: a timeout has waited already, a refusal waits a quarter of a retry period', () => {
    const c = Candidate.leader().pass(2_000).fail('network').pass(8_000)
    const first = c.write.id
    assert.equal(c.fail('timeout', true).write.id, first + 1)
    c.fail('network').pass(499)
    assert.equal(c.state.pending, null)
    assert.equal(c.pass(1).write.id, first + 2)
  })

  test('kills at once when the Lease shows another holder, and does not write', () => {
    const c = Candidate.leader().sees(heldBy('other', 500))
    assert.equal(c.effects('kill').length, 1)
    assert.deepEqual(c.events(), ['lost', 'leader_observed'])
    assert.equal(c.pass(14_000).effects('write').length, 0)
  })

  test('never writes over another holder that it learns of through a conflict', () => {
    const c = Candidate.leader().pass(2_000).fail('conflict')
    assert.equal(c.effects('read').length, 1)
    c.sees(heldBy('other', 500), true)
    assert.equal(c.state.term, null)
    assert.equal(c.effects('write').length, 1)
  })

  test('survives an annotation that changes its resourceVersion', () => {
    const c = Candidate.leader()
    const mine = c.state.seen?.lease as NonNullable<NonNullable<typeof c.state.seen>['lease']>
    c.sees({ ...mine, metadata: { ...mine.metadata, resourceVersion: '900', annotations: { a: 'b' } } })
    c.pass(2_000)
    assert.equal(c.write.lease.metadata.resourceVersion, '900')
    assert.deepEqual(c.write.lease.metadata.annotations, { a: 'b' })
  })

  test('re-creates a deleted Lease at once, in the same epoch', () => {
    const c = Candidate.leader().pass(500).sees(null)
    assert.equal(c.write.kind, 'recreate')
    assert.equal(c.write.lease.spec?.leaseTransitions, 4)
    c.acknowledge()
    assert.equal(c.state.term?.epoch, 4)
    assert.equal(c.effects('kill').length, 0)
  })

  test('counts what is left of its time on the clock that is ahead', () => {
    const c = Candidate.leader()
    c.bootAhead += 9_000
    c.pass(2_000).fail('timeout', true)
    assert.deepEqual(c.events(), ['doubt'])
    c.pass(3_019)
    assert.deepEqual(c.events(), ['doubt'])
    c.pass(1)
    assert.deepEqual(c.events(), ['doubt', 'lost'])
  })

  test('asserts its Lease at once when somebody emptied it, or made it anew', () => {
    for (const uid of ['u1', 'u2']) {
      const c = Candidate.leader()
        .pass(500)
        .sees(leaseOf({}, 900, uid))
      assert.equal(c.write.kind, 'renew')
      assert.equal(c.write.lease.metadata.resourceVersion, '900')
      assert.equal(c.write.lease.spec?.leaseTransitions, 4)
      assert.equal(c.effects('kill').length, 0)
    }
  })

  test('does not re-create a Lease whose time is over by the wall clock', () => {
    for (const lease of [null, leaseOf({}, 900)]) {
      const c = Candidate.leader().pass(500)
      c.wallAhead += 20_000
      c.sees(lease)
      assert.deepEqual(c.events(), ['lost'])
      assert.equal(c.effects('kill').length, 1)
      assert.equal(c.effects('write').length, 0)
    }
  })

  test('asserts its Lease at once when a creation of an earlier term came late', () => {
    const c = Candidate.follower().sees(null)
    for (let looks = 0; looks < 8; looks++) c.pass(2_000).sees(null, true)
    const early = c.write
    c.fail('timeout', true, early).sees(released(10), true).pass(2_000).acknowledge().forget()
    assert.equal(c.state.term?.epoch, 4)
    c.sees(null).fail('timeout', true).forget()
    c.sees({ ...early.lease, metadata: { ...early.lease.metadata, resourceVersion: '900', uid: 'u9' } }, true)
    assert.equal(c.write.kind, 'renew')
    assert.equal(c.write.lease.metadata.resourceVersion, '900')
    assert.equal(c.write.lease.spec?.leaseTransitions, 4)
    assert.deepEqual(c.events(), [])
  })

  test('asserts its Lease at once when its holder was cleared by hand', () => {
    const c = Candidate.leader()
      .pass(500)
      .sees(heldBy('', 500, { leaseTransitions: 4 }))
    assert.equal(c.write.kind, 'renew')
    assert.equal(c.write.lease.metadata.resourceVersion, '500')
  })

  test('loses a Lease that somebody else held and released behind its back', () => {
    const c = Candidate.leader()
      .pass(500)
      .sees(heldBy('', 500, { leaseTransitions: 5, leaseDurationSeconds: 1 }))
    assert.deepEqual(c.events(), ['lost'])
    assert.equal(c.effects('kill').length, 1)
  })

  test('does not take an edit that keeps its renew time for its own write', () => {
    const c = Candidate.leader().pass(2_000)
    const { write } = c
    c.fail('timeout', true, write).forget()
    const committed = c.commit(write)
    const { renewedAt } = c.state.term ?? {}
    c.sees({ ...committed, spec: { ...committed.spec, leaseTransitions: 5 } })
    assert.deepEqual(c.state.term?.renewedAt, renewedAt)
  })

  test('asks once for each jump of the wall clock, however often that fails', () => {
    const c = Candidate.leader().pass(2_000)
    c.wallAhead += 5_000
    c.fail('conflict')
    assert.equal(c.effects('read').length, 1)
    c.tell({ type: 'read_failed', error: failure('network') }).pass(1_900)
    assert.equal(c.effects('read').length, 1)
  })

  test('steps down where its launcher goes away before the workload was started', () => {
    const c = Candidate.follower().sees(released(50))
    const { write } = c
    c.fail('timeout', true).pass(5_000)
    if (c.state.pending) c.fail('timeout', true)
    c.pass(6_000).sees(c.commit(write))
    assert.deepEqual([c.state.term?.doubt, c.effects('start').length], [true, 0])
    c.workload({ canRun: false })
    assert.equal(c.state.term?.stepDown?.reason, 'the launcher went away')
  })

  test('asks at once after the wall clock was set forward, and loses nothing', () => {
    const c = Candidate.leader().pass(500)
    c.wallAhead += 3_600_000
    c.tell({ type: 'tick' })
    assert.equal(c.write.kind, 'renew')
    c.acknowledge().pass(1_000)
    assert.equal(c.effects('write').length, 1)
    c.wallAhead -= 7_200_000
    c.pass(500)
    assert.deepEqual(c.events(), [])
  })

  test('is expired when the machine slept past its deadline, whatever the monotonic clock says', () => {
    const c = Candidate.leader().pass(500)
    c.bootAhead += 30_000
    c.tell({ type: 'tick' })
    assert.deepEqual(c.events(), ['lost'])
  })

  test('keeps its term through refusals of every kind until the deadline', () => {
    for (const code of ['unauthorized', 'forbidden', 'throttled', 'server', 'network', 'timeout'] as const) {
      const c = Candidate.leader().pass(2_000).fail(code).pass(2_000).fail(code).pass(2_000).acknowledge()
      assert.equal(c.state.term?.epoch, 4, code)
      assert.deepEqual(c.events(), [], code)
    }
  })
})

describe('stepping down', () => {
  const terminate = { type: 'terminate', reason: 'SIGTERM' } as const

  test('drains and stops while renewing, releases only when nothing lives, then ends with code 0', () => {
    const c = Candidate.leader().tell(terminate)
    assert.deepEqual(c.events(), ['draining'])
    c.pass(2_000)
    assert.equal(c.write.kind, 'renew')
    c.acknowledge().tell({ type: 'drained' })
    assert.equal(c.effects('stop').length, 1)
    c.pass(2_000).acknowledge().pass(2_000).acknowledge()
    assert.ok(c.effects('write').every((e) => e.type === 'write' && e.write.kind === 'renew'))
    c.workload({ alive: 'no' })
    assert.equal(c.write.kind, 'release')
    assert.equal(c.write.lease.spec?.holderIdentity, '')
    c.acknowledge()
    assert.deepEqual(c.events(), ['draining', 'released', 'stepped_down'])
    assert.deepEqual(c.effects('exit'), [{ type: 'exit', code: 0 }])
  })

  test('keeps the Lease while the stop is not confirmed', () => {
    const c = Candidate.leader().tell(terminate).tell({ type: 'drained' })
    c.workload({ alive: 'maybe', stopFailed: 'the workload could not be stopped' })
    for (let round = 0; round < 30; round++) c.pass(2_000).acknowledge()
    assert.ok(c.effects('write').every((e) => e.type === 'write' && e.write.kind === 'renew'))
    assert.match(c.last.decision, /ALARM/)
  })

  test('follows when the launcher is ending, also one that said so while a grant was being taken back', () => {
    const c = Candidate.leader().workload({ ending: true })
    assert.deepEqual(c.events(), ['draining'])
    const live = {
      alive: 'yes',
      canRun: false,
      epoch: 3,
      identity: 'me',
      killAt: 1_009_000,
      ending: true,
    } as const
    const back = Candidate.follower().workload(live).sees(heldBy('me', 10)).acknowledge()
    assert.deepEqual(back.events(), ['leader_observed', 'acquired', 'draining'])
  })

  test('stops draining at the drain timeout', () => {
    const c = Candidate.leader({ drainTimeoutMs: 3_000 }).tell(terminate).pass(2_999)
    assert.equal(c.effects('stop').length, 0)
    c.acknowledge().pass(1)
    assert.equal(c.effects('stop').length, 1)
  })

  test('does not release over another holder that appeared while stopping', () => {
    const c = Candidate.leader().tell(terminate).tell({ type: 'drained' }).sees(heldBy('other', 500))
    assert.equal(c.effects('kill').length, 1)
    c.workload({ alive: 'no' }).pass(60_000)
    assert.equal(c.effects('write').length, 0)
    assert.deepEqual(c.effects('exit'), [{ type: 'exit', code: 0 }])
  })

  test('finds out by reading when the answer to the release was lost', () => {
    const c = Candidate.leader().tell(terminate).workload({ alive: 'no' })
    const done = c.commit()
    c.fail('network', true).pass(2_000).fail('conflict').sees(done, true)
    assert.deepEqual(c.events(), ['draining', 'released', 'stepped_down'])
    assert.equal(c.effects('exit').length, 1)
  })

  test('of a follower ends at once', () => {
    const c = Candidate.follower().sees(heldBy('other', 10)).tell(terminate)
    assert.deepEqual(c.effects('exit'), [{ type: 'exit', code: 0 }])
  })

  test('in the middle of an acquisition gives back what it got', () => {
    const c = Candidate.follower().sees(released(10)).tell(terminate)
    assert.equal(c.effects('exit').length, 0)
    c.acknowledge()
    assert.equal(c.effects('start').length, 0)
    assert.equal(c.write.kind, 'release')
    assert.equal(c.acknowledge().effects('exit').length, 1)
  })

  test('after a failure waits, longer each time, and shorter while nobody else takes the Lease', () => {
    const c = Candidate.leader()
    for (const early of [4_000, 8_000, 16_000, 32_000, 60_000, 60_000]) {
      c.tell({ type: 'workload_failed', reason: 'it ended', remedy: 'handover' }).workload({
        alive: 'no',
        canRun: true,
      })
      c.acknowledge().forget()
      c.pass(early - 1)
      assert.equal(c.effects('write').length, 0)
      c.pass(1)
      c.acknowledge().workload({ alive: 'yes', canRun: false })
    }
  })

  test('twenty failures in a row: hands over after each, and tries again ever later, at last once a minute', () => {
    const c = Candidate.leader()
    const pauses: number[] = []
    for (let n = 0; n < 20; n++) {
      c.tell({ type: 'workload_failed', reason: 'it ended', remedy: 'handover' }).workload({
        alive: 'no',
        canRun: true,
      })
      assert.equal(c.write.kind, 'release')
      c.acknowledge().forget()
      const releasedAt = c.mono
      while (c.state.pending === null) c.pass(100)
      pauses.push(c.mono - releasedAt)
      assert.equal(c.write.kind, 'acquire')
      c.acknowledge().workload({ alive: 'yes', canRun: false, epoch: c.state.term?.epoch ?? null })
    }
    assert.deepEqual(pauses.slice(0, 6), [4_000, 8_000, 16_000, 32_000, 60_000, 60_000])
    assert.deepEqual([pauses.length, pauses.at(-1)], [20, 60_000])
  })

  test('after a failure leaves a Lease that another took and released alone until the full cool-down', () => {
    const c = Candidate.leader().tell({ type: 'workload_failed', reason: 'it ended', remedy: 'handover' })
    c.workload({ alive: 'no', canRun: true })
      .acknowledge()
      .sees(heldBy('other', 500))
      .sees(released(501))
      .forget()
    c.pass(14_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.pass(1).write.kind, 'acquire')
  })
})

describe('what keeps a follower from working', () => {
  test('is over when the Lease is seen again', () => {
    const c = Candidate.follower()
      .sees(heldBy('other', 10))
      .tell({ type: 'watch', up: false, problem: 'cut' })
    c.tell({ type: 'read_failed', error: failure('network') })
    assert.match(c.state.readProblem ?? '', /network/)
    c.tell({ type: 'watch', up: true, problem: null }).sees(heldBy('other', 11))
    assert.deepEqual([c.state.readProblem, c.state.watchProblem, c.state.writeProblem], [null, null, null])
  })
})

describe('identity', () => {
  test('an epoch that the launcher has seen is never used again, whatever the Lease says', () => {
    const c = Candidate.follower().workload({ epoch: 501 }).sees(leaseOf({}, 1))
    assert.equal(c.write.lease.spec?.leaseTransitions, 502)
  })

  const live = { alive: 'yes', canRun: false, epoch: 3, identity: 'me', killAt: 1_009_000 } as const

  test('a restarted agent takes its grant back through the launcher, in the same epoch, without a start', () => {
    const c = Candidate.follower().workload(live).sees(heldBy('me', 10))
    assert.equal(c.write.kind, 'resume')
    c.acknowledge()
    assert.equal(c.state.term?.epoch, 3)
    assert.equal(c.effects('start').length, 0)
    assert.equal(c.effects('kill').length, 0)
  })

  test('a live workload of another epoch, or whose grant is over, is killed', () => {
    const over = Candidate.follower()
      .workload({ ...live, killAt: 999_000 })
      .sees(heldBy('me', 10))
    const other = Candidate.follower()
      .workload({ ...live, epoch: 2 })
      .sees(heldBy('me', 10))
    const taken = Candidate.follower().workload(live).sees(heldBy('other', 10))
    for (const c of [over, other, taken]) {
      assert.equal(c.effects('kill').length, 1)
      assert.equal(c.effects('write').length, 0)
    }
  })

  test('a live workload is killed on another holder also while a write is under way', () => {
    const c = Candidate.follower().workload(live).sees(heldBy('me', 10)).sees(heldBy('other', 11))
    assert.equal(c.effects('kill').length, 1)
  })

  test('an agent does not take back what it has ordered to be killed', () => {
    const c = Candidate.leader().pass(500)
    c.bootAhead += 60_000
    c.tell({ type: 'tick' })
    assert.ok(c.events().includes('lost'))
    c.forget().workload({ alive: 'yes', epoch: 4, identity: 'me', killAt: c.mono + 9_000 })
    c.sees(heldBy('me', 600, { leaseTransitions: 4 })).pass(1_000)
    assert.deepEqual(c.effects('write'), [])
  })

  test('a workload that ended while its grant was taken back is handed over, not left unserved', () => {
    const c = Candidate.follower().workload(live).sees(heldBy('me', 10))
    c.workload({ alive: 'no', canRun: true, killAt: null }).acknowledge()
    assert.ok(c.events().includes('draining'))
  })

  test('a workload that ended unheard while its grant was taken back is handed over as well', () => {
    const c = Candidate.follower().workload(live).sees(heldBy('me', 10)).acknowledge()
    c.workload({ alive: 'no', canRun: true, killAt: null })
    assert.ok(c.events().includes('draining'))
  })

  test('a workload that lost its worker while no agent was there is handed over', () => {
    const failed = 'LangFlow lost its worker (pid 7)'
    const early = Candidate.follower()
      .workload({ ...live, failed })
      .sees(heldBy('me', 10))
      .acknowledge()
    const late = Candidate.follower().workload(live).sees(heldBy('me', 10)).acknowledge().workload({ failed })
    for (const c of [early, late]) assert.equal(c.state.term?.stepDown?.reason, failed)
  })

  test('a refused attempt to take the grant back is followed by a look, not by another attempt', () => {
    const c = Candidate.follower().workload(live).sees(heldBy('me', 10))
    const committed = c.commit()
    c.fail('conflict')
    assert.equal(c.state.pending, null)
    assert.equal(c.effects('read').length, 1)
    c.sees(committed, true)
    assert.deepEqual(c.events(), ['leader_observed', 'acquired'])
  })

  test('without a launcher’s proof its own name counts as a stranger’s, and is waited for', () => {
    const c = Candidate.follower().sees(heldBy('me', 10)).pass(14_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.pass(1).write.lease.spec?.leaseTransitions, 4)
  })

  test('one that finds its identity in use by a live stranger stops and says so', () => {
    const c = Candidate.follower().sees(heldBy('me', 10)).sees(heldBy('me', 11)).sees(heldBy('me', 12))
    assert.deepEqual(c.effects('exit'), [{ type: 'exit', code: 1 }])
    assert.ok(c.events().includes('fatal'))
  })

  test('a leader whose name somebody else acquires with kills, and stops at the second sighting', () => {
    const c = Candidate.leader().sees(heldBy('me', 500, { leaseTransitions: 9 }))
    assert.equal(c.effects('kill').length, 1)
    c.workload({ alive: 'no', canRun: true })
    assert.deepEqual([c.events(), c.effects('exit')], [['lost'], []])
    c.sees(heldBy('me', 501, { leaseTransitions: 9 }))
    assert.deepEqual(c.effects('exit'), [{ type: 'exit', code: 1 }])
  })

  test('a leader whose name was acquired once by what has ended since campaigns again, in a higher epoch', () => {
    const c = Candidate.leader().sees(heldBy('me', 500, { leaseTransitions: 9 }))
    c.workload({ alive: 'no', canRun: true }).pass(14_999)
    assert.equal(c.effects('write').length, 0)
    assert.equal(c.pass(1).acknowledge().state.term?.epoch, 10)
  })
})

describe('an edit of its epoch under a leader', () => {
  for (const leaseTransitions of [0, 3, 5, 50, 2 ** 31 - 1]) {
    test(`to ${leaseTransitions} costs nothing: its own times are in it, so that nobody acquired it`, () => {
      const c = Candidate.leader()
      const lease = c.state.seen?.lease as Lease
      c.pass(500)
      c.sees({
        metadata: { ...lease.metadata, resourceVersion: '500' },
        spec: { ...lease.spec, leaseTransitions },
      })
      assert.deepEqual([c.events(), c.effects('kill')], [[], []])
      assert.deepEqual([c.write.kind, c.write.lease.metadata.resourceVersion], ['renew', '500'])
      assert.equal(c.acknowledge().state.seen?.lease?.spec?.leaseTransitions, 4)
    })
  }

  test('is none where the renew time or the acquire time is another one', () => {
    for (const times of [{ renewTime: 'x' }, { acquireTime: 'x' }]) {
      const c = Candidate.leader()
      const lease = c.state.seen?.lease as Lease
      c.sees({
        metadata: { ...lease.metadata, resourceVersion: '500' },
        spec: { ...lease.spec, ...times, leaseTransitions: 5 },
      })
      assert.ok(c.events().includes('lost'))
    }
  })

  test('is seen by the next term of another one, however the leader asserts its own again', () => {
    const c = Candidate.follower().sees(heldBy('other', 10))
    c.sees(heldBy('other', 11, { renewTime: 'r10', leaseTransitions: 50 })).sees(heldBy('other', 12))
    c.sees(released(13))
    assert.equal(c.write.lease.spec?.leaseTransitions, 51)
  })
})
