import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { later } from '../../agent/clock.ts'
import type { CandidateState } from '../../agent/election/state.ts'
import { LANGFLOW } from '../../agent/lease/lease.ts'
import {
  COLD,
  NOTHING,
  type StandbyView,
  UNKNOWN_DIGESTS,
  type WorkloadState,
} from '../../agent/link/link-messages.ts'
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
} from '../../agent/replica/gate.ts'
import { problemOf } from '../../agent/replica/problems.ts'
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

function facts(state: CandidateState, workload: WorkloadState, its: Case = {}) {
  const { epoch = 4, standby, healthy = true, afterMs = 0, ready = 0, revision = null, peers = [] } = its
  const view = { ...NOTHING, state: workload, epoch, standby: { ...COLD, ...standby } }
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
      refusedGrant: null,
      served: true,
      canRun: workload === 'idle',
      healthy,
      lastProbe: null,
      busy: null,
      digests: UNKNOWN_DIGESTS,
    },
  }
}

describe('a replica', () => {
  const DOUBT_OVER = { epoch: 2, ...IN_DOUBT }
  for (const [what, ready, could, state, workload, more] of [
    ['is ready if it leads and its workload runs in the same term', true, true, LEADS, 'running'],
    ['is not ready if its workload is of another term', false, false, LEADS, 'running', { epoch: 3 }],
    ['is not ready if a check fails', false, false, LEADS, 'running', { healthy: false }],
    ['is ready until the renew deadline', true, true, LEADS, 'running', { afterMs: 9_999 }],
    ['could serve, but is not ready, in doubt', false, true, LEADS, 'running', IN_DOUBT],
    ['could serve in doubt while its workload is frozen', false, true, LEADS, 'frozen', IN_DOUBT],
    ['could not serve in doubt with a workload of another term', false, false, LEADS, 'frozen', DOUBT_OVER],
    ['could not serve in doubt while its workload is stopping', false, false, LEADS, 'stopping', IN_DOUBT],
    ['could not serve in doubt while it steps down', false, false, STEPS_DOWN, 'frozen', IN_DOUBT],
  ] as [string, boolean, boolean, CandidateState, WorkloadState, Case?][])
    test(what, () => {
      const its = facts(state, workload, more)
      assert.deepEqual([isReady(its), couldServe(its)], [ready, could])
      assert.equal(isInDoubt(its), more?.afterMs === IN_DOUBT.afterMs)
    })

  test('could not take over with files from which LangFlow would not start', () => {
    const its = facts(FOLLOWS, 'idle')
    const content = { digest: 'c2', since: 0, running: null, startedAt: 0, earlier: [], problem: 'broken' }
    for (const unfit of [true, false]) {
      const digests = { ...UNKNOWN_DIGESTS, content: { ...content, unfit } }
      assert.equal(
        takeoverObstacle({ ...its, workload: { ...its.workload, digests } }),
        unfit ? 'broken' : null,
      )
    }
  })

  const now = LEADER.mono
  const refused = { writeRight: { ...FOLLOWS.writeRight, state: 'refused' } } as Partial<CandidateState>
  const tooOld = {
    seen: { lease: { metadata: { annotations: { [LANGFLOW]: '1.13.0' } } }, changedAt: 0, heldMs: 0 },
    workload: { ...FOLLOWS.workload, langflow: '1.12.8' },
  }
  const ready = { mode: 'warm', state: 'ready' } as const
  const preparing = { mode: 'warm', state: 'preparing' } as const
  const ending = { ending: { reason: 'SIGTERM', code: 0 } } as Partial<CandidateState>
  for (const [could, what, state, standby, workload] of [
    [true, 'with an idle launcher', {}, {}, 'idle'],
    [true, 'whose standby is ready', {}, ready, 'idle'],
    [true, 'whose cool-down is over', { coolDown: { until: now } }, {}, 'idle'],
    [false, 'whose cool-down lasts', { coolDown: { until: now + 1 } }, {}, 'idle'],
    [false, 'that has not seen the Lease', { seen: null, sightedAt: null }, {}, 'idle'],
    [false, 'that may not write the Lease', refused, {}, 'idle'],
    [false, 'whose LangFlow is too old', tooOld, {}, 'idle'],
    [false, 'that is terminating', ending, {}, 'idle'],
    [false, 'whose launcher is not idle', {}, {}, 'stopping'],
    [false, 'that still prepares its standby', {}, preparing, 'idle'],
  ] as [boolean, string, Partial<CandidateState>, Partial<StandbyView>, WorkloadState][])
    test(`${could ? 'could' : 'could not'} serve as a follower ${what}`, () => {
      const its = facts({ ...FOLLOWS, ...state } as CandidateState, workload, { standby })
      assert.deepEqual([isReady(its), couldServe(its), standsBy(its)], [false, could, could])
    })

  test('reports why its gate is closed while LangFlow is restarted in the same term', () => {
    const gateOf = (state: CandidateState) => checksOf(facts(state, 'running')).at(-1)
    const detail = 'closed: it lost its worker'
    const restarts = {
      ...LEADS,
      term: { ...LEADS.term!, stepDown: { reason: 'it lost its worker', inPlace: true } },
    } as CandidateState
    assert.deepEqual(gateOf(restarts), { name: 'gate', ok: false, detail })
    assert.ok(gateOf(LEADS)?.ok)
  })
})

describe('a replica of a new revision', () => {
  const FAILED = {
    revision: 'new',
    inputs: null,
    because: 'workload_exited',
    reason: 'exit code 1',
    attempts: 1,
  } as const
  const MINUTE_MS = 60_000
  const noted = (revisions: object) => ({
    revisionsSeenAt: LEADER.mono,
    noted: { ...FOLLOWS.noted, revisions: { proven: ['old'], langflow: null, failed: [], ...revisions } },
  })
  const follows = { ...FOLLOWS, ...noted({}) }
  const failed = { ...FOLLOWS, ...noted({ failed: [FAILED] }) }
  const refused = (attempts: number) => ({
    ...FOLLOWS,
    ...noted({ failed: [{ ...FAILED, because: 'start_refused', attempts }] }),
  })
  const proven = { ...FOLLOWS, ...noted({ proven: ['new', 'old'], failed: [FAILED] }) }
  const starts = { ...LEADS, ...noted({}), term: { ...LEADS.term!, trialUntil: 1e9 } } as CandidateState
  const serves = { ...LEADS, ...noted({}) } as CandidateState
  for (const [what, could, standby, state, workload, more] of [
    ['could take over, but is not Ready, if only an older one has served', false, true, follows, 'idle'],
    ['is not Ready during its first start', false, false, starts, 'starting'],
    ['is Ready once it serves', true, false, serves, 'running'],
    ['is Ready as a follower if another replica of its revision has served', true, true, proven, 'idle'],
    ['is Ready if no other revision has served', true, true, FOLLOWS, 'idle'],
    ['could not take over if the first start of its revision failed', false, false, failed, 'idle'],
    ...[
      [1, 1],
      [3, 4],
      [9, 60],
    ].flatMap(([attempts = 0, minutes = 0]) => [
      [
        `could not take over for ${minutes} min after attempt ${attempts} of its first start was refused`,
        false,
        false,
        refused(attempts),
        'idle',
        { afterMs: minutes * MINUTE_MS - 1 },
      ],
      [
        `could take over ${minutes} min after attempt ${attempts} of its first start was refused`,
        false,
        true,
        refused(attempts),
        'idle',
        { afterMs: minutes * MINUTE_MS },
      ],
    ]),
    ['is Ready without --peers', true, true, follows, 'idle', { peers: null }],
  ] as [string, boolean, boolean, CandidateState, WorkloadState, Case?][])
    test(what, () => {
      const its = facts(state, workload, { revision: 'new', ...more })
      const traffic = { routedTo: null, problem: null, front: { listening: true } as FrontView }
      const front = frontFault({ ...its, traffic } as unknown as ReplicaFacts)
      assert.deepEqual([couldServe(its), standsBy(its), front], [could, standby, onTrial(its)])
      assert.equal(front === null, could)
    })
})

describe('a front', () => {
  const SERVED = Candidate.leader().dispatch({ type: 'workload_healthy', took: null }).state
  const RESTARTS = {
    ...SERVED,
    term: { ...SERVED.term!, stepDown: { reason: 'it lost its worker', inPlace: true } },
  }
  const TAKEN_BACK = { ...LEADS, term: { ...LEADS.term!, record: null } }
  const ANOTHER = { ready: 1 }
  const LISTENS = { listening: true } as FrontView
  const DEAF = { listening: false } as FrontView
  const prepares = { standby: { mode: 'warm', state: 'preparing' } } as const
  for (const [accepts, what, state, workload, front, more, problem] of [
    [true, 'if its replica leads', LEADS, 'running', LISTENS],
    [true, 'while its replica leads and starts, if no other is ready', LEADS, 'starting', LISTENS],
    [false, 'while its replica leads and starts, if another is ready', LEADS, 'starting', LISTENS, ANOTHER],
    [true, 'in doubt after it has served', SERVED, 'frozen', LISTENS, { ...IN_DOUBT, ...ANOTHER }],
    [true, 'while LangFlow is restarted after it has served', RESTARTS, 'starting', LISTENS, ANOTHER],
    [true, 'if its replica has led since before its agent started', TAKEN_BACK, 'running', LISTENS, ANOTHER],
    [true, 'if its replica could take over', FOLLOWS, 'idle', LISTENS],
    [false, 'if its replica could not take over', FOLLOWS, 'idle', LISTENS, prepares],
    [false, 'if the leader has no usable front address', FOLLOWS, 'idle', LISTENS, {}, 'no address'],
    [false, 'until it listens', FOLLOWS, 'idle', DEAF],
    [false, 'if it cannot listen', LEADS, 'running', DEAF, {}, 'the port is taken'],
    [false, 'if it does not exist', LEADS, 'running', null],
  ] as [boolean, string, CandidateState, WorkloadState, FrontView | null, Case?, string?][])
    test(`${accepts ? 'accepts' : 'refuses'} clients ${what}`, () => {
      const traffic = { routedTo: null, problem: problem ?? null, front }
      const its = { ...facts(state, workload, more), traffic }
      const options = { ...its.options, traffic: { mode: 'readiness' } }
      const fault = frontFault({ ...its, options } as unknown as ReplicaFacts)
      assert.equal(fault === null, accepts)
      if (problem !== undefined) assert.equal(fault, problem)
    })

  test('that does not listen prevents its replica from being a standby', () => {
    const its = facts(FOLLOWS, 'idle')
    for (const front of [LISTENS, DEAF])
      assert.equal(standsBy({ ...its, traffic: { ...its.traffic, front } }), front.listening)
  })
})

describe('the problem of a replica', () => {
  const its = facts(FOLLOWS, 'idle') as unknown as ReplicaFacts
  const whole: ReplicaFacts = {
    ...its,
    options: { ...its.options, pod: { ...its.options.pod, owner: null } },
  }
  const first = (more: Partial<ReplicaFacts>) => problemOf({ ...whole, ...more })
  const state = (more: object) => ({ state: { ...FOLLOWS, ...more } as CandidateState })
  for (const [what, more, problem] of [
    ['is none if it works', {}, null],
    ['is its end first', state({ ending: { code: 1, reason: 'it ends' }, writeProblem: 'w' }), 'it ends'],
    ['is a write before a read', state({ writeProblem: 'w', readProblem: 'r', watchProblem: 'x' }), 'w'],
    ['is a read before the watch', state({ readProblem: 'r', watchProblem: 'x' }), 'r'],
    [
      'is that LangFlow is busy',
      { workload: { ...whole.workload, busy: { ms: 12_400, cpuMs: 9_810 } } },
      'LangFlow is busy: no answer to /health for 12 s, 9.8 s of CPU in this time',
    ],
    ['is a refused grant', { workload: { ...whole.workload, refusedGrant: 'no' }, handover: 'h' }, 'no'],
  ] as [string, Partial<ReplicaFacts>, unknown][])
    test(what, () => assert.deepEqual(first(more), problem))
})
