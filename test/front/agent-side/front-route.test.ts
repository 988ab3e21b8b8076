import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { CandidateState } from '../../../agent/election/state.ts'
import { leaderFault, routeOf, silenceFault } from '../../../agent/front/agent-side/front-route.ts'
import type { FrontRoute } from '../../../agent/front/front-messages.ts'
import type { Lease } from '../../../agent/lease/lease.ts'
import { Candidate, CONFIG, heldBy, released } from '../../election/candidate.ts'

type RouteRow = [what: string, state: CandidateState, open: boolean, route: FrontRoute]

const own = { address: '10.0.0.1:8091', key: 'own-key' }

function follower(lease: Lease | null): CandidateState {
  return Candidate.follower().sees(lease).state
}

function noted(note: string, holder = 'other-1_uid', lease = heldBy(holder, 50)): Lease {
  return { ...lease, metadata: { ...lease.metadata, annotations: { 'langflow-leader/front': note } } }
}

const leader = Candidate.leader({ front: own })
const doubtAt = leader.mono + CONFIG.renewDeadlineMs
/** A leader that steps down. `well`: LangFlow served at that moment. */
function stepping(well: boolean): Candidate {
  const stepDown = { type: 'step_down', code: 'newer_revision', reason: 'a test' } as const
  return Candidate.leader({ front: own }).workload({ well }).dispatch(stepDown)
}
const drained = leader.mono + CONFIG.drainTimeoutMs
const CLOSES = { to: 'langflow', epoch: 4, key: 'own-key', until: doubtAt, untilQuiet: false } as const
function waiting(): Candidate {
  const leading = Candidate.leader({ front: own, quietTimeoutMs: 30_000 }).workload({ well: true })
  return leading.dispatch({ type: 'terminate', reason: 'SIGTERM' })
}
const ended = Candidate.leader({ front: own }).dispatch({ type: 'terminate', reason: 'SIGTERM' })
ended.acknowledge().workload({ alive: 'no', canRun: true }).acknowledge()
const lost = Candidate.leader({ front: own }).sees(
  noted('5 10.0.0.2:8091 key', 'other-1_uid', heldBy('x', 150, { leaseTransitions: 5 })),
)

function held(epoch: number): FrontRoute {
  return { to: 'nobody', epoch, key: null }
}
const REACHED: FrontRoute = { to: 'leader', epoch: 3, key: 'key', address: '10.0.0.2:8091' }

/** A row whose route holds requests in epoch 3. */
const holds = (what: string, state: CandidateState): RouteRow => [what, state, false, held(3)]

describe('the route of the front', () => {
  for (const [what, state, open, route] of [
    [
      'goes to LangFlow until the renew deadline while the gate is open',
      leader.state,
      true,
      { ...CLOSES, closing: null },
    ],
    [
      'goes to LangFlow until a quiet moment',
      waiting().state,
      true,
      { ...CLOSES, closing: null, untilQuiet: true },
    ],
    [
      'closes immediately after a quiet moment',
      waiting().dispatch({ type: 'quiet' }).state,
      false,
      { ...CLOSES, closing: leader.mono },
    ],
    [
      'ends here while the gate is closed: requests of other fronts are held as well',
      leader.state,
      false,
      { to: 'nobody', epoch: 4, key: 'own-key' },
    ],
    [
      'goes to LangFlow during the drain of a step-down, and closes at the drain deadline',
      stepping(true).state,
      false,
      { ...CLOSES, closing: drained },
    ],
    [
      'closes immediately in a step-down if LangFlow does not serve',
      stepping(false).state,
      false,
      { ...CLOSES, closing: leader.mono },
    ],
    [
      'ends here while LangFlow is being stopped, even if the gate is open',
      stepping(true).dispatch({ type: 'drained' }).state,
      true,
      { to: 'nobody', epoch: 4, key: 'own-key' },
    ],
    ["goes to the leader's front", follower(noted('3 10.0.0.2:8091 key')), false, REACHED],
    [
      "goes to the new leader's front after the Lease was lost to it",
      lost.state,
      false,
      { ...REACHED, epoch: 5 },
    ],
    [
      'goes to the front of the leader after this replica has ended',
      ended.sees(noted('3 10.0.0.2:8091 key', '', heldBy('x', 999))).state,
      false,
      REACHED,
    ],
    ['holds before the Lease was seen', Candidate.follower().state, false, held(0)],
    ['holds if the Lease is absent', follower(null), false, held(0)],
    holds('holds if no replica leads', follower(released(50))),
    holds('holds if no replica leads and the annotation is left', follower(noted('3 10.0.0.2:8091 key', ''))),
    holds('holds if the leader writes no address', follower(heldBy('other', 50))),
    holds('holds if an earlier agent of this replica leads', follower(noted('3 10.0.0.9:8091 old', 'me'))),
    holds('holds if the leader’s front has the address of this one', follower(noted('3 10.0.0.1:8091 key'))),
  ] as RouteRow[])
    test(what, () => {
      assert.deepEqual(routeOf({ state, open, own, config: CONFIG }), route)
    })

  for (const note of [
    ...['2 10.0.0.2:8091 key', '3 closing', '3 10.0.0.2:8091', '3 10.0.0.2:8091 key more'],
    ...['3 10.0.0.2:99999 key', '3 10.0.0.2:0 key', '3 10.0.0.2 key', '3 evil.example/..:80 key'],
    ...['3 :8091 key', '3 10.0.0.2:80@x:1 key', '3 http://10.0.0.2:8091 key', '3 [10.0.0.2]:8091 key'],
    ...['3 10.0.0.2:8091 k\u00e9y', '3 10.0.0.2:8091 k\r\ny', '03 10.0.0.2:8091 key'],
    ...['3.0 10.0.0.2:8091 key', ' 10.0.0.2:8091 key'],
  ])
    test(`holds if the annotation is ${JSON.stringify(note)}`, () => {
      assert.deepEqual(routeOf({ state: follower(noted(note)), open: false, own, config: CONFIG }), held(3))
    })
})

describe('the fault of a leader’s front', () => {
  for (const [what, state, fault] of [
    ['is a missing address', follower(heldBy('other-1_uid', 50)), /^other-1 leads without a front/],
    ['does not exist if the leader writes its address', follower(noted('3 10.0.0.2:8091 key')), null],
    ['does not exist if the front is closing', follower(noted('3 closing')), null],
    ['does not exist if no replica leads', follower(released(50)), null],
    ['does not exist if this replica leads', leader.state, null],
    ['does not exist if an earlier agent of this replica leads', follower(heldBy('me', 50)), null],
  ] as [string, CandidateState, RegExp | null][])
    test(what, () => {
      const found = leaderFault({ state, config: CONFIG })
      if (fault === null) assert.equal(found, null)
      else assert.match(found ?? '', fault)
    })
})

describe("a leader's front that does not answer", () => {
  const watched = Candidate.follower().sees(noted('3 10.0.0.2:8091 key'))
  const renewedAt = watched.state.seen?.changedAt as number
  for (const [what, state, silentMs, afterMs, fault] of [
    ['is unreachable if the leader renewed after 5 s of silence', watched.state, 5_000, 0, true],
    ['is not unreachable before 5 s of silence', watched.state, 4_999, 4_999, false],
    ['is unreachable until the leader is in doubt', watched.state, 9_000, CONFIG.renewDeadlineMs - 1, true],
    [
      'is not unreachable while the leader is in doubt, since requests wait for its successor',
      watched.state,
      9_000,
      CONFIG.renewDeadlineMs,
      false,
    ],
    ['is not unreachable if this replica leads', leader.state, 9_000, 0, false],
  ] as [string, CandidateState, number, number, boolean][])
    test(what, () => {
      const silence = { address: '10.0.0.2:8091', since: renewedAt - silentMs, because: 'a test' }
      const faultOf = (one: typeof silence | null) =>
        silenceFault({ state, config: CONFIG }, one, renewedAt + afterMs)
      assert.deepEqual([faultOf(silence) !== null, faultOf(null)], [fault, null])
    })
})
