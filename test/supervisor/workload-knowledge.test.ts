import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { NOTHING, type WorkloadView } from '../../agent/link/messages.ts'
import { COLD, type StandbyMode, type StandbyView } from '../../agent/link/standby.ts'
import { WorkloadKnowledge } from '../../agent/supervisor/workload-knowledge.ts'

const RUNNING: WorkloadView = { ...NOTHING, state: 'running', epoch: 3, identity: 'me', pid: 42, killAt: 9 }

/** Of a launcher that has looked for remains and found none. */
function free(): WorkloadKnowledge {
  const known = new WorkloadKnowledge('cold')
  known.connected(NOTHING, false)
  known.told(NOTHING, { kind: 'met' })
  return known
}

function running(): WorkloadKnowledge {
  const known = free()
  known.startOrdered()
  known.told(RUNNING, { kind: 'started' })
  return known
}

describe('a launcher that says it is idle', () => {
  test('is believed once it has looked for what an earlier one left', () => {
    const known = new WorkloadKnowledge('cold')
    assert.equal(known.isFree, false)
    known.connected(NOTHING, false)
    assert.equal(known.isFree, false)
    known.told(NOTHING, { kind: 'met' })
    assert.equal(known.isFree, true)
  })

  test('is believed at once where it is the one that was here before', () => {
    const known = new WorkloadKnowledge('cold')
    known.connected(NOTHING, true)
    assert.equal(known.isFree, true)
  })

  test('is not free while it ends, which the next one does not', () => {
    const known = free()
    known.launcherEnds()
    assert.deepEqual([known.isFree, known.report(false).ending], [false, true])
    known.connected(NOTHING, true)
    assert.deepEqual([known.isFree, known.report(true).ending], [true, false])
  })
})

describe('a workload', () => {
  test('may live from the order to start, also where the launcher tells of a spare’s end meanwhile', () => {
    const known = free()
    known.startOrdered()
    known.told({ ...NOTHING, state: 'stopping' }, { kind: 'stopping' })
    known.told(NOTHING, { kind: 'killed', durationMs: 1 })
    assert.deepEqual([known.mayLive, known.report(false).alive], [true, 'yes'])
    known.told(RUNNING, { kind: 'started' })
    assert.equal(known.starting, false)
  })

  test('may live from the order to start until that is answered', () => {
    for (const answer of ['start_refused', 'stopped', 'killed'] as const) {
      const known = free()
      known.startOrdered()
      known.told(NOTHING, { kind: 'grant_refused', reason: 'it has expired' })
      assert.deepEqual([known.mayLive, known.report(false).alive], [true, 'yes'])
      known.told(NOTHING, { kind: answer, reason: 'the port is taken', durationMs: 1 })
      assert.deepEqual([known.mayLive, known.report(true).alive], [false, 'no'])
    }
  })

  test('may live in every state but idle', () => {
    for (const state of ['running', 'frozen', 'stopping', 'unstoppable'] as const) {
      const known = free()
      known.connected({ ...RUNNING, state }, true)
      assert.deepEqual([known.mayLive, known.isFree], [true, false], state)
    }
  })

  test('is reported as its launcher sees it', () => {
    const known = running()
    const { alive, canRun, epoch, identity, killAt, failed, stopFailed } = known.report(false)
    assert.deepEqual([alive, canRun, epoch, identity, killAt], ['yes', false, 3, 'me', 9])
    assert.deepEqual([failed, stopFailed], [null, null])
    const loss = { role: 'worker', pids: [7] } as const
    known.told({ ...RUNNING, loss }, { kind: 'bereft', loss })
    assert.equal(known.report(false).failed, 'LangFlow lost its worker (pid 7)')
    assert.equal(known.unserved, true)
    known.told({ ...RUNNING, state: 'unstoppable' }, { kind: 'stop_failed', reason: 'it lives' })
    assert.equal(known.report(false).stopFailed, 'the workload could not be stopped')
    assert.equal(known.unserved, false)
  })

  test('is of the version that its launcher says, also while that is away', () => {
    const known = new WorkloadKnowledge('cold')
    assert.equal(known.report(false).langflow, null)
    known.connected(NOTHING, false, '1.13.0')
    known.launcherGone()
    assert.equal(known.report(false).langflow, '1.13.0')
    known.connected(NOTHING, false)
    assert.equal(known.report(false).langflow, null)
  })

  test('is prepared while what stands by is ready, and as warm as was asked for', () => {
    const prepared = (wanted: StandbyMode, standby: Partial<StandbyView>) => {
      const known = new WorkloadKnowledge(wanted)
      known.connected({ ...NOTHING, standby: { ...COLD, ...standby } }, true)
      return known.report(true).prepared
    }
    assert.equal(prepared('cold', {}), true)
    assert.equal(prepared('warm', { mode: 'warm', state: 'ready' }), true)
    assert.equal(prepared('warm', {}), false)
    assert.equal(prepared('warm', { mode: 'warm', state: 'preparing' }), false)
  })

  test('is an orphan where its launcher went away, until one has looked or its death is proved', () => {
    const ends: ((known: WorkloadKnowledge) => void)[] = [
      (known) => known.connected(NOTHING, true),
      (known) => known.told(NOTHING, { kind: 'met' }),
      (known) => known.provedDead(),
    ]
    for (const end of ends) {
      const known = running()
      known.launcherGone()
      assert.deepEqual([known.orphaned, known.report(false).alive], [true, 'maybe'])
      assert.match(known.report(false).stopFailed ?? '', /nothing proves yet/)
      // It came and went without having looked.
      known.connected(NOTHING, false)
      known.launcherGone()
      assert.equal(known.orphaned, true)
      end(known)
      assert.deepEqual([known.orphaned, known.report(false).alive], [false, 'no'])
    }
  })

  test('is an orphan also where its launcher went away with the order to start', () => {
    const known = free()
    known.launcherGone()
    assert.equal(known.orphaned, false)
    known.startOrdered()
    known.launcherGone()
    assert.equal(known.orphaned, true)
  })

  test('that is proved dead has no process and no grant left', () => {
    const known = running()
    known.launcherGone()
    known.provedDead()
    assert.deepEqual(known.view, { ...RUNNING, state: 'idle', pid: null, killAt: null })
  })
})
