import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ElectionState } from '../../agent/election/state.ts'
import type { FrontRoute } from '../../agent/front/front-messages.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import { isUnreachable, leaderFault, routeOf } from '../../agent/traffic/front-traffic.ts'
import { Candidate, CONFIG, heldBy, released } from '../election/candidate.ts'

const own = { address: '10.0.0.1:8091', key: 'own-key' }

function follower(lease: Lease | null): ElectionState {
  return Candidate.follower().sees(lease).state
}

/** Held by another in epoch 3. */
function noted(note: string, holder = 'other-1_uid', lease = heldBy(holder, 50)): Lease {
  return { ...lease, metadata: { ...lease.metadata, annotations: { 'langflow-leader/front': note } } }
}

const leader = Candidate.leader({ front: own })
const doubtAt = leader.mono + CONFIG.renewDeadlineMs
/** `well`: LangFlow served when it began. */
function stepping(well: boolean): Candidate {
  const stepDown = { type: 'step_down', code: 'newer_revision', reason: 'a test' } as const
  return Candidate.leader({ front: own }).workload({ well }).tell(stepDown)
}
const drained = leader.mono + CONFIG.drainTimeoutMs
const CLOSES = { to: 'langflow', epoch: 4, key: 'own-key', until: doubtAt } as const
const ended = Candidate.leader({ front: own }).tell({ type: 'terminate', reason: 'SIGTERM' })
ended.acknowledge().workload({ alive: 'no', canRun: true }).acknowledge()
const lost = Candidate.leader({ front: own }).sees(
  noted('5 10.0.0.2:8091 key', 'other-1_uid', heldBy('x', 150, { leaseTransitions: 5 })),
)

function held(epoch: number): FrontRoute {
  return { to: 'nobody', epoch, key: null }
}
const REACHED: FrontRoute = { to: 'leader', epoch: 3, key: 'key', address: '10.0.0.2:8091' }

describe('the route of a front', () => {
  for (const [what, state, open, route] of [
    [
      'goes to LangFlow up to the renew deadline while the gate is open',
      leader.state,
      true,
      { ...CLOSES, closing: null },
    ],
    [
      'ends here while the gate is closed: what other fronts send is held as well',
      leader.state,
      false,
      { to: 'nobody', epoch: 4, key: 'own-key' },
    ],
    [
      'closes in a step down until the drain is over, although the gate is closed',
      stepping(true).state,
      false,
      { ...CLOSES, closing: drained },
    ],
    [
      'closes at once in a step down in which LangFlow serves nobody',
      stepping(false).state,
      false,
      { ...CLOSES, closing: leader.mono },
    ],
    [
      'ends here while LangFlow is being stopped, whatever the gate says',
      stepping(true).tell({ type: 'drained' }).state,
      true,
      { to: 'nobody', epoch: 4, key: 'own-key' },
    ],
    ["goes to the leader's front", follower(noted('3 10.0.0.2:8091 key')), false, REACHED],
    [
      "goes to the new leader's front where the Lease was lost to it",
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
    ['holds where the Lease was not seen yet', Candidate.follower().state, false, held(0)],
    ['holds where there is no Lease', follower(null), false, held(0)],
    ['holds where nobody leads', follower(released(50)), false, held(3)],
    [
      'holds where nobody leads and a note is left',
      follower(noted('3 10.0.0.2:8091 key', '')),
      false,
      held(3),
    ],
    ['holds where the leader says nothing', follower(heldBy('other', 50)), false, held(3)],
    ['holds where the leader left what another said', follower(noted('2 10.0.0.2:8091 key')), false, held(3)],
    ['holds where the leader closes', follower(noted('3 closing')), false, held(3)],
    ['holds where what is said cannot be read', follower(noted('3 10.0.0.2:8091')), false, held(3)],
    ['holds where too much is said', follower(noted('3 10.0.0.2:8091 key more')), false, held(3)],
    ...[
      ...[
        '10.0.0.2:99999 key',
        '10.0.0.2:0 key',
        '10.0.0.2 key',
        'evil.example/..:80 key',
        '10.0.0.2:80@x:1 key',
      ],
      ...[
        'http://10.0.0.2:8091 key',
        '[10.0.0.2]:8091 key',
        ':8091 key',
        '10.0.0.2:8091 k\u00e9y',
        '10.0.0.2:8091 k\r\ny',
      ],
    ].map((said) => [
      `holds where ${JSON.stringify(said)} is said`,
      follower(noted(`3 ${said}`)),
      false,
      held(3),
    ]),
    [
      'holds where an earlier agent of this replica leads',
      follower(noted('3 10.0.0.9:8091 old', 'me')),
      false,
      held(3),
    ],
    [
      'holds where the leader has the address of this one',
      follower(noted('3 10.0.0.1:8091 key')),
      false,
      held(3),
    ],
  ] as [string, ElectionState, boolean, FrontRoute][])
    test(what, () => {
      assert.deepEqual(routeOf({ state, open, own, config: CONFIG }), route)
    })

  test('does not go to a leader whose note names an epoch that only looks the same', () => {
    for (const note of ['03 10.0.0.2:8091 key', '3.0 10.0.0.2:8091 key', ' 10.0.0.2:8091 key'])
      assert.deepEqual(routeOf({ state: follower(noted(note)), open: false, own, config: CONFIG }), held(3))
  })
})

describe('a leader whose front cannot be reached', () => {
  for (const [what, state, fault] of [
    [
      'is one that says nothing',
      follower(heldBy('other-1_uid', 50)),
      /^other-1 leads and does not say where its front is/,
    ],
    [
      'has the address of this one',
      follower(noted('3 10.0.0.1:8091 key')),
      /^other-1 leads .*\(10\.0\.0\.1:8091\): .*--front-address$/,
    ],
    ['is none that says it', follower(noted('3 10.0.0.2:8091 key')), null],
    ['is none that closes', follower(noted('3 closing')), null],
    ['is not nobody', follower(released(50)), null],
    ['is not this one', leader.state, null],
    ['is not an earlier agent of this one', follower(heldBy('me', 50)), null],
  ] as [string, ElectionState, RegExp | null][])
    test(what, () => {
      const said = leaderFault({ state, own, config: CONFIG })
      if (fault === null) assert.equal(said, null)
      else assert.match(said ?? '', fault)
    })
})

describe("a leader's front that answers nothing", () => {
  const watched = Candidate.follower().sees(noted('3 10.0.0.2:8091 key'))
  const renewedAt = watched.state.seen?.changedAt as number
  for (const [what, state, silentMs, afterMs, unreachable] of [
    ['is unreachable once the leader has renewed after 5 s of it', watched.state, 5_000, 0, true],
    ['is not before', watched.state, 4_999, 4_999, false],
    ['is up to the doubt of the leader', watched.state, 9_000, CONFIG.renewDeadlineMs - 1, true],
    [
      'is no fault of a leader in doubt, for which requests wait',
      watched.state,
      9_000,
      CONFIG.renewDeadlineMs,
      false,
    ],
    ["is not this replica's own", leader.state, 9_000, 0, false],
  ] as [string, ElectionState, number, number, boolean][])
    test(what, () => {
      const unheard = { address: '10.0.0.2:8091', since: renewedAt - silentMs, because: 'a test' }
      assert.equal(isUnreachable({ state, config: CONFIG }, unheard, renewedAt + afterMs), unreachable)
      assert.equal(isUnreachable({ state, config: CONFIG }, null, renewedAt + afterMs), false)
    })
})
