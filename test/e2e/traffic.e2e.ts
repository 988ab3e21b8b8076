import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { ENDPOINT_SLICE, POD } from '../../agent/kube/objects.ts'
import { connectLeaseApi } from '../../agent/lease/connect.ts'
import { openConnections } from '../../agent/supervisor/connections.ts'
import { CLOSED_WITHIN_MS } from '../../agent/traffic/traffic.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { podObstacle } from '../harness/pod.ts'
import { FAST } from '../harness/replica.ts'
import { mono, until } from '../harness/wait.ts'
import { type Mode, ROLE, SLICE, TrafficScene } from './traffic-scene.ts'

const MODES: readonly Mode[] = ['label', 'slice']
const VERBS = { label: ['get', 'list', 'patch'], slice: ['get', 'update'] } as const
const LATER_MS = 5_000
/** Longer than the wait for the API server, shorter than the drain. */
const SLOW_MS = 1_500

/** Time enough for this test to hear of a write before whoever wrote, and some requests of it within the wait. */
const ANSWERS_LATER_MS = 300

/** Where somebody must not lose the Lease because the machine is busy. */
const UNHURRIED = { flags: ['--preset=fast'] }

let plane: ControlPlane

before(async () => {
  plane = await startControlPlane()
})

after(() => plane?.close())

for (const mode of MODES) {
  describe(`--traffic=${mode} on a real API server`, { concurrency: 3 }, () => {
    test('a handover takes traffic away before LangFlow stops, and leads it on once the next one is healthy', async (t) => {
      const scene = await TrafficScene.start(t, plane, mode)
      const a = await scene.replica('a')
      await scene.opened('a')
      await a.event('serving')
      const b = await scene.replica('b')
      await b.event('standby_ready')
      const from = scene.objects.versions.length

      const slow = fetch(`http://127.0.0.1:${a.port}/slow=${SLOW_MS}`)
      await until('the request is being answered', async () => (openConnections(a.port) ?? []).length > 0)
      a.signal('SIGTERM')
      const closed = await scene.closed('a', from)
      assert.equal((await slow).status, 200)
      const opened = await scene.opened('b', from)
      await b.event('serving')
      assert.equal((await a.exited).code, 0)

      const stop = scene.beats().find(({ replica, what }) => replica === 'a' && what === 'stop')
      const start = scene.beats().find(({ replica, what }) => replica === 'b' && what === 'start')
      assert.ok(stop && start)
      assert.ok(closed.at < stop.mono, `closed ${closed.at - stop.mono} ms after LangFlow was told to stop`)
      assert.ok(opened.at > start.mono, 'opened before LangFlow ran')
      assert.ok(
        scene.history().every((pods) => pods.length <= 1),
        JSON.stringify(scene.history()),
      )
      assert.equal((await b.status()).traffic.routedTo, 'b')
    })

    test('a handover without time to drain stops LangFlow once traffic is known to be taken away', async (t) => {
      const scene = await TrafficScene.start(t, plane, mode)
      const flags = [...FAST, '--drain-timeout=0s']
      const a = await scene.replica('a', { flags }, ({ link }) =>
        link.flow({ toClient: { delayMs: ANSWERS_LATER_MS } }),
      )
      await scene.opened('a')
      const from = scene.objects.versions.length
      const told = mono()
      a.signal('SIGTERM')
      const closed = await scene.closed('a', from)
      assert.equal((await a.exited).code, 0)
      const stop = scene.beats().find(({ what }) => what === 'stop')
      assert.ok(stop)
      assert.ok(closed.at < stop.mono, `closed ${closed.at - stop.mono} ms after LangFlow was told to stop`)
      assert.ok(
        stop.mono - told >= ANSWERS_LATER_MS,
        `stopped after ${stop.mono - told} ms, before any answer`,
      )
    })

    test('a leader that freezes as a whole loses traffic to the next one, and takes nothing back', async (t) => {
      const scene = await TrafficScene.start(t, plane, mode)
      const a = await scene.replica('a', UNHURRIED)
      await a.event('serving')
      await scene.opened('a')
      const b = await scene.replica('b', UNHURRIED)
      await b.event('standby_ready')
      const from = scene.objects.versions.length
      const [agent, launcher, workload] = [a.pid, a.launcherPid(), a.workloadPid()]
      for (const pid of [agent, launcher, workload]) process.kill(pid, 'SIGSTOP')
      t.after(() => a.signal('SIGCONT'))
      await b.event('acquired')
      await scene.closed('a', from)
      await scene.opened('b', from)
      // LangFlow itself stays frozen: its launcher wakes up to find the grant over, and kills it.
      for (const pid of [launcher, agent]) process.kill(pid, 'SIGCONT')
      await a.event('lost')
      const seen = new Set<string>()
      await until('the former leader has nothing left to tell', async () => {
        const { traffic, problem, lease } = await a.status()
        seen.add(JSON.stringify({ holder: lease.holder, traffic, problem }))
        return problem === null && traffic.routedTo === (mode === 'label' ? '' : 'b')
      }).catch((error: Error) => assert.fail(`${error.message}: ${[...seen].join('; ')}`))
      assert.deepEqual(scene.history().at(-1), ['b'])
      assert.ok(
        scene.history().every((pods) => pods.length <= 1),
        JSON.stringify(scene.history()),
      )
    })

    test('an agent that is restarted beside a leader that goes on changes nothing', async (t) => {
      const obstacle = podObstacle()
      if (obstacle !== undefined) return t.skip(obstacle)
      const scene = await TrafficScene.start(t, plane, mode)
      // With the default timings: a restart on a busy machine takes longer than a fast lease lasts.
      const a = await scene.pod('a', { flags: [] })
      await a.agent.event('serving')
      await scene.opened('a')
      a.agent.signal('SIGKILL')
      await a.agent.exited
      const versions = scene.objects.versions.length
      a.startAgent()
      await a.agent.event('serving')
      await until('its agent knows where traffic is led to', async () => {
        const { traffic } = await a.status()
        return traffic.routedTo === 'a'
      })
      assert.equal(scene.objects.versions.length, versions)
    })

    test('a dead leader’s pod is out of traffic when the next term begins, before its LangFlow is healthy', async (t) => {
      const scene = await TrafficScene.start(t, plane, mode)
      const a = await scene.replica('a', UNHURRIED)
      await scene.opened('a')
      const b = await scene.replica('b', UNHURRIED)
      await b.event('standby_ready')
      const from = scene.objects.versions.length
      for (const pid of [a.workloadPid(), a.launcherPid(), a.pid]) process.kill(pid, 'SIGKILL')
      const closed = await scene.closed('a', from)
      const opened = await scene.opened('b', from)
      assert.ok(closed.object !== opened.object && closed.at <= opened.at)
    })

    test('what somebody edits is put right by the leader', async (t) => {
      const scene = await TrafficScene.start(t, plane, mode)
      await scene.replica('a')
      await scene.opened('a')
      const from = scene.objects.versions.length
      if (mode === 'label') await scene.kubectl('label', 'pod', 'a', `${ROLE}-`)
      else await scene.kubectl('patch', 'endpointslice', SLICE, '--type=merge', '-p', '{"endpoints":[]}')
      await scene.closed('a', from)
      await scene.opened('a', scene.objects.versions.length)
    })

    test('the API server is written to only when something changes', async (t) => {
      const scene = await TrafficScene.start(t, plane, mode)
      const a = await scene.replica('a')
      const opened = await scene.opened('a')
      const looks = async () => {
        const verb = mode === 'label' ? 'list' : 'get'
        const pattern = new RegExp(`api_requests_total\\{verb="${verb}",code="200"\\} (\\d+)`)
        return Number(pattern.exec((await a.get('/metrics')).text)?.[1] ?? 0)
      }
      const before = await looks()
      await until('the leader has looked again', async () => (await looks()) > before + 1)
      assert.equal(scene.objects.versions.at(-1)?.object, opened.object)
    })

    test('an API server that refuses to take traffic away holds a handover up for two seconds, and no longer', async (t) => {
      const scene = await TrafficScene.start(t, plane, mode)
      const a = await scene.replica('a')
      await scene.opened('a')
      const b = await scene.replica('b')
      await b.event('standby_ready')
      await scene.grant(mode === 'label' ? 'patch' : 'update')
      const told = mono()
      a.signal('SIGTERM')
      await b.event('serving')
      const stop = scene.beats().find(({ replica, what }) => replica === 'a' && what === 'stop')
      assert.ok(stop)
      const waited = stop.mono - told
      assert.ok(waited >= CLOSED_WITHIN_MS && waited < CLOSED_WITHIN_MS + 3_000, `${waited} ms`)
    })

    for (const verb of VERBS[mode]) {
      test(`without the right to ${verb} /status says so, and it goes on once that is granted`, async (t) => {
        const scene = await TrafficScene.start(t, plane, mode, { without: verb })
        const a = await scene.replica('a')
        await a.event('serving')
        const what = mode === 'label' ? 'pods' : 'endpointslices.discovery.k8s.io'
        const pattern = new RegExp(
          `ServiceAccount "[^"]+" may not "${verb}" ${what} .*add the verb to its Role`,
        )
        await until(`the missing right is told`, async () => pattern.test((await a.status()).problem ?? ''))
        assert.equal((await a.get('/readyz')).status, 200, 'its own gate does not depend on it')
        await scene.grant()
        await scene.opened('a')
        await until('the problem is over', async () => (await a.status()).problem === null)
      })
    }
  })
}

describe('--traffic=slice', () => {
  test('without its EndpointSlice says what to apply, also on a standby', async (t) => {
    const scene = await TrafficScene.start(t, plane, 'slice', { slice: false })
    const [a, b] = [await scene.replica('a'), await scene.replica('b')]
    for (const replica of [a, b]) {
      await replica.event('campaigning')
      await until('the absence is told', async () =>
        /there is no EndpointSlice "langflow-leader".*deploy\/components\/traffic-slice/.test(
          (await replica.status()).problem ?? '',
        ),
      )
    }
    await scene.applySlice()
    await Promise.race([scene.opened('a'), scene.opened('b')])
  })

  test('applying the manifest again does not take traffic from the leader', async (t) => {
    const scene = await TrafficScene.start(t, plane, 'slice')
    await scene.replica('a')
    const { object } = await scene.opened('a')
    await scene.applySlice()
    assert.equal(scene.objects.versions.at(-1)?.object, object)
  })
})

describe('the API server', () => {
  test('carries out no write on another version, and no patch on another pod of that name', async (t) => {
    const scene = await TrafficScene.start(t, plane, 'slice')
    await scene.kubectl('run', 'x', '--image=x')
    const { objects, api } = await connectLeaseApi({
      name: 'lock',
      namespace: scene.namespace,
      kubeconfig: plane.adminKubeconfig,
      clock: systemClock,
      userAgent: 'test',
    })
    t.after(() => api.close())
    const here = Object.assign(await objects(), { namespace: scene.namespace })
    t.after(() => here.close())
    const { uid, resourceVersion } = (await here.get(POD, 'x', LATER_MS)).metadata
    const patch = (metadata: { uid: string; resourceVersion: string }) =>
      here.patch(POD, 'x', { metadata: { ...metadata, labels: { touched: 'yes' } } }, LATER_MS)
    await assert.rejects(patch({ uid, resourceVersion: '1' }), { code: 'conflict' })
    await assert.rejects(patch({ uid: '00000000-0000-0000-0000-000000000000', resourceVersion }), {
      code: 'invalid',
    })
    assert.equal((await here.get(POD, 'x', LATER_MS)).metadata.resourceVersion, resourceVersion)
    const slice = await here.get(ENDPOINT_SLICE, SLICE, LATER_MS)
    const metadata = { ...slice.metadata, resourceVersion: '1' }
    await assert.rejects(here.update(ENDPOINT_SLICE, { ...slice, metadata, endpoints: [] }, LATER_MS), {
      code: 'conflict',
    })
  })
})
