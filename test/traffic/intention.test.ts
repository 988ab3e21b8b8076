import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { type ElectionState, initialState, NO_WORKLOAD, type Term } from '../../agent/election/state.ts'
import { Intention } from '../../agent/traffic/steering.ts'

const UNTIL = 15_000
const UNKNOWN = { gate: 'unknown' }
const CLOSED = { gate: 'closed', epoch: null }

const TERM: Term = {
  epoch: 7,
  acquireTime: '',
  renewedAt: { mono: 0, boot: 0, wall: 0 },
  startedAt: 0,
  doubt: false,
  startOrdered: true,
  restarting: null,
  stepDown: null,
}
const STEP_DOWN = {
  reason: 'SIGTERM',
  stage: 'draining',
  since: 0,
  failed: false,
  graceMs: 1,
} as const
const ALIVE = { ...NO_WORKLOAD, alive: 'yes', epoch: 7, identity: 'me' } as const

function heldBy(holderIdentity: string): Pick<ElectionState, 'seen'> {
  return { seen: { lease: { metadata: {}, spec: { holderIdentity } }, changedAt: 0, heldMs: 0 } }
}

/** What one agent wants, as it learns more. */
function agent() {
  const intention = new Intention(UNTIL)
  return (state: Partial<ElectionState>, ready = false, now = 0, inDoubt = false) =>
    intention.of({ state: { ...initialState(), ...state }, identity: 'me', ready, inDoubt, now })
}

describe('what traffic is to be', () => {
  it('is open exactly while this replica is ready, in the epoch in which it leads', () => {
    const wants = agent()
    assert.deepEqual(wants({ term: TERM }, true), { gate: 'open', epoch: 7 })
    assert.deepEqual(wants({ term: TERM }, false), { gate: 'closed', epoch: 7 })
    assert.deepEqual(wants({ term: TERM }, true), { gate: 'open', epoch: 7 })
    assert.deepEqual(wants({ term: null }, false), CLOSED)
  })

  it('names the Lease that this replica was last seen to hold, also while it is deleted or made anew', () => {
    const wants = agent()
    const of = (holderIdentity: string, uid: string) => ({
      term: TERM,
      seen: { lease: { metadata: { uid }, spec: { holderIdentity } }, changedAt: 0, heldMs: 0 },
    })
    assert.deepEqual(wants(of('me', 'u1'), true), { gate: 'open', epoch: 7, leaseUid: 'u1' })
    const gone = { term: TERM, seen: { lease: null, changedAt: 0, heldMs: 0 } }
    assert.deepEqual(wants(gone, true), { gate: 'open', epoch: 7, leaseUid: 'u1' })
    assert.deepEqual(wants(of('', 'u2'), true), { gate: 'open', epoch: 7, leaseUid: 'u1' })
    assert.deepEqual(wants(of('me', 'u2'), false), { gate: 'closed', epoch: 7, leaseUid: 'u2' })
  })

  it('takes nothing from others while stepping down, also in doubt', () => {
    const wants = agent()
    wants({ term: TERM }, true)
    assert.deepEqual(wants({ term: { ...TERM, stepDown: STEP_DOWN } }), CLOSED)
    assert.deepEqual(wants({ term: { ...TERM, stepDown: STEP_DOWN, doubt: true } }), CLOSED)
  })

  it('is left as it is in doubt, and closed once the term is lost', () => {
    const wants = agent()
    wants({ term: TERM }, true)
    assert.deepEqual(wants({ term: { ...TERM, doubt: true } }), UNKNOWN)
    assert.deepEqual(wants({ term: TERM }, false, 0, true), UNKNOWN, 'by the clock')
    assert.deepEqual(wants({ term: null }, false, 0, false), CLOSED)
  })

  it('is closed as soon as the Lease is somebody else’s, nobody’s, or not there', () => {
    assert.deepEqual(agent()(heldBy('other')), CLOSED)
    assert.deepEqual(agent()(heldBy('')), CLOSED)
    assert.deepEqual(agent()({ seen: { lease: null, changedAt: 0, heldMs: 0 } }), CLOSED)
  })

  it('is not known to a restarted agent until it has taken its term back and LangFlow has answered', () => {
    const wants = agent()
    assert.deepEqual(wants({}), UNKNOWN)
    assert.deepEqual(wants(heldBy('me')), UNKNOWN)
    assert.deepEqual(wants({ ...heldBy('me'), workload: ALIVE }), UNKNOWN)
    assert.deepEqual(wants({ ...heldBy('me'), workload: ALIVE, term: TERM }), UNKNOWN)
    assert.deepEqual(wants({ ...heldBy('me'), workload: ALIVE, term: TERM }, true), {
      gate: 'open',
      epoch: 7,
    })
  })

  it('is closed by a restarted agent that has nothing to take back', () => {
    assert.deepEqual(agent()({ ...heldBy('me'), workload: { ...NO_WORKLOAD, canRun: true } }), CLOSED)
    assert.deepEqual(agent()({ ...heldBy('me'), workload: ALIVE, killOrdered: true }), CLOSED)
    assert.deepEqual(agent()({ ending: { reason: 'SIGTERM', code: 0 } }), CLOSED)
  })

  it('is closed by a restarted agent whose term does not go on undisturbed', () => {
    const taken = { ...heldBy('me'), workload: ALIVE }
    assert.deepEqual(agent()({ ...taken, term: { ...TERM, stepDown: STEP_DOWN } }), CLOSED)
    for (const state of [
      { ...taken, term: { ...TERM, restarting: 'it failed' } },
      { ...taken, term: { ...TERM, startOrdered: false } },
      { ...taken, workload: NO_WORKLOAD, term: TERM },
    ]) {
      assert.deepEqual(agent()(state), { gate: 'closed', epoch: 7 })
    }
  })

  it('is known after a lease duration at the latest, and stays so', () => {
    const wants = agent()
    assert.deepEqual(wants({}, false, UNTIL - 1), UNKNOWN)
    assert.deepEqual(wants({}, false, UNTIL), CLOSED)
    const other = agent()
    other(heldBy('other'))
    assert.deepEqual(other(heldBy('me')), CLOSED)
  })
})
