import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Lease, LeaseSpec } from '../../agent/lease/lease.ts'
import { Candidate, failure, heldBy, leaseOf, released } from './candidate.ts'

const HELD = heldBy('other', 10)
const LONG = heldBy('other', 10, { leaseDurationSeconds: 30 })
const ANNOTATED = {
  metadata: { ...HELD.metadata, resourceVersion: '11', annotations: { note: 'x' } },
  spec: HELD.spec ?? {},
}
const empty = (version: number, spec: LeaseSpec = {}, uid = 'u1') => leaseOf(spec, version, uid)

describe('a candidate takes', () => {
  /** The Leases that the candidate sees, with pauses in ms, and the ms after which it then takes the Lease. */
  const rows: [string, readonly (Lease | null | number)[], number][] = [
    ['a released Lease on the event that shows the release', [HELD, 500, released(11)], 0],
    ['a Lease that was never held, immediately', [empty(1)], 0],
    ['a held Lease after it has not changed for the record’s duration', [LONG], 30_000],
    [
      'a renewed Lease only after it has not changed for another lease duration',
      [HELD, 14_000, heldBy('other', 11)],
      15_000,
    ],
    ['a held Lease no later if only an annotation changed', [HELD, 14_000, ANNOTATED], 1_000],
    [
      'a held Lease no sooner after an event that is older than the Lease it has seen',
      [HELD, released(9)],
      15_000,
    ],
    ['an absent Lease at the moment when it becomes free, not at the next poll', [HELD, null], 15_000],
    ['a deleted Lease no sooner if it reappears empty', [HELD, null, 5_000, empty(12, {}, 'u2')], 10_000],
    ['a held Lease that was re-created empty, after a lease duration', [HELD, empty(12, {}, 'u2')], 15_000],
    ['a held Lease that was emptied, after a lease duration', [HELD, empty(11)], 15_000],
    ['an emptied Lease after the duration of its last record, if that is longer', [LONG, empty(11)], 30_000],
    [
      'an emptied Lease no sooner after further edits',
      [
        LONG,
        empty(11),
        5_000,
        empty(12, { leaseDurationSeconds: 40 }),
        1_000,
        empty(13, { leaseDurationSeconds: 1 }),
      ],
      24_000,
    ],
  ]
  for (const [what, steps, ms] of rows)
    test(what, () => {
      const c = Candidate.follower()
      for (const step of steps) typeof step === 'number' ? c.wait(step) : c.sees(step)
      c.takesAfter(ms)
    })

  test('a held Lease after a lease duration, regardless of its renew time and the wall clock', () => {
    const c = Candidate.follower().sees(heldBy('other', 10, { renewTime: '1970-01-01T00:00:00.000000Z' }))
    c.wallAhead += 3_600_000
    c.takesAfter(15_000)
  })

  test('an absent Lease a whole lease duration after the last gap in the reads of it', () => {
    Candidate.follower().sees(HELD).sees(null).pass(14_000).sees(null, true).takesAfter(15_000)
  })

  test('an empty Lease after a lease duration if another replica may have held it unseen', () => {
    Candidate.follower().sees(null).pass(60_000).sees(empty(13), true).takesAfter(15_000)
    for (const before of [empty(11), released(11)]) {
      const c = Candidate.follower().workload({ canRun: false }).sees(before).pass(60_000)
      c.sees(empty(13)).workload({ canRun: true }).takesAfter(15_000)
    }
  })

  test('a Lease that was re-created twice after a lease duration, even if an older read reports it absent', () => {
    const c = Candidate.follower().sees(HELD).sees(null)
    c.sees(leaseOf(heldBy('other', 12).spec ?? {}, 12, 'u2')).sees(null, true)
    c.pass(1_900)
      .sees(null)
      .sees(empty(14, {}, 'u3'))
      .takesAfter(15_000)
  })
})

describe('a candidate', () => {
  test('does not lead by its own late creation after it has seen another holder', () => {
    for (const heldMs of [4_000, 16_000]) {
      const c = Candidate.follower().creates()
      const { write } = c
      c.sees(heldBy('other', 60, { leaseTransitions: 1 })).fail('timeout', true, write)
      if (c.pass(heldMs).state.pending !== null) c.fail('conflict')
      c.sees(heldBy('other', 61, { leaseTransitions: 1 })).sees(null)
      const metadata = { ...write.lease.metadata, uid: 'u9', resourceVersion: '70' }
      c.sees({ ...write.lease, metadata }, true)
      assert.equal(c.state.term, null)
      c.takesAfter(15_000)
    }
  })

  test('does not lead by its own late creation if the answer follows the event that showed it', () => {
    const c = Candidate.follower().creates()
    const { write } = c
    const created = { ...c.commit(write), metadata: { ...c.commit(write).metadata, resourceVersion: '70' } }
    c.sees(heldBy('other', 60, { leaseTransitions: 1 }))
      .sees(null)
      .sees(created)
    c.tell({ type: 'written', id: write.id, lease: created })
    assert.deepEqual([c.state.term, c.state.pending], [null, null])
  })

  test('creates an absent Lease although each answer takes almost the full request timeout', () => {
    const c = Candidate.follower().sees(null)
    for (let n = 0; n < 5 && c.state.pending === null; n++) {
      while (!c.state.inFlight) c.pass(10)
      c.pass(4_500).sees(null, true)
    }
    assert.equal(c.write.kind, 'acquire')
  })

  test('creates a Lease only after a read that shows it absent', () => {
    const c = Candidate.follower().sees(null)
    for (let looks = 0; looks < 7; looks++) c.pass(2_000).sees(null, true)
    assert.equal(c.pass(2_000).effects('write').length, 0)
    c.sees(HELD).sees(null).sees(null, true)
    assert.equal(c.effects('write').length, 0)
  })

  test('ignores an answer that waited in its connection while the machine was suspended', () => {
    const c = Candidate.follower().sees(null).wait(14_000)
    while (!c.state.inFlight || c.mono < 1_015_000) c.pass(100)
    c.bootAhead += 30_000
    c.sees(null, true)
    assert.equal(c.effects('write').length, 0)
  })

  test('reads an emptied Lease each retry period, since a silent watch proves nothing without renewals', () => {
    const c = Candidate.follower().sees(HELD).sees(leaseOf({}, 11), true).pass(2_000)
    assert.equal(c.effects('read').length, 1)
    c.sees(leaseOf({}, 11), true).pass(2_000)
    assert.equal(c.effects('read').length, 2)
  })

  test('does not campaign without an idle launcher', () => {
    const c = Candidate.follower().workload({ canRun: false }).sees(released(10)).pass(60_000)
    assert.equal(c.effects('write').length, 0)
    assert.match(c.last.decision, /no idle launcher/)
    assert.equal(c.workload({ canRun: true }).write.kind, 'acquire')
  })

  test('sends nothing while the watch is open, and polls each retry period while it is not', () => {
    const c = Candidate.follower().sees(HELD).pass(14_000)
    assert.equal(c.effects('read').length, 0)
    c.tell({ type: 'watch', up: false, problem: 'cut' })
    for (let poll = 1; poll <= 5; poll++) {
      assert.equal(c.effects('read').length, poll)
      c.sees(heldBy('other', 10 + poll), true).pass(2_000)
    }
  })

  test('waits a retry period after each conflict that the Lease does not explain', () => {
    const c = Candidate.follower().sees(released(10))
    for (let round = 0; round < 3; round++) {
      c.fail('conflict').sees(released(10), true)
      assert.equal(c.state.pending, null)
      c.pass(2_000)
    }
    assert.equal(c.effects('write').length, 4)
  })

  test('recognises its own acquisition in the watch if the answer was lost, and counts from its sending', () => {
    const c = Candidate.follower().sees(released(10))
    const committed = c.commit()
    c.pass(3_000).fail('timeout', true).sees(committed)
    assert.deepEqual([c.state.term?.epoch, c.state.term?.renewedAt.mono], [4, c.mono - 3_000])
  })

  test('recognises a write that succeeded although it was answered with 409, and then waits a retry period', () => {
    const acquiring = Candidate.follower().sees(released(10))
    const committed = acquiring.commit()
    assert.equal(acquiring.fail('conflict').sees(committed, true).state.term?.epoch, 4)
    const c = Candidate.leader()
    for (let n = 0; n < 3; n++) {
      c.pass(n === 0 ? 2_000 : 100)
      const renewed = c.commit()
      c.fail('conflict').sees(renewed, true).pass(1_900)
      assert.equal(c.state.pending, null)
    }
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
    const { doubtAt, killAt } = grant.grant
    assert.deepEqual([doubtAt.mono, killAt.mono], [sentAt + 10_000, sentAt + 14_000])
  })

  test('doubts at the renew deadline, and loses the Lease at lease duration less kill margin, without a release', () => {
    const c = Candidate.leader().pass(2_000).fail('timeout', true).pass(7_999)
    assert.deepEqual(c.events(), [])
    assert.deepEqual(c.pass(1).events(), ['doubt'])
    assert.equal(c.pass(3_999).effects('kill').length, 0)
    assert.deepEqual(c.pass(1).events(), ['doubt', 'lost'])
    assert.equal(c.effects('kill').length, 1)
    assert.ok(c.effects('write').every((e) => e.type === 'write' && e.write.kind === 'renew'))
  })

  test('counts its deadlines on the clock that is ahead, for example after a suspension of the machine', () => {
    const c = Candidate.leader()
    c.bootAhead += 9_000
    c.pass(2_000).fail('timeout', true)
    assert.deepEqual(c.events(), ['doubt'])
    assert.deepEqual(c.pass(3_019).events(), ['doubt'])
    assert.deepEqual(c.pass(1).events(), ['doubt', 'lost'])
  })

  test('continues in the same epoch if a renewal succeeds in doubt', () => {
    const c = Candidate.leader().pass(2_000).fail('network').pass(8_000)
    assert.equal(c.state.term?.doubt, true)
    c.pass(2_000).acknowledge()
    assert.deepEqual([c.state.term?.doubt, c.state.term?.epoch], [false, 4])
    assert.equal(c.effects('kill').length, 0)
  })

  test('repeats a renewal in doubt immediately after a timeout, and a quarter of a retry period after a refusal', () => {
    const c = Candidate.leader().pass(2_000).fail('network').pass(8_000)
    const first = c.write.id
    assert.equal(c.fail('timeout', true).write.id, first + 1)
    c.fail('network').pass(499)
    assert.equal(c.state.pending, null)
    assert.equal(c.pass(1).write.id, first + 2)
  })

  test('keeps its term through failed renewals of every kind if one succeeds before the deadline', () => {
    for (const code of ['unauthorized', 'forbidden', 'throttled', 'server', 'network', 'timeout'] as const) {
      const c = Candidate.leader().pass(2_000).fail(code).pass(2_000).fail(code).pass(2_000).acknowledge()
      assert.deepEqual([c.state.term?.epoch, c.events()], [4, []], code)
    }
  })

  test('kills the workload immediately when the Lease shows another holder, and does not write', () => {
    const c = Candidate.leader().sees(heldBy('other', 500))
    assert.equal(c.effects('kill').length, 1)
    assert.deepEqual(c.events(), ['lost', 'leader_observed'])
    assert.equal(c.pass(14_000).effects('write').length, 0)
  })

  test('does not overwrite another holder that it discovers through a conflict', () => {
    const c = Candidate.leader().pass(2_000).fail('conflict')
    assert.equal(c.effects('read').length, 1)
    c.sees(heldBy('other', 500), true)
    assert.deepEqual([c.state.term, c.effects('write').length], [null, 1])
  })

  test('loses the Lease if another replica has held and released it unseen', () => {
    const c = Candidate.leader().pass(500)
    c.sees(heldBy('', 500, { leaseTransitions: 5, leaseDurationSeconds: 1 }))
    assert.deepEqual([c.events(), c.effects('kill').length], [['lost'], 1])
  })

  test('renews on the new resourceVersion after an edit of the annotations', () => {
    const c = Candidate.leader()
    const mine = c.state.seen?.lease as Lease
    c.sees({ ...mine, metadata: { ...mine.metadata, resourceVersion: '900', annotations: { a: 'b' } } })
    const { resourceVersion } = c.pass(2_000).write.lease.metadata
    assert.deepEqual([resourceVersion, c.notes], ['900', { a: 'b' }])
  })

  for (const [what, lease] of [
    ['was deleted', null],
    ['was emptied', leaseOf({}, 900)],
    ['was re-created', leaseOf({}, 900, 'u2')],
    ['lost its holder', heldBy('', 900, { leaseTransitions: 4 })],
  ] as const)
    test(`writes its Lease again immediately, in the same epoch, if the Lease ${what}`, () => {
      const c = Candidate.leader().pass(500).sees(lease)
      assert.equal(c.write.kind, lease === null ? 'recreate' : 'renew')
      assert.equal(c.write.lease.metadata.resourceVersion, lease?.metadata.resourceVersion)
      assert.equal(c.write.lease.spec?.leaseTransitions, 4)
      assert.deepEqual([c.acknowledge().state.term?.epoch, c.events(), c.effects('kill')], [4, [], []])
    })

  test('writes its Lease again immediately if its own creation of an earlier term arrives late', () => {
    const c = Candidate.follower().creates()
    const early = c.write
    c.fail('timeout', true, early).sees(released(10), true).pass(2_000).acknowledge()
    assert.equal(c.state.term?.epoch, 4)
    c.sees(null).fail('timeout', true).forget()
    c.sees({ ...early.lease, metadata: { ...early.lease.metadata, resourceVersion: '900', uid: 'u9' } }, true)
    const { metadata, spec } = c.write.lease
    assert.deepEqual([metadata.resourceVersion, spec?.leaseTransitions, c.events()], ['900', 4, []])
  })

  test('does not re-create a Lease that has expired by the wall clock', () => {
    for (const lease of [null, leaseOf({}, 900)]) {
      const c = Candidate.leader().pass(500)
      c.wallAhead += 20_000
      c.sees(lease)
      assert.deepEqual([c.events(), c.effects('kill').length, c.effects('write')], [['lost'], 1, []])
    }
  })

  test('does not mistake an edit that keeps its renew time for its own write', () => {
    const c = Candidate.leader().pass(2_000)
    const { write } = c
    c.fail('timeout', true, write)
    const committed = c.commit(write)
    const { renewedAt } = c.state.term ?? {}
    c.sees({ ...committed, spec: { ...committed.spec, leaseTransitions: 5 } })
    assert.deepEqual(c.state.term?.renewedAt, renewedAt)
  })

  test('renews immediately after the wall clock was set forward, and keeps the Lease', () => {
    const c = Candidate.leader().pass(500)
    c.wallAhead += 3_600_000
    assert.equal(c.tell({ type: 'tick' }).write.kind, 'renew')
    assert.equal(c.acknowledge().pass(1_000).effects('write').length, 1)
    c.wallAhead -= 7_200_000
    assert.deepEqual(c.pass(500).events(), [])
  })

  test('asks the API server once after a jump of the wall clock, even if that request fails', () => {
    const c = Candidate.leader().pass(2_000)
    c.wallAhead += 5_000
    c.fail('conflict')
    assert.equal(c.effects('read').length, 1)
    c.tell({ type: 'read_failed', error: failure('network') }).pass(1_900)
    assert.equal(c.effects('read').length, 1)
  })

  test('steps down if its launcher disconnects before the workload was started', () => {
    const c = Candidate.follower().sees(released(50))
    const { write } = c
    c.fail('timeout', true).pass(5_000)
    if (c.state.pending) c.fail('timeout', true)
    c.pass(6_000).sees(c.commit(write))
    assert.deepEqual([c.state.term?.doubt, c.effects('start').length], [true, 0])
    c.workload({ canRun: false })
    assert.equal(c.state.term?.stepDown?.reason, 'no launcher is ready to start LangFlow')
  })
})

describe('an edit of the epoch while a replica leads', () => {
  const edited = (c: Candidate, spec: Lease['spec']) => {
    const lease = c.state.seen?.lease as Lease
    const metadata = { ...lease.metadata, resourceVersion: '500' }
    return c.sees({ metadata, spec: { ...lease.spec, ...spec } })
  }

  for (const leaseTransitions of [0, 3, 5, 50, 2 ** 31 - 1])
    test(`to ${leaseTransitions} does not end the term, since the leader’s own times show that no replica acquired the Lease`, () => {
      const c = edited(Candidate.leader().pass(500), { leaseTransitions })
      assert.deepEqual([c.events(), c.effects('kill')], [[], []])
      assert.deepEqual([c.write.kind, c.write.lease.metadata.resourceVersion], ['renew', '500'])
      assert.equal(c.acknowledge().state.seen?.lease?.spec?.leaseTransitions, 4)
    })

  test('ends the term if the renew time or the acquire time has changed as well', () => {
    for (const times of [{ renewTime: 'x' }, { acquireTime: 'x' }])
      assert.ok(
        edited(Candidate.leader(), { ...times, leaseTransitions: 5 })
          .events()
          .includes('lost'),
      )
  })

  test('raises the epoch of the next leader, although the current leader restores its own', () => {
    const c = Candidate.follower().sees(HELD)
    c.sees(heldBy('other', 11, { renewTime: 'r10', leaseTransitions: 50 })).sees(heldBy('other', 12))
    assert.equal(c.sees(released(13)).write.lease.spec?.leaseTransitions, 51)
  })
})

describe('stepping down', () => {
  const terminate = { type: 'terminate', reason: 'SIGTERM' } as const
  const ended = {
    type: 'workload_failed',
    code: 'workload_exited',
    reason: 'it ended',
    remedy: 'handover',
  } as const
  const onlyRenews = (c: Candidate) =>
    assert.ok(c.effects('write').every((e) => e.type === 'write' && e.write.kind === 'renew'))

  test('drains and stops while renewing, releases only when nothing lives, then ends with code 0', () => {
    const c = Candidate.leader().tell(terminate)
    assert.deepEqual(c.events(), ['draining'])
    assert.equal(c.pass(2_000).write.kind, 'renew')
    c.acknowledge().tell({ type: 'drained' })
    assert.equal(c.effects('stop').length, 1)
    onlyRenews(c.pass(2_000).acknowledge().pass(2_000).acknowledge())
    c.workload({ alive: 'no' })
    assert.deepEqual([c.write.kind, c.write.lease.spec?.holderIdentity], ['release', ''])
    c.acknowledge()
    assert.deepEqual(c.events(), ['draining', 'released', 'stepped_down'])
    assert.deepEqual(c.effects('exit'), [{ type: 'exit', code: 0 }])
  })

  test('keeps the Lease and raises the alarm if the stop fails', () => {
    const c = Candidate.leader().tell(terminate).tell({ type: 'drained' })
    c.workload({ alive: 'maybe', stopFailed: 'the workload could not be stopped' })
    for (let round = 0; round < 30; round++) c.pass(2_000).acknowledge()
    onlyRenews(c)
    assert.match(c.last.decision, /ALARM/)
  })

  test('begins when the launcher is ending, also if it reported that while a grant was being taken back', () => {
    assert.deepEqual(Candidate.leader().workload({ ending: true }).events(), ['draining'])
    const back = Candidate.follower()
      .workload({ ...LIVE, ending: true })
      .sees(heldBy('me', 10))
    assert.deepEqual(back.acknowledge().events(), ['leader_observed', 'acquired', 'draining'])
  })

  test('stops the workload at the drain timeout', () => {
    const c = Candidate.leader({ drainTimeoutMs: 3_000 }).tell(terminate).pass(2_999)
    assert.equal(c.effects('stop').length, 0)
    assert.equal(c.acknowledge().pass(1).effects('stop').length, 1)
  })

  test('does not release the Lease of another holder that appeared during the stop', () => {
    const c = Candidate.leader().tell(terminate).tell({ type: 'drained' }).sees(heldBy('other', 500))
    assert.equal(c.effects('kill').length, 1)
    c.workload({ alive: 'no' }).pass(60_000)
    assert.deepEqual([c.effects('write'), c.effects('exit')], [[], [{ type: 'exit', code: 0 }]])
  })

  test('reads whether the release succeeded if its answer was lost', () => {
    const c = Candidate.leader().tell(terminate).workload({ alive: 'no' })
    const done = c.commit()
    c.fail('network', true).pass(2_000).fail('conflict').sees(done, true)
    assert.deepEqual(c.events(), ['draining', 'released', 'stepped_down'])
    assert.equal(c.effects('exit').length, 1)
  })

  test('releases the Lease without a start of the workload if it begins during an acquisition', () => {
    const c = Candidate.follower().sees(released(10)).tell(terminate)
    assert.equal(c.effects('exit').length, 0)
    c.acknowledge()
    assert.deepEqual([c.effects('start').length, c.write.kind], [0, 'release'])
    assert.equal(c.acknowledge().effects('exit').length, 1)
  })

  test('follows each of twenty failures in a row, and the cool-down grows to one minute', () => {
    const c = Candidate.leader()
    const pauses: number[] = []
    for (let n = 0; n < 20; n++) {
      c.tell(ended).workload({ alive: 'no', canRun: true })
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

  test('keeps the full cool-down after a failure if another replica has taken and released the Lease', () => {
    const c = Candidate.leader().tell(ended).workload({ alive: 'no', canRun: true })
    c.acknowledge().sees(heldBy('other', 500)).sees(released(501)).takesAfter(15_000)
  })

  test('gives the workload the stop timeout, or the grace of the step-down', () => {
    for (const [grace, graceMs] of [
      [{}, 30_000],
      [{ graceMs: 5_000 }, 5_000],
    ] as const) {
      const c = Candidate.leader()
        .tell({ type: 'step_down', code: 'newer_revision', reason: 'x', ...grace })
        .tell({ type: 'drained' })
      assert.deepEqual(c.effects('stop'), [{ type: 'stop', graceMs }])
    }
  })
})

/** The facts from a launcher that kept the grant of an earlier agent. */
const LIVE = { alive: 'yes', canRun: false, epoch: 3, identity: 'me', killAt: 1_009_000 } as const

describe('a restarted agent', () => {
  const back = () => Candidate.follower().workload(LIVE).sees(heldBy('me', 10))

  test('takes its grant back through the launcher, in the same epoch, without a start', () => {
    const c = back()
    assert.equal(c.write.kind, 'resume')
    assert.equal(c.acknowledge().state.term?.epoch, 3)
    assert.deepEqual([c.effects('start'), c.effects('kill')], [[], []])
  })

  test('kills a live workload of another epoch, with an expired grant, or under another holder', () => {
    for (const [live, holder] of [
      [{ killAt: 999_000 }, 'me'],
      [{ epoch: 2 }, 'me'],
      [{}, 'other'],
    ] as const) {
      const c = Candidate.follower()
        .workload({ ...LIVE, ...live })
        .sees(heldBy(holder, 10))
      assert.deepEqual([c.effects('kill').length, c.effects('write').length], [1, 0])
    }
  })

  test('kills the workload under another holder also while a write is under way', () => {
    assert.equal(back().sees(heldBy('other', 11)).effects('kill').length, 1)
  })

  test('does not take back the grant of a workload that it has ordered to kill', () => {
    const c = Candidate.leader().pass(500)
    c.bootAhead += 60_000
    assert.ok(c.tell({ type: 'tick' }).events().includes('lost'))
    c.forget().workload({ alive: 'yes', epoch: 4, identity: 'me', killAt: c.mono + 9_000 })
    c.sees(heldBy('me', 600, { leaseTransitions: 4 })).pass(1_000)
    assert.deepEqual(c.effects('write'), [])
  })

  test('hands over a workload that ended, or lost its worker, before or after its grant was taken back', () => {
    const ended = { alive: 'no', canRun: true, killAt: null } as const
    const failed = 'LangFlow lost its worker (pid 7)'
    for (const [change, reasons] of [
      [ended, ['LangFlow ended while no agent was connected', 'LangFlow does not run any longer']],
      [{ failed }, [failed, failed]],
    ] as const)
      for (const [index, c] of [
        back().workload(change).acknowledge(),
        back().acknowledge().workload(change),
      ].entries())
        assert.equal(c.state.term?.stepDown?.reason, reasons[index])
  })

  test('reads the Lease after a conflict while it takes its grant back, before another attempt', () => {
    const c = back()
    const committed = c.commit()
    c.fail('conflict')
    assert.deepEqual([c.state.pending, c.effects('read').length], [null, 1])
    assert.deepEqual(c.sees(committed, true).events(), ['leader_observed', 'acquired'])
  })

  test('treats a holder with its own identity as another replica without the launcher’s proof, and waits', () => {
    Candidate.follower().sees(heldBy('me', 10)).takesAfter(15_000)
  })
})

describe('identity', () => {
  test('an epoch that the launcher has seen is never used again, even if the Lease is re-created', () => {
    const c = Candidate.follower().workload({ epoch: 501 }).sees(leaseOf({}, 1))
    assert.equal(c.write.lease.spec?.leaseTransitions, 502)
  })

  test('a replica whose identity is in use by a live process ends and reports this', () => {
    const c = Candidate.follower().sees(heldBy('me', 10)).sees(heldBy('me', 11)).sees(heldBy('me', 12))
    assert.deepEqual(c.effects('exit'), [{ type: 'exit', code: 1 }])
    assert.ok(c.events().includes('fatal'))
  })

  test('a leader kills its workload if another process acquires with its identity, and ends at the second sighting', () => {
    const c = Candidate.leader().sees(heldBy('me', 500, { leaseTransitions: 9 }))
    assert.equal(c.effects('kill').length, 1)
    c.workload({ alive: 'no', canRun: true })
    assert.deepEqual([c.events(), c.effects('exit')], [['lost'], []])
    c.sees(heldBy('me', 501, { leaseTransitions: 9 }))
    assert.deepEqual(c.effects('exit'), [{ type: 'exit', code: 1 }])
  })

  test('a leader kills its workload if another process acquires the re-created Lease with its identity in the same epoch', () => {
    const c = Candidate.leader()
    const { epoch = 0 } = c.state.term ?? {}
    const times = { acquireTime: 'theirs', renewTime: 'theirs', leaseTransitions: epoch }
    c.sees(leaseOf({ ...heldBy('me', 500).spec, ...times }, 500, 'another'))
    assert.deepEqual([c.effects('kill').length, c.events()], [1, ['lost']])
  })

  test('a leader continues after an edit of its renew time alone', () => {
    const c = Candidate.leader()
    const { epoch = 0, acquireTime = '' } = c.state.term ?? {}
    c.sees(heldBy('me', 500, { acquireTime, renewTime: 'theirs', leaseTransitions: epoch }))
    assert.deepEqual([c.effects('kill'), c.events()], [[], []])
  })

  test('a leader campaigns again in a higher epoch if the process with its identity has ended', () => {
    const c = Candidate.leader().sees(heldBy('me', 500, { leaseTransitions: 9 }))
    c.workload({ alive: 'no', canRun: true }).takesAfter(15_000)
    assert.equal(c.acknowledge().state.term?.epoch, 10)
  })
})
