import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { later } from '../../agent/clock.ts'
import { type ElectionState, initialState, type Term } from '../../agent/election/state.ts'
import { COLD, NOTHING, type StandbyView, type WorkloadState } from '../../agent/link/messages.ts'
import type { EventFields } from '../../agent/observe/log.ts'
import { ReplicaGate } from '../../agent/replica/gate.ts'
import { checksOf } from '../../agent/replica/status.ts'
import { VirtualClock } from '../support/virtual-clock.ts'

/** Saw a Lease that nobody holds, and may write it. */
const ABLE = {
  seen: { lease: { metadata: {} }, changedAt: 0, heldMs: 0 },
  sightedAt: { mono: 0, boot: 0, wall: 0 },
  watchUp: true,
  writeRight: 'granted',
} as const

/** A replica that leads in epoch 3, serves, and may be changed. */
class Bench {
  readonly clock = new VirtualClock()
  readonly events: [string, EventFields][] = []
  readonly checks = [{ name: 'gate' as const, ok: true, detail: 'open' }]
  state: ElectionState = { ...initialState(), highestEpoch: 3, term: this.term() }
  workload = this.runs('running')
  readonly gate = new ReplicaGate({
    timings: { leaseDurationMs: 15_000, renewDeadlineMs: 10_000, retryPeriodMs: 2_000, killMarginMs: 1_000 },
    clock: this.clock,
    log: { event: (name, fields) => void this.events.push([name, fields]) },
    state: () => this.state,
    workload: () => this.workload,
    checks: () => this.checks,
  })

  term(more: Partial<Term> = {}): Term {
    return {
      epoch: 3,
      acquireTime: '',
      renewedAt: this.clock.now(),
      startedAt: this.clock.mono(),
      doubt: false,
      startOrdered: true,
      restarting: null,
      stepDown: null,
      ...more,
    }
  }

  runs(state: WorkloadState, epoch = 3) {
    const view = { ...NOTHING, state, epoch }
    return {
      view,
      launcher: 'connected' as const,
      canRun: state === 'idle',
      healthy: true,
      lastProbe: null,
      draining: null,
    }
  }

  /** Another one leads now. */
  follow(): void {
    this.state = { ...this.state, ...ABLE, term: null }
    this.workload = this.runs('idle')
  }

  get answers(): { ready: boolean; couldServe: boolean } {
    return { ready: this.gate.ready(), couldServe: this.gate.couldServe() }
  }
}

describe('a replica', () => {
  test('is ready as the leader whose workload runs in its own term, where each check holds', () => {
    const b = new Bench()
    assert.deepEqual(b.answers, { ready: true, couldServe: true })
    b.workload = b.runs('running', 2)
    assert.deepEqual(b.answers, { ready: false, couldServe: false })
    b.workload = b.runs('running')
    for (const check of b.checks) check.ok = false
    assert.deepEqual(b.answers, { ready: false, couldServe: false })
  })

  test('is in doubt by the clock, whether or not the election has noticed', async () => {
    const b = new Bench()
    await b.clock.pass(9_999)
    assert.deepEqual([b.gate.inDoubt, b.gate.ready()], [false, true])
    await b.clock.pass(1)
    assert.deepEqual([b.gate.inDoubt, b.gate.ready()], [true, false])
    b.state = { ...b.state, term: b.term() }
    assert.deepEqual([b.gate.inDoubt, b.gate.ready()], [false, true])
  })

  for (const [could, what, state, standby, workload] of [
    [true, 'with an idle launcher', {}, {}, 'idle'],
    [true, 'whose standby is ready', {}, { mode: 'warm', state: 'ready' }, 'idle'],
    [true, 'whose cool-down is over', { coolDown: { early: 0, full: 1_000_000 } }, {}, 'idle'],
    [false, 'that cools down', { coolDown: { early: 0, full: 1_000_001 } }, {}, 'idle'],
    [false, 'that has not seen the Lease', { seen: null, sightedAt: null }, {}, 'idle'],
    [false, 'that may not write the Lease', { writeRight: 'refused' }, {}, 'idle'],
    [false, 'whose LangFlow is older than one that has led', { outdated: 'it is older' }, {}, 'idle'],
    [false, 'that ends', { ending: { reason: 'SIGTERM', code: 0 } }, {}, 'idle'],
    [false, 'that has no idle launcher', {}, {}, 'stopping'],
    [false, 'that still prepares its standby', {}, { mode: 'warm', state: 'preparing' }, 'idle'],
  ] as [boolean, string, Partial<ElectionState>, Partial<StandbyView>, WorkloadState][]) {
    test(`${could ? 'could' : 'could not'} serve as a follower ${what}`, () => {
      const b = new Bench()
      b.follow()
      b.state = { ...b.state, ...state }
      b.workload = b.runs(workload)
      b.workload.view = { ...b.workload.view, standby: { ...COLD, ...standby } }
      assert.deepEqual(b.answers, { ready: false, couldServe: could })
      assert.equal(b.gate.inDoubt, false, 'there is nothing to doubt')
    })
  }

  test('says why its gate is kept closed while LangFlow is restarted in its term', () => {
    const b = new Bench()
    const options = { leaseDurationMs: 15_000, retryPeriodMs: 2_000 }
    const gate = () => checksOf({ options, state: b.state, now: b.clock.now(), workload: b.workload }).at(-1)
    assert.ok(gate()?.ok)
    b.state = { ...b.state, term: b.term({ restarting: 'LangFlow lost its worker (pid 7)' }) }
    const detail = 'closed: LangFlow lost its worker (pid 7)'
    assert.deepEqual(gate(), { name: 'gate', ok: false, detail })
  })

  test('could serve in doubt for as long as its workload lives, and it does not step down', () => {
    const b = new Bench()
    const renewedAt = later(b.clock.now(), -11_000)
    b.state = { ...b.state, term: b.term({ renewedAt }) }
    for (const state of ['running', 'frozen'] as const) {
      b.workload = b.runs(state)
      assert.deepEqual(b.answers, { ready: false, couldServe: true }, state)
    }
    b.workload = b.runs('frozen', 2)
    assert.equal(b.gate.couldServe(), false)
    b.workload = b.runs('stopping')
    assert.equal(b.gate.couldServe(), false)
    b.workload = b.runs('frozen')
    const stepDown = {
      reason: '',
      stage: 'draining',
      since: 0,
      drained: false,
      failed: false,
      graceMs: 1,
    } as const
    b.state = { ...b.state, term: b.term({ renewedAt, stepDown }) }
    assert.equal(b.gate.couldServe(), false)
  })

  test('says once that it serves, and again after a pause', () => {
    const b = new Bench()
    for (const ready of [true, true, false, true]) b.gate.look(ready)
    assert.deepEqual(b.events, [
      ['serving', { epoch: 3 }],
      ['serving', { epoch: 3 }],
    ])
  })

  test('says once that it stands by, with what, and again after a term', () => {
    const b = new Bench()
    b.follow()
    b.gate.look(false)
    b.gate.look(false)
    b.state = { ...b.state, highestEpoch: 4, term: b.term({ epoch: 4 }) }
    b.gate.look(false)
    b.follow()
    b.gate.look(false)
    assert.deepEqual(b.events, [
      ['standby_ready', { epoch: 3, mode: 'cold' }],
      ['standby_ready', { epoch: 4, mode: 'cold' }],
    ])
  })
})
