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

describe('a workload that is restarted in place', () => {
  test('is stopped, not killed, and started in the same epoch once nothing of it lives', () => {
    const c = Candidate.leader().pass(500).tell(restart)
    assert.deepEqual(c.all, [{ type: 'restart', code: 'workload_exited', reason: REASON, graceMs: 30_000 }])
    assert.equal(c.last.decision, `restarting the workload in place: ${REASON}`)
    c.workload(ENDED)
    assert.deepEqual(c.effects('start'), [{ type: 'start', epoch: 4 }])
    assert.deepEqual([c.events(), c.effects('kill')], [[], []])
    assert.deepEqual([c.state.term?.restarting, c.state.coolDown], [null, null])
    assert.match(c.last.decision, /holding the Lease in epoch 4/)
  })

  test('is not started, and its Lease renewed, while anything of it may live, or no launcher would start it', () => {
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

  test('is stopped once, in however many ways its failure is told', () => {
    const c = restarting().workload({ failed: 'LangFlow lost its worker (pid 7)' })
    c.tell({ ...restart, reason: 'LangFlow is unhealthy' }).workload({ alive: 'yes' })
    assert.deepEqual([c.effects('restart').length, c.events()], [1, []])
    c.workload({ ...ENDED, failed: null }).workload(RUNS)
    assert.deepEqual([starts(c), c.state.term?.stepDown], [1, null])
  })

  test('is handed over where its new start fails, or ended unheard', () => {
    const again = () => restarting().workload(ENDED).workload(RUNS)
    assert.equal(steppingDown(again().workload(ENDED)), 'the workload runs no more')
    const c = again().tell({ ...handover, reason: 'port 7860 is already taken' })
    assert.equal(steppingDown(c), 'port 7860 is already taken')
    c.workload(ENDED).acknowledge()
    assert.deepEqual(c.events(), ['draining', 'released', 'stepped_down'])
    assert.notEqual(c.state.coolDown, null)
  })

  test('is handed over instead where that is asked for meanwhile', () => {
    for (const [c, reason] of [
      [restarting().tell(terminate), 'SIGTERM'],
      [restarting().tell(handover), 'the launcher is gone'],
      [restarting().workload({ ending: true }), 'the LangFlow container is ending'],
    ] as const) {
      assert.deepEqual([steppingDown(c), c.state.term?.restarting], [reason, null])
      assert.deepEqual([starts(c.workload(ENDED)), c.write.kind], [0, 'release'])
    }
  })

  test('is handed over where its launcher goes away while nothing lives', () => {
    assert.equal(steppingDown(restarting().workload({ alive: 'no' })), 'the launcher went away')
  })

  test('is not restarted once its term is ending', () => {
    const c = Candidate.leader().tell(terminate).tell(restart)
    assert.deepEqual([c.effects('restart').length, c.state.term?.restarting], [0, null])
  })

  test('raises the alarm where its stop fails, and keeps its Lease', () => {
    const c = restarting().workload({ stopFailed: 'the workload could not be stopped' }).pass(2_000)
    assert.match(
      c.last.decision,
      /restarting .*ALARM: the workload could not be stopped, so the Lease is kept/,
    )
    assert.equal(c.write.kind, 'renew')
  })

  test('waits in doubt, and is started when a renewal succeeds', () => {
    const c = restarting().pass(2_000).fail('network').pass(8_000).workload(ENDED)
    assert.deepEqual([c.state.term?.doubt, starts(c)], [true, 0])
    c.pass(2_000).acknowledge()
    assert.deepEqual(c.effects('start'), [{ type: 'start', epoch: 4 }])
  })

  test('is killed where its Lease is lost, and not started', () => {
    const c = restarting().sees(heldBy('other', 500)).workload(ENDED)
    assert.deepEqual([c.effects('kill').length, starts(c)], [1, 0])
  })
})
