import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ElectionState } from '../../agent/election/state.ts'
import type { FrontCounts, FrontRoute, Unheard } from '../../agent/front/front-messages.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import { FrontTraffic, isUnreachable, leaderFault, routeOf } from '../../agent/traffic/front-traffic.ts'
import { Candidate, CONFIG, heldBy, released } from '../election/candidate.ts'
import { settled, VirtualClock } from '../harness/virtual-clock.ts'

const own = { address: '10.0.0.1:8091', key: 'own-key' }

class Scene {
  readonly clock = new VirtualClock()
  state: ElectionState = Candidate.leader({ front: own }).state
  changed = (): void => {}
  /** What the process was told, and what it has to say. */
  readonly routes: FrontRoute[] = []
  readonly acknowledged: (() => void)[] = []
  readonly ends: number[] = []
  readonly process = {
    listening: true,
    problem: null as string | null,
    counts: null as FrontCounts | null,
    unheard: null as Unheard | null,
    follow: (route: FrontRoute): Promise<void> => {
      this.routes.push(route)
      const { promise, resolve } = Promise.withResolvers<void>()
      this.acknowledged.push(resolve)
      return promise
    },
    end: async (until: number) => {
      this.ends.push(until)
    },
  }
  readonly traffic = new FrontTraffic({
    process: (changed) => {
      this.changed = changed
      return this.process
    },
    own,
    config: CONFIG,
    lingerMs: 2_000,
    endMs: 32_000,
    clock: this.clock,
    listener: { state: () => this.state, changed: () => {} },
  })
}

test('traffic by a front settles once that follows what is wanted last', async () => {
  const scene = new Scene()
  const { traffic, acknowledged } = scene
  assert.deepEqual([traffic.settling, traffic.view.routedTo], [null, null])
  traffic.follow(true)
  traffic.follow(false)
  const { settling } = traffic
  assert.ok(settling)
  acknowledged[0]?.()
  await settled()
  assert.equal(traffic.settling, settling)
  acknowledged[1]?.()
  await settling
  assert.equal(traffic.settling, null)
  assert.deepEqual(
    scene.routes.map(({ to }) => to),
    ['langflow', 'nobody'],
  )
})

test('a front is told nothing where nothing changes', () => {
  const { traffic, routes } = new Scene()
  for (let n = 0; n < 3; n++) traffic.follow(true)
  assert.equal(routes.length, 1)
})

test('a front is seen in the view: to whom, what is wrong, and what it does', () => {
  const scene = new Scene()
  const { traffic, process } = scene
  traffic.follow(true)
  assert.deepEqual([traffic.view.routedTo, traffic.view.problem], ['me', null])
  assert.equal(traffic.view.front?.held, 0)
  const counts = { held: 7, failed: { hold_limit: 1 } } as unknown as FrontCounts
  Object.assign(process, { listening: false, problem: 'the front has ended (SIGKILL)', counts })
  assert.deepEqual(traffic.view, {
    routedTo: 'me',
    problem: 'the front has ended (SIGKILL)',
    front: { listening: false, ...counts, unreachable: null },
  })
  Object.assign(process, { listening: true, problem: null })
  scene.state = Candidate.follower().sees(heldBy('other-1_uid', 50)).state
  traffic.follow(false)
  assert.equal(traffic.view.routedTo, '')
  assert.match(traffic.view.problem ?? '', /^other-1 leads and does not say where its front is/)
  const lease = heldBy('other-1_uid', 51)
  const annotations = { 'langflow-leader/front': '3 10.0.0.2:8091 key' }
  scene.state = Candidate.follower().sees({ ...lease, metadata: { ...lease.metadata, annotations } }).state
  const since = (scene.state.seen?.changedAt ?? 0) - 5_000
  process.unheard = { address: '10.0.0.2:8091', since, because: 'connect ECONNREFUSED' }
  assert.equal(traffic.view.front?.unreachable, '10.0.0.2:8091')
  assert.match(
    traffic.view.problem ?? '',
    /^the leader's front at 10\.0\.0\.2:8091 does not answer \(connect ECONN/,
  )
})

test('a front ends once others can have heard that its pod does, or at once in a hurry', async () => {
  const { traffic, clock, ends } = new Scene()
  const until = clock.mono() + 32_000
  const closed = traffic.close(new Promise(() => {}))
  await clock.pass(1_999)
  assert.deepEqual(ends, [])
  await clock.pass(1)
  await closed
  assert.deepEqual(ends, [until])
  const hurried = new Scene()
  await hurried.traffic.close(Promise.resolve())
  assert.equal(hurried.ends.length, 1)
})

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
