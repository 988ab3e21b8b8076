import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { ENDPOINT_SLICE, POD } from '../../agent/kube/objects.ts'
import { connectLeaseApi } from '../../agent/lease/lease-api.ts'
import { openConnections } from '../../agent/supervisor/connections.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { until } from '../harness/wait.ts'
import { type Mode, SLICE, TrafficScene } from './traffic-scene.ts'

const MODES: readonly Mode[] = ['label', 'slice']
const LATER_MS = 5_000
/** Longer than the wait for the API server, shorter than the drain. */
const SLOW_MS = 1_500

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

    test('without a right /status says so, and it goes on once that is granted', async (t) => {
      const [verb, what] =
        mode === 'label' ? ['patch', 'pods'] : ['update', 'endpointslices.discovery.k8s.io']
      const scene = await TrafficScene.start(t, plane, mode, verb)
      const a = await scene.replica('a')
      await a.event('serving')
      const pattern = new RegExp(
        `ServiceAccount "[^"]+" may not "${verb}" ${what} .*add the verb to its Role`,
      )
      await until(`the missing right is told`, async () => pattern.test((await a.status()).problem ?? ''))
      assert.equal((await a.get('/readyz')).status, 200, 'its own gate does not depend on it')
      await scene.grant()
      await scene.opened('a')
      await until('the problem is over', async () => (await a.status()).problem === null)
    })
  })
}

describe('--traffic=slice', () => {
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
