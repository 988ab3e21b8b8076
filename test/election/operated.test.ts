import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { inability } from '../../agent/election/eligibility.ts'
import type { Fact } from '../../agent/election/state.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import { HISTORY, historyOf } from '../../agent/lease/lease-history.ts'
import { Candidate, heldBy, noted, released } from './candidate.ts'

const PAUSED = 'langflow-leader/paused'
const UNTIL = 'langflow-leader/paused-until'
const SWITCHOVER = 'langflow-leader/switchover-to'
const EARLIER = '[[3,"other",1700000000,"released",0,0,1,2,null,1700000500,"terminated",9]]'
const FAILED: Fact = {
  type: 'workload_failed',
  code: 'workload_unhealthy',
  reason: 'it is unhealthy',
  remedy: 'handover',
}

/** The Lease after an operator's edit. */
function edited(lease: Lease, notes: Record<string, string | null>): Lease {
  const { metadata, ...more } = noted(lease, notes)
  return { ...more, metadata: { ...metadata, resourceVersion: `${metadata.resourceVersion}0` } }
}

/** An operator edits the Lease that the candidate saw last. */
function operator(c: Candidate, notes: Record<string, string | null>): Candidate {
  return c.sees(edited(c.state.seen?.lease as Lease, notes))
}

const stopped = (c: Candidate) => c.tell({ type: 'drained' }).workload({ alive: 'no', canRun: true })

function inMs(c: Candidate, ms: number): string {
  return new Date(c.now.wall + ms).toISOString()
}

describe('while the Lease is paused', () => {
  test('a follower takes neither a released nor an expired Lease until the pause is removed', () => {
    for (const lease of [released(50), heldBy('other', 50)]) {
      const c = Candidate.follower().sees(edited(lease, { [PAUSED]: 'true' }))
      c.wait(60_000)
      assert.deepEqual(c.effects('write'), [])
      assert.match(c.last.decision, /paused: no takeover starts/)
      operator(c, { [PAUSED]: null })
      assert.equal(c.write.kind, 'acquire')
    }
  })

  test('a follower takes the Lease at the moment when the pause ends, without another event', () => {
    const c = Candidate.follower()
    c.sees(edited(released(50), { [PAUSED]: 'true', [UNTIL]: inMs(c, 30_000) }))
    c.wait(29_999)
    assert.deepEqual(c.effects('write'), [])
    c.wait(1)
    assert.equal(c.write.kind, 'acquire')
    assert.equal(c.notes?.[PAUSED], undefined)
    assert.equal(c.notes?.[UNTIL], undefined)
  })

  test('a restarted agent takes its own grant back', () => {
    const c = Candidate.follower()
    c.workload({ alive: 'yes', canRun: false, epoch: 3, identity: 'me', killAt: c.mono + 10_000 })
    c.sees(edited(heldBy('me', 50), { [PAUSED]: 'true' }))
    assert.equal(c.write.kind, 'resume')
  })

  test('the leader renews and leaves a failed workload alone, until the Lease is resumed', () => {
    for (const fail of [
      (c: Candidate) => c.tell(FAILED),
      (c: Candidate) => c.workload({ failed: 'LangFlow lost its worker' }),
      (c: Candidate) => c.workload({ alive: 'no', canRun: true }),
    ]) {
      const c = operator(Candidate.leader(), { [PAUSED]: 'true' })
      fail(c)
      c.pass(2_000)
      assert.equal(c.write.kind, 'renew')
      assert.deepEqual([...c.effects('drain'), ...c.effects('start'), ...c.effects('restart')], [])
      c.acknowledge()
      operator(c, { [PAUSED]: null })
      assert.equal(c.effects('drain').length, 1)
    }
  })

  test('a workload that recovers by itself causes no handover after the pause', () => {
    const c = operator(Candidate.leader(), { [PAUSED]: 'true' }).tell(FAILED)
    c.workload({ well: true })
    operator(c, { [PAUSED]: null })
    assert.deepEqual(c.effects('drain'), [])
  })

  test('the leader completes a start that was in progress', () => {
    const c = Candidate.leader().tell({ ...FAILED, remedy: 'restart' })
    operator(c, { [PAUSED]: 'true' }).workload({ alive: 'no', canRun: true })
    assert.deepEqual(c.effects('start'), [{ type: 'start', epoch: 4 }])
    const givenUp = operator(Candidate.leader(), { [PAUSED]: 'true' })
    givenUp.tell({ ...FAILED, code: 'deadman', remedy: 'restart' })
    assert.equal(givenUp.effects('restart').length, 1)
  })

  test('the replica that held the Lease last may take it again after it has expired', () => {
    const c = Candidate.follower().sees(edited(heldBy('me', 50), { [PAUSED]: 'true' }))
    c.takesAfter(15_000)
  })

  test('a follower with an open watch could take over, although no renewal arrives', () => {
    const c = Candidate.follower().sees(edited(heldBy('other', 50), { [PAUSED]: 'true' }))
    c.tell({ type: 'rehearsed', error: null }).wait(60_000)
    assert.equal(inability(c.config, c.state, c.now), null)
  })

  test('a leader that re-creates its deleted Lease keeps the pause and the history', () => {
    const c = Candidate.follower()
      .sees(edited(released(50), { [HISTORY]: EARLIER }))
      .acknowledge()
    c.workload({ alive: 'yes', canRun: false, epoch: 4, identity: 'me' })
    operator(c, { [PAUSED]: 'true', team: 'y' }).sees(null)
    assert.equal(c.write.kind, 'recreate')
    assert.deepEqual(c.notes, { [PAUSED]: 'true', team: 'y' })
    assert.deepEqual(
      historyOf(c.write.lease).map(({ epoch }) => epoch),
      [4, 3],
    )
  })

  test('the leader steps down when its pod ends, but not for a newer revision', () => {
    const c = operator(Candidate.leader(), { [PAUSED]: 'true' })
    c.tell({ type: 'step_down', code: 'newer_revision', reason: 'it is ready' })
    assert.deepEqual(c.effects('drain'), [])
    c.tell({ type: 'terminate', reason: 'SIGTERM' })
    assert.equal(c.effects('drain').length, 1)
  })

  const stepDowns: Record<string, (c: Candidate) => Candidate> = {
    'its pod ends': (c) => c.tell({ type: 'terminate', reason: 'SIGTERM' }),
    'its LangFlow container ends': (c) => c.workload({ ending: true }),
    'a newer revision is ready': (c) =>
      c.tell({ type: 'step_down', code: 'newer_revision', reason: 'it is ready' }),
    'LangFlow fails': (c) => c.tell(FAILED),
  }
  const pause = { [PAUSED]: 'true', [UNTIL]: null, 'langflow-leader/pause-reason': 'x' }

  for (const [why, begins] of Object.entries(stepDowns)) {
    test(`a pause that begins during a step-down ends with the release, and a follower takes the Lease: ${why}`, () => {
      const c = operator(begins(Candidate.leader()), { ...pause, team: 'y' })
      stopped(c)
      assert.deepEqual([c.write.kind, c.notes?.[PAUSED], c.notes?.team], ['release', undefined, 'y'])
      assert.equal(Candidate.follower({ identity: 'next_1' }).sees(c.commit()).write.kind, 'acquire')
    })
  }

  test('a pause that makes the release fail is removed by the repeated release', () => {
    const c = stopped(Candidate.leader().tell({ type: 'terminate', reason: 'SIGTERM' }))
    c.fail('conflict').sees(edited(c.state.seen?.lease as Lease, pause), true)
    assert.deepEqual([c.write.kind, c.notes?.[PAUSED]], ['release', undefined])
  })

  test('a pause that began before the step-down outlives the release, and no follower takes the Lease', () => {
    for (const why of ['its pod ends', 'its LangFlow container ends']) {
      const c = operator(Candidate.leader(), pause)
      stopped((stepDowns[why] as (c: Candidate) => Candidate)(c))
      assert.deepEqual([c.write.kind, c.notes?.[PAUSED]], ['release', 'true'])
      assert.deepEqual(Candidate.follower({ identity: 'next_1' }).sees(c.commit()).effects('write'), [])
    }
  })

  test('a leader whose renewals fail still doubts and loses the Lease (rule 1)', () => {
    const c = operator(Candidate.leader(), { [PAUSED]: 'true' })
    c.tell(FAILED).pass(14_000)
    assert.deepEqual(c.events(), ['doubt', 'lost'])
    assert.equal(c.effects('kill').length, 1)
    assert.equal(c.state.term, null)
  })

  test('the leader removes the annotations of a pause that has ended', () => {
    const c = Candidate.leader()
    operator(c, { [PAUSED]: 'true', [UNTIL]: inMs(c, 3_000), 'langflow-leader/pause-reason': 'x', team: 'y' })
    c.pass(2_000)
    assert.equal(c.notes?.[PAUSED], 'true')
    c.acknowledge().pass(2_000)
    assert.deepEqual(c.notes, { team: 'y' })
  })
})

describe('a switchover', () => {
  const asked = (to: string | null): Fact => ({
    type: 'step_down',
    code: 'switchover',
    reason: 'an operator asked for it',
    to,
  })

  test('takes the steps of a planned takeover; the release names the requested successor and removes the request', () => {
    const c = operator(Candidate.leader(), { [SWITCHOVER]: 'b' }).tell(asked('b_1'))
    c.tell({ type: 'successor', identity: 'c_1', content: 'none' })
    stopped(c)
    assert.equal(c.write.kind, 'release')
    assert.equal(c.notes?.['langflow-leader/successor'], 'b_1')
    assert.equal(c.notes?.[SWITCHOVER], undefined)
  })

  test('goes to the best prepared replica if the operator named no replica', () => {
    const c = operator(Candidate.leader(), { [SWITCHOVER]: '*' }).tell({
      type: 'successor',
      identity: 'c_1',
      content: 'none',
    })
    stopped(c.tell(asked(null)))
    assert.equal(c.notes?.['langflow-leader/successor'], 'c_1')
  })

  test('makes the old leader wait two retry periods before it takes the Lease again', () => {
    const c = stopped(Candidate.leader().tell(asked(null))).acknowledge()
    c.takesAfter(4_000)
  })

  test('is removed from the Lease immediately if it is refused, with no other effect', () => {
    const c = operator(Candidate.leader(), { [SWITCHOVER]: 'b', team: 'y' }).pass(500)
    c.tell({ type: 'switchover_refused', to: 'b', reason: 'it is not ready' })
    assert.deepEqual([c.write.kind, c.notes], ['renew', { team: 'y' }])
    c.acknowledge()
    const refused = { what: 'switchover', to: 'b', reason: 'it is not ready', open: false }
    assert.deepEqual(c.state.term?.refusal, refused)
    assert.deepEqual(c.effects('drain'), [])
  })

  test('is reported as refused until another one is requested or the term ends', () => {
    const refused = () => {
      const c = operator(Candidate.leader(), { [SWITCHOVER]: 'b' })
      return c.tell({ type: 'switchover_refused', to: 'b', reason: 'it is not ready' }).acknowledge()
    }
    for (const to of ['b', 'c']) {
      const c = operator(refused(), { [SWITCHOVER]: to })
      assert.equal(c.state.term?.refusal, null)
    }
    const changed = operator(Candidate.leader(), { [SWITCHOVER]: 'b' })
    changed.tell({ type: 'switchover_refused', to: 'b', reason: 'it is not ready' })
    assert.equal(operator(changed, { [SWITCHOVER]: 'c' }).state.term?.refusal, null)
    const c = refused().pass(2_000).acknowledge()
    assert.equal(c.state.term?.refusal?.reason, 'it is not ready')
    stopped(c.tell(asked(null))).acknowledge()
    assert.equal(c.state.term, null)
  })

  test('is removed by the next leader if the previous leader is gone', () => {
    const c = Candidate.follower().sees(edited(released(50), { [SWITCHOVER]: 'b' }))
    assert.equal(c.write.kind, 'acquire')
    assert.equal(c.notes?.[SWITCHOVER], undefined)
  })

  test('gives precedence to a successor that is named by its pod alone', () => {
    const successor = { 'langflow-leader/successor': 'b' }
    const named = Candidate.follower({ identity: 'b_1' }).sees(edited(released(50), successor))
    assert.equal(named.write.kind, 'acquire')
    const other = Candidate.follower({ identity: 'c_1' }).sees(edited(released(50), successor))
    other.takesAfter(2_000)
  })
})

describe('the history of terms', () => {
  const terms = (c: Candidate) => historyOf(c.write.lease)

  /** The write is acknowledged, a second later the workload serves, and the next renewal records this. */
  const serves = (c: Candidate): Candidate => {
    const { identity } = c.config
    c.acknowledge().workload({ alive: 'yes', canRun: false, epoch: c.state.highestEpoch, identity })
    c.mono += 1_000
    return c
      .tell({ type: 'workload_healthy', took: { startMs: 1_000, healthyMs: 0 } })
      .pass(1_000)
      .acknowledge()
  }

  /** Another candidate, which starts `ms` later and first sees the Lease as `c` left it. */
  const later = (c: Candidate, ms: number, identity = 'next_1'): Candidate => {
    const next = Candidate.follower({ identity })
    next.mono = c.mono + ms
    return next.sees(c.state.seen?.lease ?? null)
  }

  const handedOver = (c: Candidate): Candidate =>
    c
      .tell({ type: 'step_down', code: 'newer_revision', reason: 'it is ready' })
      .tell({ type: 'drained' })
      .workload({ alive: 'no', canRun: true })
      .acknowledge()

  const gap = (c: Candidate): number | null | undefined => historyOf(c.state.seen?.lease ?? null)[0]?.gapMs

  test('contains a term from its acquisition, and its phases after it has served', () => {
    const c = Candidate.follower().sees(released(50))
    const [first] = terms(c)
    assert.deepEqual(
      [first?.epoch, first?.holder, first?.because, first?.ended, first?.gapMs],
      [4, 'me', 'released', null, null],
    )
    c.acknowledge().tell({ type: 'workload_healthy', took: { startMs: 1_200, healthyMs: 30 } })
    c.pass(2_000)
    assert.deepEqual(terms(c)[0]?.phases, { detectMs: 0, acquireMs: 0, startMs: 1_200, healthyMs: 30 })
  })

  test('stays the same in a renewal that has nothing to add', () => {
    const c = Candidate.follower().sees(released(50)).acknowledge()
    c.tell({ type: 'workload_healthy', took: { startMs: 1, healthyMs: 2 } }).pass(2_000)
    const noted = c.write.lease.metadata.annotations?.[HISTORY]
    c.acknowledge()
      .tell({ type: 'workload_healthy', took: { startMs: 9, healthyMs: 9 } })
      .pass(2_000)
    assert.equal(c.write.lease.metadata.annotations?.[HISTORY], noted)
  })

  test('contains why a term ended, how long its stop took, and the gap before the next term', () => {
    const c = serves(Candidate.follower().sees(released(50)))
    c.tell({ type: 'step_down', code: 'newer_revision', reason: 'it is ready' })
    c.mono += 300
    c.tell({ type: 'drained' })
    c.mono += 500
    c.workload({ alive: 'no', canRun: true })
    const [term] = terms(c)
    assert.deepEqual([term?.endedBecause, term?.stopMs], ['newer_revision', 800])
    const next = Candidate.follower({ identity: 'next_1' }).sees(c.commit())
    next.mono += 40
    next.acknowledge().tell({ type: 'workload_healthy', took: { startMs: 1_000, healthyMs: 200 } })
    next.pass(2_000)
    assert.deepEqual(
      terms(next).map(({ holder, gapMs, endedBecause }) => [holder, gapMs, endedBecause]),
      [
        ['next', 2_040, null],
        ['me', null, 'newer_revision'],
      ],
    )
  })

  test('contains no gap if the previous term is unknown', () => {
    const c = Candidate.follower().sees(released(50)).acknowledge()
    c.tell({ type: 'workload_healthy', took: { startMs: 1, healthyMs: 2 } }).pass(2_000)
    assert.equal(terms(c)[0]?.gapMs, null)
    const later = edited(released(60, 'other', { leaseTransitions: 9 }), {
      [HISTORY]: c.write.lease.metadata.annotations?.[HISTORY] ?? '',
    })
    const next = Candidate.follower({ identity: 'next_1' }).sees(later).acknowledge()
    next.tell({ type: 'workload_healthy', took: { startMs: 1, healthyMs: 2 } }).pass(2_000)
    assert.deepEqual([terms(next)[0]?.epoch, terms(next)[0]?.gapMs], [10, null])
  })

  test('counts the time during which no replica existed to take a released Lease', () => {
    const next = serves(later(handedOver(serves(Candidate.follower().sees(released(50)))), 20_000))
    assert.deepEqual(
      [historyOf(next.state.seen?.lease ?? null)[0]?.phases.detectMs, gap(next)],
      [20_000, 21_000],
    )
  })

  test('counts the gap from the last renewal if the next leader started after the holder had vanished', () => {
    const lost = serves(Candidate.follower().sees(released(50)))
    const next = later(lost, 9_000)
    next.takesAfter(15_000)
    assert.equal(gap(serves(next)), 9_000 + 15_000 + 1_000)
  })

  test('attributes an age of the release below a retry period, or below zero, to a clock difference', () => {
    for (const ms of [1_900, -60_000]) {
      const next = serves(later(handedOver(serves(Candidate.follower().sees(released(50)))), ms))
      assert.equal(gap(next), 1_000)
    }
  })

  test('counts the gap from the closing of the gate if the holder vanished while it drained', () => {
    const c = serves(Candidate.follower().sees(released(50)))
    c.tell({ type: 'step_down', code: 'newer_revision', reason: 'it is ready' }).pass(2_000).acknowledge()
    const lease = c.state.seen?.lease ?? null
    const [term] = historyOf(lease)
    assert.deepEqual([term?.ended, term?.endedBecause, term?.stopMs], [null, null, 2_000])
    const next = later(c, 0)
    next.takesAfter(15_000)
    const [, before] = terms(next)
    assert.deepEqual([before?.endedBecause, before?.stopMs], ['expired', 2_000])
    assert.equal(gap(serves(next)), 2_000 + 15_000 + 1_000)
  })

  test('includes a term that never served in the gap of the next term', () => {
    const first = handedOver(serves(Candidate.follower().sees(released(50))))
    const never = later(first, 0, 'never_1').acknowledge()
    never.workload({ alive: 'yes', canRun: false, epoch: 5, identity: 'never_1' })
    for (const _ of 'abc') never.pass(2_000).acknowledge()
    const next = serves(later(handedOver(never), 0))
    assert.deepEqual(
      historyOf(next.state.seen?.lease ?? null).map(({ gapMs }) => gapMs),
      [7_000, null, null],
    )
  })

  test('contains that a term served, although its agent restarted before that', () => {
    const first = handedOver(serves(Candidate.follower().sees(released(50))))
    const begun = later(first, 0, 'me').acknowledge()
    const c = Candidate.follower()
    c.mono = begun.mono + 3_000
    c.workload({ alive: 'yes', canRun: false, epoch: 5, identity: 'me', killAt: c.mono + 10_000 })
    c.sees(begun.state.seen?.lease ?? null).acknowledge()
    c.mono += 1_000
    c.tell({ type: 'workload_healthy', took: null }).pass(2_000)
    const [term] = terms(c)
    assert.deepEqual([term?.because, term?.phases.healthyMs, term?.gapMs], ['released', 4_000, 4_000])
  })

  test('continues the same term if a restarted agent took its grant back', () => {
    const lost = Candidate.follower().sees(released(50)).acknowledge()
    const lease = lost.state.seen?.lease as Lease
    const c = Candidate.follower()
    c.workload({ alive: 'yes', canRun: false, epoch: 4, identity: 'me', killAt: c.mono + 10_000 })
    c.sees(lease).acknowledge()
    c.tell({ type: 'terminate', reason: 'SIGTERM' }).tell({ type: 'drained' })
    c.workload({ alive: 'no', canRun: true })
    assert.deepEqual(
      terms(c).map(({ epoch, because, endedBecause }) => [epoch, because, endedBecause]),
      [[4, 'released', 'terminated']],
    )
  })
})
