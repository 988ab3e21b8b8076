import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type ElectionState, initialState } from '../../agent/election/state.ts'
import { NOTHING } from '../../agent/link/messages.ts'
import { COLD, type StandbyView } from '../../agent/link/standby.ts'
import { checksOf, type ReplicaFacts, standsBy } from '../../agent/replica/status.ts'

const NOW = { mono: 1_000, boot: 1_000, wall: 1_000 }

const TERM = {
  epoch: 1,
  acquireTime: '',
  renewedAt: NOW,
  startedAt: 0,
  doubt: false,
  startOrdered: true,
  restarting: null,
  stepDown: null,
}

/** Of a follower whose launcher is idle. */
function facts(state: Partial<ElectionState>, standby: Partial<StandbyView> = {}, canRun = true) {
  const view = { ...NOTHING, standby: { ...COLD, ...standby } }
  const workload = { view, canRun, launcher: 'connected', healthy: false, lastProbe: null }
  const options = { leaseDurationMs: 15_000, retryPeriodMs: 2_000 }
  const seen = { seen: { lease: null, changedAt: 0 }, sightedAt: NOW, writeRight: 'granted' } as const
  return { options, state: { ...initialState(), ...seen, ...state }, now: NOW, workload } as ReplicaFacts
}

describe('a replica could take over', () => {
  it('as a follower with an idle launcher, cold or with its standby ready', () => {
    assert.ok(standsBy(facts({})))
    assert.ok(standsBy(facts({}, { mode: 'warm', state: 'ready' })))
    assert.ok(standsBy(facts({ coolDown: { early: 900, full: 1_000 } })))
  })

  it('not where it has not seen the Lease, or may not write it', () => {
    assert.ok(!standsBy(facts({ seen: null, sightedAt: null })))
    assert.ok(!standsBy(facts({ writeRight: 'refused' })))
  })

  it('not where its LangFlow is older than one that has led', () => {
    assert.ok(!standsBy(facts({ outdated: 'LangFlow 1.12.8 of this replica is older' })))
  })

  it('not while it leads, ends, cools down, has no idle launcher, or still prepares its standby', () => {
    assert.ok(!standsBy(facts({ term: TERM })))
    assert.ok(!standsBy(facts({ ending: { reason: 'SIGTERM', code: 0 } })))
    assert.ok(!standsBy(facts({ coolDown: { early: 900, full: 1_001 } })))
    assert.ok(!standsBy(facts({}, {}, false)))
    assert.ok(!standsBy(facts({}, { mode: 'warm', state: 'preparing' })))
  })
})

describe('the gate', () => {
  it('says why it is kept closed while LangFlow is restarted in its term', () => {
    const restarting = 'LangFlow lost its worker (pid 7)'
    const checks = checksOf(facts({ term: { ...TERM, restarting } }))
    assert.deepEqual(checks.at(-1), { name: 'gate', ok: false, detail: `closed: ${restarting}` })
    assert.ok(checksOf(facts({ term: TERM })).at(-1)?.ok)
  })
})
