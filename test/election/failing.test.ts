import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Fact } from '../../agent/election/state.ts'
import { Candidate, heldBy } from './candidate.ts'

const REASON = 'LangFlow ended by itself (SIGKILL)'
const restart: Fact = { type: 'workload_failed', reason: REASON, remedy: 'restart' }
const handover: Fact = { type: 'workload_failed', reason: 'the launcher is gone', remedy: 'handover' }
const ENDED = { alive: 'no', canRun: true } as const

describe('a workload that is restarted in place', () => {
  test('is stopped, not killed, and started in the same epoch once nothing of it lives', () => {
    const c = Candidate.leader().pass(500).tell(restart)
    assert.deepEqual(c.all, [{ type: 'restart', reason: REASON, graceMs: 30_000 }])
    assert.equal(c.last.decision, `restarting the workload in place: ${REASON}`)
    c.workload({ ...ENDED })
    assert.deepEqual(c.effects('start'), [{ type: 'start', epoch: 4 }])
    assert.deepEqual([c.events(), c.effects('kill'), c.state.term?.restarting], [[], [], null])
    assert.match(c.last.decision, /holding the Lease in epoch 4/)
  })

  test('keeps its Lease renewed for as long as its stop takes, and cools down for nothing', () => {
    const c = Candidate.leader().tell(restart)
    for (let round = 0; round < 15; round++) c.pass(2_000).acknowledge()
    assert.ok(c.effects('write').every((e) => e.type === 'write' && e.write.kind === 'renew'))
    assert.equal(c.effects('start').length, 0)
    c.workload({ ...ENDED })
    assert.deepEqual([c.effects('start').length, c.state.coolDown], [1, null])
  })

  test('is not started while anything of it may live, or while no launcher would start it', () => {
    for (const view of [
      { alive: 'yes', canRun: true },
      { alive: 'maybe', canRun: false },
    ] as const) {
      const c = Candidate.leader().tell(restart).workload(view)
      for (let round = 0; round < 10; round++) c.pass(2_000).acknowledge()
      assert.equal(c.effects('start').length, 0)
    }
  })

  test('is stopped once, in however many ways its failure is told', () => {
    const c = Candidate.leader().tell(restart).workload({ failed: 'LangFlow lost its worker (pid 7)' })
    c.tell({ ...restart, reason: 'LangFlow is unhealthy' }).workload({ alive: 'yes' })
    assert.deepEqual([c.effects('restart').length, c.events()], [1, []])
    c.workload({ ...ENDED, failed: null }).workload({ alive: 'yes', canRun: false })
    assert.deepEqual([c.effects('start').length, c.state.term?.stepDown], [1, null])
  })

  test('is handed over where the new start fails', () => {
    const c = Candidate.leader()
      .tell(restart)
      .workload({ ...ENDED })
      .workload({ alive: 'yes', canRun: false })
    c.tell({ ...handover, reason: 'port 7860 is already taken' })
    assert.equal(c.state.term?.stepDown?.reason, 'port 7860 is already taken')
    c.workload({ ...ENDED }).acknowledge()
    assert.deepEqual(c.events(), ['draining', 'released', 'stepped_down'])
    assert.notEqual(c.state.coolDown, null)
  })

  test('is handed over where its new start ended unheard', () => {
    const c = Candidate.leader()
      .tell(restart)
      .workload({ ...ENDED })
    c.workload({ alive: 'yes', canRun: false }).workload({ ...ENDED })
    assert.equal(c.state.term?.stepDown?.reason, 'the workload runs no more')
  })

  test('is handed over instead where that is asked for meanwhile', () => {
    const asks: [Fact | { ending: true }, string][] = [
      [{ type: 'terminate', reason: 'SIGTERM' }, 'SIGTERM'],
      [handover, 'the launcher is gone'],
      [{ ending: true }, 'the LangFlow container is ending'],
    ]
    for (const [ask, reason] of asks) {
      const c = Candidate.leader().tell(restart)
      if ('type' in ask) c.tell(ask)
      else c.workload(ask)
      assert.deepEqual([c.state.term?.stepDown?.reason, c.state.term?.restarting], [reason, null])
      c.workload({ ...ENDED })
      assert.deepEqual([c.effects('start').length, c.write.kind], [0, 'release'])
    }
  })

  test('is handed over only once its spare is gone as well', () => {
    const c = Candidate.leader()
      .tell(restart)
      .tell({ type: 'terminate', reason: 'SIGTERM' })
      .workload({ ...ENDED, spare: true })
    assert.equal(c.state.term?.stepDown?.stage, 'draining')
    c.tell({ type: 'drained' })
    assert.deepEqual([c.effects('stop').length, c.state.term?.stepDown?.stage], [1, 'stopping'])
    c.workload({ ...ENDED, spare: false })
    assert.equal(c.write.kind, 'release')
  })

  test('is not restarted once its term is ending', () => {
    const c = Candidate.leader().tell({ type: 'terminate', reason: 'SIGTERM' }).tell(restart)
    assert.deepEqual([c.effects('restart').length, c.state.term?.restarting], [0, null])
  })

  test('is handed over where its launcher goes away while nothing lives', () => {
    const c = Candidate.leader().tell(restart).workload({ alive: 'no', canRun: false })
    assert.equal(c.state.term?.stepDown?.reason, 'the launcher went away')
  })

  test('raises the alarm where its stop fails, and keeps its Lease', () => {
    const c = Candidate.leader().tell(restart)
    c.workload({ alive: 'yes', stopFailed: 'the workload could not be stopped' }).pass(2_000)
    assert.match(
      c.last.decision,
      /restarting .*ALARM: the workload could not be stopped, so the Lease is kept/,
    )
    assert.equal(c.write.kind, 'renew')
  })

  test('waits in doubt, and is started when a renewal succeeds', () => {
    const c = Candidate.leader().tell(restart).pass(2_000).fail('network').pass(8_000)
    c.workload({ ...ENDED })
    assert.deepEqual([c.state.term?.doubt, c.effects('start').length], [true, 0])
    c.pass(2_000).acknowledge()
    assert.deepEqual(c.effects('start'), [{ type: 'start', epoch: 4 }])
  })

  test('is killed where its Lease is lost, and not started', () => {
    const c = Candidate.leader()
      .tell(restart)
      .sees(heldBy('other', 500))
      .workload({ ...ENDED })
    assert.deepEqual([c.effects('kill').length, c.effects('start').length], [1, 0])
  })
})

describe('a failure without a term', () => {
  test('changes nothing', () => {
    for (const fact of [restart, handover]) {
      const c = Candidate.follower().sees(heldBy('other', 10)).forget().tell(fact)
      assert.deepEqual(c.all, [])
    }
  })
})

test('a step down gives the workload the stop timeout, or what it was told to', () => {
  for (const [graceMs, expected] of [
    [undefined, 30_000],
    [5_000, 5_000],
  ] as const) {
    const c = Candidate.leader()
    c.tell({ type: 'step_down', reason: 'x', ...(graceMs === undefined ? {} : { graceMs }) })
    c.tell({ type: 'drained' })
    assert.deepEqual(c.effects('stop'), [{ type: 'stop', graceMs: expected }])
  }
})
