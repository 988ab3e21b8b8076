import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { later } from '../../agent/clock.ts'
import type { CandidateState } from '../../agent/election/state.ts'
import {
  COLD,
  NOTHING,
  type StandbyView,
  UNKNOWN_DIGESTS,
  type WorkloadState,
} from '../../agent/link/link-messages.ts'
import { problemsOf } from '../../agent/replica/problems.ts'
import {
  checksOf,
  couldServe,
  frontFault,
  isInDoubt,
  isReady,
  onTrial,
  type ReplicaFacts,
  standsBy,
  takeoverObstacle,
} from '../../agent/replica/replica-status.ts'
import type { FrontView } from '../../agent/status/agent-status.ts'
import { Candidate, CONFIG } from '../election/candidate.ts'

const LEADER = Candidate.leader()
const LEADS = LEADER.state
const STEPS_DOWN = Candidate.leader().dispatch({
  type: 'step_down',
  code: 'newer_revision',
  reason: 'a test',
}).state
/** A follower that has seen a free Lease and may write it. */
const FOLLOWS = Candidate.follower().sees({ metadata: {} }).dispatch({ type: 'rehearsed', error: null }).state

const IN_DOUBT = { afterMs: CONFIG.renewDeadlineMs }

interface Case {
  readonly epoch?: number
  readonly standby?: Partial<StandbyView>
  readonly healthy?: false
  readonly revision?: string
  readonly peers?: null
  /** Number of other replicas that could take over. */
  readonly ready?: number
  /** Ms since the last renewal was sent. */
  readonly afterMs?: number
}

function facts(state: CandidateState, does: WorkloadState, its: Case = {}) {
  const { epoch = 4, standby, healthy = true, afterMs = 0, ready = 0, revision = null, peers = [] } = its
  const view = { ...NOTHING, state: does, epoch, standby: { ...COLD, ...standby } }
  const launcher = 'connected' as const
  return {
    options: { ...CONFIG, peers, pod: { revision } },
    state,
    now: later(LEADER.now, afterMs),
    traffic: { routedTo: null, problem: null, front: null },
    peers: { ready, seen: ready },
    workload: {
      view,
      launcher,
      launcherSeen: true,
      refusedGrant: null,
      served: true,
      startsColder: false,
      canRun: does === 'idle',
      healthy,
      lastProbe: null,
      draining: null,
      digests: UNKNOWN_DIGESTS,
    },
  }
}

describe('a replica', () => {
  for (const [what, ready, could, state, does, more] of [
    ['is ready if it leads and its workload runs in the same term', true, true, LEADS, 'running'],
    ['is not ready if its workload is of another term', false, false, LEADS, 'running', { epoch: 3 }],
    ['is not ready if a check fails', false, false, LEADS, 'running', { healthy: false }],
    ['is ready until the renew deadline', true, true, LEADS, 'running', { afterMs: 9_999 }],
    [
      'could serve, but is not ready, once the renew deadline has passed',
      false,
      true,
      LEADS,
      'running',
      IN_DOUBT,
    ],
    ['could serve in doubt while its workload is frozen', false, true, LEADS, 'frozen', IN_DOUBT],
    [
      'could not serve in doubt if its workload is of another term',
      false,
      false,
      LEADS,
      'frozen',
      { ...IN_DOUBT, epoch: 2 },
    ],
    ['could not serve in doubt while its workload is stopping', false, false, LEADS, 'stopping', IN_DOUBT],
    ['could not serve in doubt while the leader steps down', false, false, STEPS_DOWN, 'frozen', IN_DOUBT],
  ] as [string, boolean, boolean, CandidateState, WorkloadState, Case?][]) {
    test(what, () => {
      const its = facts(state, does, more)
      assert.deepEqual([isReady(its), couldServe(its)], [ready, could])
      assert.equal(isInDoubt(its), more?.afterMs === IN_DOUBT.afterMs)
    })
  }

  test('could not take over with files from which LangFlow would not start', () => {
    const its = facts(FOLLOWS, 'idle')
    const content = {
      ...{ digest: 'c2', since: 0, running: null, startedAt: 0, earlier: [] },
      ...{ problem: 'a.json is not JSON', unfit: true },
    }
    const broken = { ...its.workload, digests: { ...UNKNOWN_DIGESTS, content } }
    assert.equal(takeoverObstacle({ ...its, workload: broken }), 'a.json is not JSON')
    const unread = { ...its.workload, digests: { ...UNKNOWN_DIGESTS, content: { ...content, unfit: false } } }
    assert.equal(takeoverObstacle({ ...its, workload: unread }), null)
  })

  test('can be a standby only while it has no term', () => {
    assert.equal(standsBy(facts(FOLLOWS, 'idle')), true)
    assert.equal(standsBy(facts({ ...FOLLOWS, term: LEADS.term } as CandidateState, 'idle')), false)
  })

  const now = LEADER.mono
  for (const [could, what, state, standby, does] of [
    [true, 'with an idle launcher', {}, {}, 'idle'],
    [true, 'whose standby is ready', {}, { mode: 'warm', state: 'ready' }, 'idle'],
    [true, 'whose cool-down is over', { coolDown: { early: 0, full: now } }, {}, 'idle'],
    [false, 'whose cool-down lasts', { coolDown: { early: 0, full: now + 1 } }, {}, 'idle'],
    [false, 'that has not seen the Lease', { seen: null, sightedAt: null }, {}, 'idle'],
    [
      false,
      'that may not write the Lease',
      { writeRight: { ...FOLLOWS.writeRight, state: 'refused' } },
      {},
      'idle',
    ],
    [
      false,
      'whose LangFlow is older than that of an earlier leader',
      { outdated: 'it is older' },
      {},
      'idle',
    ],
    [false, 'that is terminating', { ending: { reason: 'SIGTERM', code: 0 } }, {}, 'idle'],
    [false, 'whose launcher is not idle', {}, {}, 'stopping'],
    [false, 'that still prepares its standby', {}, { mode: 'warm', state: 'preparing' }, 'idle'],
  ] as [boolean, string, Partial<CandidateState>, Partial<StandbyView>, WorkloadState][]) {
    test(`${could ? 'could' : 'could not'} serve as a follower ${what}`, () => {
      const its = facts({ ...FOLLOWS, ...state } as CandidateState, does, { standby })
      assert.deepEqual([isReady(its), couldServe(its), isInDoubt(its)], [false, could, false])
    })
  }

  test('reports why its gate is closed while LangFlow is restarted in the same term', () => {
    const term = { ...LEADS.term!, restarting: 'LangFlow lost its worker (pid 7)' }
    const detail = 'closed: LangFlow lost its worker (pid 7)'
    assert.deepEqual(checksOf(facts({ ...LEADS, term } as CandidateState, 'running')).at(-1), {
      name: 'gate',
      ok: false,
      detail,
    })
    assert.ok(checksOf(facts(LEADS, 'running')).at(-1)?.ok)
  })
})

describe('a replica of a new revision', () => {
  const FAILED = { revision: 'new', inputs: null, because: 'workload_exited', reason: 'exit code 1' } as const
  const OLD = { ...FOLLOWS.noted, revisions: { proven: ['old'], langflow: null, failed: [] } }
  const NEW = { revision: 'new' } as const
  const follows = { ...FOLLOWS, noted: OLD }
  const starts = { ...LEADS, noted: OLD, term: { ...LEADS.term!, trialUntil: 1e9 } } as CandidateState
  const serves = { ...LEADS, noted: OLD } as CandidateState
  for (const [what, could, standby, state, does, more, why] of [
    [
      'could take over, but is not Ready, if only an older revision has served',
      false,
      true,
      follows,
      'idle',
      NEW,
      /^revision new has not served yet \(old has\)/,
    ],
    [
      'is not Ready during its first start',
      false,
      false,
      starts,
      'starting',
      NEW,
      /^revision new has not served yet/,
    ],
    ['is Ready once it serves', true, false, serves, 'running', NEW, null],
    [
      'is Ready as a follower if another replica of its revision has served',
      true,
      true,
      {
        ...follows,
        noted: { ...OLD, revisions: { ...OLD.revisions, proven: ['new', 'old'], failed: [FAILED] } },
      },
      'idle',
      NEW,
      null,
    ],
    ['is Ready if no other revision has served', true, true, FOLLOWS, 'idle', NEW, null],
    [
      'could not take over if the first start of its revision failed',
      false,
      false,
      { ...follows, noted: { ...OLD, revisions: { ...OLD.revisions, failed: [FAILED] } } },
      'idle',
      NEW,
      /^the first start of revision new failed \(exit code 1\): no replica hands over to it/,
    ],
    [
      'is Ready without --peers, because no leader would hand over to it',
      true,
      true,
      follows,
      'idle',
      { ...NEW, peers: null },
      null,
    ],
  ] as [string, boolean, boolean, CandidateState, WorkloadState, Case, RegExp | null][])
    test(what, () => {
      const its = facts(state, does, more)
      const traffic = { routedTo: null, problem: null, front: { listening: true } as FrontView }
      const front = frontFault({ ...its, traffic } as unknown as ReplicaFacts)
      assert.deepEqual([couldServe(its), standsBy(its), front === null], [could, standby, could])
      const detail = onTrial(its)
      if (why === null) assert.equal(detail, null)
      else {
        assert.match(detail ?? '', why)
        assert.equal(front, detail)
        const check = checksOf(its).find(({ name }) => name === 'revision')
        assert.deepEqual(check, { name: 'revision', ok: state.term !== null, detail })
      }
    })
})

describe('a front', () => {
  const SERVED = Candidate.leader().dispatch({ type: 'workload_healthy', took: null }).state
  const RESTARTS = { ...SERVED, term: { ...SERVED.term!, restarting: 'LangFlow lost its worker (pid 7)' } }
  const TAKEN_BACK = { ...LEADS, term: { ...LEADS.term!, record: null } }
  const ANOTHER = { ready: 1 }
  const LISTENS = { listening: true } as FrontView
  const DEAF = { listening: false } as FrontView
  const started = { standby: { mode: 'warm', state: 'preparing' } } as const
  for (const [what, fault, state, does, front, problem, more] of [
    ['accepts clients if its replica leads', null, LEADS, 'running', LISTENS],
    [
      'accepts clients while its replica leads and starts, if no other replica is ready',
      null,
      LEADS,
      'starting',
      LISTENS,
    ],
    [
      'refuses clients while its replica leads and starts, if another replica is ready',
      /^its LangFlow has not served in this term yet, and another replica could take over$/,
      LEADS,
      'starting',
      LISTENS,
      null,
      ANOTHER,
    ],
    [
      'accepts clients if its replica is in doubt after it has served',
      null,
      SERVED,
      'frozen',
      LISTENS,
      null,
      { ...IN_DOUBT, ...ANOTHER },
    ],
    [
      'accepts clients while LangFlow is restarted after it has served',
      null,
      RESTARTS,
      'starting',
      LISTENS,
      null,
      ANOTHER,
    ],
    [
      'accepts clients if its replica has led since before its agent started',
      null,
      TAKEN_BACK,
      'running',
      LISTENS,
      null,
      ANOTHER,
    ],
    ['accepts clients if its replica could take over', null, FOLLOWS, 'idle', LISTENS],
    [
      'refuses clients if its replica could not take over',
      /^its standby is preparing$/,
      FOLLOWS,
      'idle',
      LISTENS,
      null,
      started,
    ],
    [
      'refuses clients if the leader has no usable front address',
      /^x-1 leads and/,
      FOLLOWS,
      'idle',
      LISTENS,
      'x-1 leads and …',
    ],
    ['refuses clients until it listens', /^its front does not listen yet$/, FOLLOWS, 'idle', DEAF],
    [
      'refuses clients if it cannot listen',
      /^the port is taken$/,
      LEADS,
      'running',
      DEAF,
      'the port is taken',
    ],
    [
      'does not exist with --traffic=readiness',
      /^this replica has no front: it runs with --traffic=readiness$/,
      LEADS,
      'running',
      null,
    ],
  ] as [string, RegExp | null, CandidateState, WorkloadState, FrontView | null, string?, Case?][])
    test(what, () => {
      const traffic = { routedTo: null, problem: problem ?? null, front }
      const its = { ...facts(state, does, more), traffic }
      const options = { ...its.options, traffic: { mode: 'readiness' } }
      const said = frontFault({ ...its, options } as unknown as ReplicaFacts)
      if (fault === null) assert.equal(said, null)
      else assert.match(said ?? '', fault)
    })

  test('that does not listen prevents its replica from being a standby', () => {
    const its = facts(FOLLOWS, 'idle')
    assert.equal(standsBy({ ...its, traffic: { ...its.traffic, front: LISTENS } }), true)
    assert.equal(standsBy({ ...its, traffic: { ...its.traffic, front: DEAF } }), false)
  })
})

describe('the problem of a replica', () => {
  const its = facts(FOLLOWS, 'idle') as unknown as ReplicaFacts
  const whole: ReplicaFacts = {
    ...its,
    options: {
      ...its.options,
      socket: '/run/langflow-leader/launcher.sock',
      pod: { ...its.options.pod, owner: null, problem: null },
    },
    sinceStartMs: 0,
  }
  const first = (more: Partial<ReplicaFacts>) =>
    problemsOf({ ...whole, ...more }).find(([, fault]) => fault !== null)
  const state = (more: object) => ({ state: { ...FOLLOWS, ...more } as CandidateState })
  for (const [what, more, problem] of [
    ['is none if it works', {}, undefined],
    [
      'is its end before all others',
      state({ ending: { code: 1, reason: 'it ends' }, writeProblem: 'w' }),
      ['end', 'it ends'],
    ],
    [
      'is a write that fails before a read',
      state({ writeProblem: 'w', readProblem: 'r', watchProblem: 'x' }),
      ['lease', 'w'],
    ],
    ['is a read that fails before the watch', state({ readProblem: 'r', watchProblem: 'x' }), ['lease', 'r']],
    [
      'is a refused grant',
      { workload: { ...whole.workload, refusedGrant: 'no' }, handover: 'h' },
      ['grant', 'no'],
    ],
  ] as [string, Partial<ReplicaFacts>, unknown][])
    test(what, () => assert.deepEqual(first(more), problem))

  test('is a launcher that has not connected within a minute', () => {
    const workload = { ...whole.workload, launcherSeen: false }
    assert.equal(first({ workload, sinceStartMs: 59_999 }), undefined)
    assert.equal(first({ workload, sinceStartMs: 60_000 })?.[0], 'launcher')
  })
})
