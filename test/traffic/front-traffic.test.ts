import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { ElectionState } from '../../agent/election/state.ts'
import type { FrontCounts, FrontRoute, Unheard } from '../../agent/front/front-messages.ts'
import { FrontTraffic } from '../../agent/traffic/front-traffic.ts'
import { Candidate, CONFIG, heldBy } from '../election/candidate.ts'
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
