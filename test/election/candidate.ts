import assert from 'node:assert/strict'
import type { Instant } from '../../agent/clock.ts'
import {
  type CandidateConfig,
  type CandidateState,
  type Effect,
  type Fact,
  initialState,
  NO_WORKLOAD,
  type Workload,
  type Write,
} from '../../agent/election/state.ts'
import { transition } from '../../agent/election/transition.ts'
import { ApiError, type ApiErrorCode } from '../../agent/kube/kube-errors.ts'
import type { Lease, LeaseSpec } from '../../agent/lease/lease.ts'

export const CONFIG: CandidateConfig = {
  identity: 'me',
  leaseDurationMs: 15_000,
  renewDeadlineMs: 10_000,
  retryPeriodMs: 2_000,
  killMarginMs: 1_000,
  drainTimeoutMs: 20_000,
  stopTimeoutMs: 30_000,
  streamGraceMs: 2_000,
  quietTimeoutMs: 0,
  onDoubt: 'freeze',
  standby: 'cold',
  startTimeoutMs: 600_000,
  owner: null,
  revision: null,
  onChange: 'handover',
  failsafeMaxMs: 600_000,
  front: null,
  consentKey: null,
  salt: 1,
}

export const IDLE: Workload = { ...NO_WORKLOAD, canRun: true, prepared: true }

export const RELEASED = 'langflow-leader/released'

export function leaseOf(spec: LeaseSpec, resourceVersion: number, uid = 'u1'): Lease {
  return {
    metadata: { name: 'lock', namespace: 'ns', uid, resourceVersion: String(resourceVersion) },
    spec,
  }
}

export function heldBy(holder: string, resourceVersion: number, more: LeaseSpec = {}): Lease {
  return leaseOf(
    {
      holderIdentity: holder,
      leaseDurationSeconds: 15,
      acquireTime: 'then',
      renewTime: `r${resourceVersion}`,
      leaseTransitions: 3,
      ...more,
    },
    resourceVersion,
  )
}

/** The Lease as `by` leaves it after a release, in epoch 3 unless `more` names another one. */
export function released(resourceVersion: number, by = 'other', more: LeaseSpec = {}): Lease {
  const lease = heldBy('', resourceVersion, { leaseDurationSeconds: 1, ...more })
  const annotations = { [RELEASED]: `${by} ${lease.spec?.leaseTransitions}` }
  return { ...lease, metadata: { ...lease.metadata, annotations } }
}

/** The Lease with these annotations added to its own. `null` removes an annotation. */
export function noted(lease: Lease, notes: Readonly<Record<string, string | null>>): Lease {
  const all = Object.entries({ ...lease.metadata.annotations, ...notes })
  const annotations = Object.fromEntries(all.filter(([, value]) => value !== null)) as Record<string, string>
  return { ...lease, metadata: { ...lease.metadata, annotations } }
}

export function failure(code: ApiErrorCode): ApiError {
  return new ApiError(code, `the API server said ${code}`)
}

/** One candidate under a clock that the test sets. It keeps every effect for the test to inspect. */
export class Candidate {
  readonly config: CandidateConfig
  state: CandidateState = initialState()
  all: Effect[] = []
  /** All effects, with their times. */
  readonly log: { effect: Effect; mono: number }[] = []
  mono = 1_000_000
  bootAhead = 0
  wallAhead = 1_700_000_000_000
  private version = 100

  constructor(config: Partial<CandidateConfig> = {}) {
    this.config = { ...CONFIG, ...config }
  }

  get now(): Instant {
    return { mono: this.mono, boot: this.mono + this.bootAhead, wall: this.mono + this.wallAhead }
  }

  dispatch(fact: Fact): this {
    this.state = transition(this.config, this.state, fact, this.now)
    this.all.push(...this.state.effects)
    this.log.push(...this.state.effects.map((effect) => ({ effect, mono: this.mono })))
    return this
  }

  sees(lease: Lease | null, fresh = false): this {
    return this.dispatch({ type: 'lease', lease, fresh })
  }

  workload(patch: Partial<Workload>): this {
    return this.dispatch({ type: 'workload', workload: { ...this.state.workload, ...patch } })
  }

  /** Lets time pass, and wakes the candidate each time that it requested. */
  pass(ms: number): this {
    const until = this.mono + ms
    while (this.state.wakeAt <= until) {
      assert.ok(
        this.state.wakeAt >= this.mono - 1 || this.state.effects.length > 0,
        'the candidate asks to be woken in the past, and then does nothing',
      )
      const before = this.mono
      this.mono = Math.max(this.mono, this.state.wakeAt)
      this.dispatch({ type: 'tick' })
      if (this.mono === before && this.state.wakeAt <= this.mono) break
    }
    this.mono = until
    return this.dispatch({ type: 'tick' })
  }

  /** Lets time pass while the API server answers each read with the Lease that the candidate saw last. */
  wait(ms: number): this {
    for (const until = this.mono + ms; this.mono < until; ) {
      this.pass(Math.min(100, until - this.mono))
      const { inFlight, pending, seen } = this.state
      if (inFlight && pending === null && seen !== null) this.sees(seen.lease, true)
    }
    return this
  }

  /** Asserts that the candidate acquires the Lease after exactly `ms`, in a new epoch, by a compare-and-swap on the Lease it saw. */
  takesAfter(ms: number): this {
    if (ms > 0) {
      assert.equal(this.state.pending, null, 'the candidate takes the Lease immediately')
      assert.deepEqual(
        this.forget()
          .wait(ms - 1)
          .effects('write'),
        [],
        'the candidate takes the Lease too early',
      )
      this.wait(1)
    }
    const { kind, lease } = this.write
    const { seen, highestEpoch } = this.state
    assert.deepEqual([kind, lease.spec?.holderIdentity], ['acquire', this.config.identity])
    assert.equal(lease.spec?.leaseTransitions, highestEpoch + 1)
    assert.equal(lease.metadata.resourceVersion, seen?.lease?.metadata.resourceVersion)
    return this
  }

  effects(type: Effect['type']): Effect[] {
    return this.all.filter((effect) => effect.type === type)
  }

  /** The write that awaits its answer. */
  get write(): Write {
    assert.ok(this.state.pending, `no write is under way: ${this.state.decision}`)
    return this.state.pending
  }

  /** The API server acknowledges the write. */
  acknowledge(write = this.write): this {
    return this.dispatch({ type: 'written', id: write.id, lease: this.commit(write) })
  }

  /** The Lease after the API server applied the write. */
  commit(write = this.write): Lease {
    this.version = Math.max(this.version, Number(write.lease.metadata.resourceVersion ?? 0)) + 1
    return {
      ...write.lease,
      metadata: {
        ...write.lease.metadata,
        uid: write.lease.metadata.uid ?? 'u2',
        resourceVersion: String(this.version),
      },
    }
  }

  /** The API server answers the write with 200, but with a Lease that differs from the write. */
  answers(change: {
    spec?: LeaseSpec
    annotations?: Record<string, string>
    resourceVersion?: string
  }): this {
    const lease = this.commit()
    const { resourceVersion = lease.metadata.resourceVersion ?? '', annotations } = change
    const metadata = { ...lease.metadata, resourceVersion, ...(annotations && { annotations }) }
    const answer = { ...lease, metadata, spec: { ...lease.spec, ...change.spec } }
    return this.dispatch({ type: 'written', id: this.write.id, lease: answer })
  }

  fail(code: ApiErrorCode, write = this.write): this {
    return this.dispatch({ type: 'write_failed', id: write.id, error: failure(code) })
  }

  forget(): this {
    this.all = []
    return this
  }

  /** A follower with an idle launcher and an open watch. */
  static follower(config: Partial<CandidateConfig> = {}): Candidate {
    return new Candidate(config).dispatch({ type: 'watch', up: true, problem: null }).workload(IDLE)
  }

  /** A leader in epoch 4 whose workload runs. Its last acknowledged write was sent now. */
  static leader(config: Partial<CandidateConfig> = {}): Candidate {
    const candidate = Candidate.follower(config).sees(released(50)).acknowledge()
    candidate.workload({ alive: 'yes', canRun: false, epoch: 4, identity: 'me' })
    return candidate.forget()
  }
}
