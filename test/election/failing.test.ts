import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Fact } from '../../agent/election/state.ts'
import { Candidate, heldBy } from './candidate.ts'

const REASON = 'LangFlow ended by itself (SIGKILL)'
const restart: Fact = { type: 'workload_failed', code: 'workload_exited', reason: REASON, remedy: 'restart' }
const handover: Fact = {
  type: 'workload_failed',
  code: 'workload_exited',
  reason: 'the launcher is gone',
  remedy: 'handover',
}
const terminate: Fact = { type: 'terminate', reason: 'SIGTERM' }
const ENDED = { alive: 'no', canRun: true } as const
const RUNS = { alive: 'yes', canRun: false } as const

const restarting = () => Candidate.leader().tell(restart)
const starts = (c: Candidate) => c.effects('start').length
const steppingDown = (c: Candidate) => c.state.term?.stepDown?.reason

describe('the leader restarts a failed workload in place', () => {
  test('the leader stops the workload in order, and starts it in the same epoch when no process of it lives', () => {
    const c = Candidate.leader().pass(500).tell(restart)
    assert.deepEqual(c.all, [
      { type: 'restart', code: 'workload_exited', reason: REASON },
      { type: 'stop', graceMs: 30_000, drainMs: 20_000 },
    ])
    assert.equal(c.last.decision, `restarting LangFlow in place: ${REASON}`)
    c.workload(ENDED)
    assert.deepEqual(c.effects('start'), [{ type: 'start', epoch: 4 }])
    assert.deepEqual([c.events(), c.effects('kill')], [[], []])
    assert.deepEqual([c.state.term?.restarting, c.state.coolDown], [null, null])
    assert.match(c.last.decision, /holding the Lease in epoch 4/)
  })

  test('the leader renews and waits while a process of the workload may live or no launcher can start it', () => {
    for (const view of [
      { alive: 'yes', canRun: true } as const,
      { alive: 'maybe', canRun: false } as const,
    ]) {
      const c = restarting().workload(view)
      for (let round = 0; round < 10; round++) {
        assert.equal(c.pass(2_000).write.kind, 'renew')
        c.acknowledge()
      }
      assert.equal(starts(c), 0)
    }
  })

  test('several reports of one failure cause one restart', () => {
    const c = restarting().workload({ failed: 'LangFlow lost its worker (pid 7)' })
    c.tell({ ...restart, reason: 'LangFlow is unhealthy' }).workload({ alive: 'yes' })
    assert.deepEqual([c.effects('restart').length, c.events()], [1, []])
    c.workload({ ...ENDED, failed: null }).workload(RUNS)
    assert.deepEqual([starts(c), c.state.term?.stepDown], [1, null])
  })

  test('the leader hands over if the restarted workload fails or ends', () => {
    const again = () => restarting().workload(ENDED).workload(RUNS)
    assert.equal(steppingDown(again().workload(ENDED)), 'LangFlow does not run any longer')
    const c = again().tell({ ...handover, reason: 'port 7860 is already taken' })
    assert.equal(steppingDown(c), 'port 7860 is already taken')
    c.workload(ENDED).acknowledge()
    assert.deepEqual(c.events(), ['draining', 'released', 'stepped_down'])
    assert.notEqual(c.state.coolDown, null)
  })

  test('the leader hands over if a reason to step down arrives during the restart', () => {
    for (const [c, reason] of [
      [restarting().tell(terminate), 'SIGTERM'],
      [restarting().tell(handover), 'the launcher is gone'],
      [restarting().workload({ ending: true }), 'the LangFlow container is ending'],
    ] as const) {
      assert.deepEqual([steppingDown(c), c.state.term?.restarting], [reason, null])
      assert.deepEqual([starts(c.workload(ENDED)), c.write.kind], [0, 'release'])
    }
  })

  test('the leader hands over if the launcher disconnects after the workload has ended', () => {
    assert.equal(
      steppingDown(restarting().workload({ alive: 'no' })),
      'no launcher is ready to start LangFlow',
    )
  })

  test('a leader that is stepping down does not restart its workload', () => {
    const c = Candidate.leader().tell(terminate).tell(restart)
    assert.deepEqual([c.effects('restart').length, c.state.term?.restarting], [0, null])
  })

  test('the leader raises the alarm and keeps the Lease if the stop fails', () => {
    const c = restarting().workload({ stopFailed: 'the workload could not be stopped' }).pass(2_000)
    assert.match(
      c.last.decision,
      /restarting .*ALARM: the workload could not be stopped, so the Lease is kept/,
    )
    assert.equal(c.write.kind, 'renew')
  })

  test('a leader in doubt starts the workload only after a renewal succeeds', () => {
    const c = restarting().pass(2_000).fail('network').pass(8_000).workload(ENDED)
    assert.deepEqual([c.state.term?.doubt, starts(c)], [true, 0])
    c.pass(2_000).acknowledge()
    assert.deepEqual(c.effects('start'), [{ type: 'start', epoch: 4 }])
  })

  test('a leader that loses the Lease kills the workload and does not start it', () => {
    const c = restarting().sees(heldBy('other', 500)).workload(ENDED)
    assert.deepEqual([c.effects('kill').length, starts(c)], [1, 0])
  })
})
