import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { parse } from 'yaml'
import { systemClock } from '../../agent/clock.ts'
import { ENDPOINT_SLICE, type KubeObject, POD } from '../../agent/kube/objects.ts'
import { connectLeaseApi } from '../../agent/lease/lease-api.ts'
import { openConnections } from '../../agent/processes/port.ts'
import { DEPLOY } from '../deploy/manifests.ts'
import { ACCOUNT, type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { FAST, type ReplicaOptions } from '../harness/replica.ts'
import { ApiServerScene, type Place } from '../harness/scene.ts'
import { until } from '../harness/wait.ts'
import { type Version, type Watch, watchObjects } from '../harness/watch.ts'

type Mode = 'label' | 'slice'

const ROLE = 'langflow-leader/role'
const SLICE = 'langflow-leader'

interface Rule {
  readonly apiGroups: readonly string[]
  readonly resources: readonly string[]
  readonly resourceNames?: readonly string[]
  readonly verbs: readonly string[]
}

const COMPONENTS = join(DEPLOY, 'components')

/** What the component of a mode adds to the Role. */
function ruleOf(mode: Mode): Rule {
  const file = mode === 'label' ? 'traffic-label/pod-rights.yaml' : 'traffic-slice/slice-rights.yaml'
  const [patch] = parse(readFileSync(join(COMPONENTS, file), 'utf8')) as [{ value: Rule }]
  return patch.value
}

/** Each replica has a Pod object that nobody runs, and the rights of its mode. */
class TrafficScene extends ApiServerScene {
  readonly mode: Mode
  /** Of the objects that lead traffic. */
  readonly objects: Watch
  private addresses = 0

  private constructor(mode: Mode, objects: Watch, place: Place) {
    super(...place)
    this.mode = mode
    this.objects = objects
    this.atEnd(() => objects.close())
  }

  /** `without`: a verb that the Role lacks. */
  static async start(
    t: TestContext,
    plane: ControlPlane,
    mode: Mode,
    without?: string,
  ): Promise<TrafficScene> {
    const place = await ApiServerScene.place(plane)
    const of = `namespaces/${place[1]}`
    const path = mode === 'label' ? `/api/v1/${of}/pods` : `/apis/discovery.k8s.io/v1/${of}/endpointslices`
    const scene = new TrafficScene(mode, await watchObjects(plane, path), place)
    t.after(() => scene.close())
    await scene.grant(without)
    if (mode === 'slice') await scene.applySlice()
    return scene
  }

  /** Gives what the mode's component gives, less one verb. */
  async grant(without?: string): Promise<void> {
    const rule = ruleOf(this.mode)
    const rules = [{ ...rule, verbs: rule.verbs.filter((verb) => verb !== without) }]
    const metadata = { name: 'traffic' }
    const apiVersion = 'rbac.authorization.k8s.io/v1'
    const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'traffic' }
    const subjects = [{ kind: 'ServiceAccount', name: ACCOUNT, namespace: this.namespace }]
    await this.apply(
      { apiVersion, kind: 'Role', metadata, rules },
      { apiVersion, kind: 'RoleBinding', metadata, roleRef, subjects },
    )
  }

  async applySlice(): Promise<void> {
    const file = join(COMPONENTS, 'traffic-slice/endpoint-slice.yaml')
    await this.apply(parse(readFileSync(file, 'utf8')) as object)
  }

  /** The pods that traffic is led to by one version of an object. */
  leadsTo(object: KubeObject, name: string): boolean {
    if (this.mode === 'label')
      return object.metadata.name === name && object.metadata.labels?.[ROLE] === 'leader'
    const endpoints = (object.endpoints ?? []) as { targetRef?: { name: string } }[]
    return endpoints.some(({ targetRef }) => targetRef?.name === name)
  }

  opened(name: string, from = 0): Promise<Version> {
    return this.objects.next(`traffic to ${name}`, ({ object }) => this.leadsTo(object, name), from)
  }

  closed(name: string, from: number): Promise<Version> {
    const isClosed = ({ object }: Version) =>
      (this.mode === 'slice' || object.metadata.name === name) && !this.leadsTo(object, name)
    return this.objects.next(`the end of traffic to ${name}`, isClosed, from)
  }

  /** Which pods traffic is led to, after each version that was seen, one after the other. */
  history(): string[][] {
    const leads = new Map<string, boolean>()
    return this.objects.versions.map(({ object }) => {
      if (this.mode === 'slice') for (const name of ['a', 'b']) leads.set(name, this.leadsTo(object, name))
      else leads.set(object.metadata.name, this.leadsTo(object, object.metadata.name))
      return [...leads].flatMap(([name, yes]) => (yes ? [name] : []))
    })
  }

  protected override async prepare(name: string, { flags = FAST, ...more }: Partial<ReplicaOptions>) {
    const containers = [{ name: 'langflow', image: 'langflow' }]
    await this.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { containers } })
    const { stdout: uid } = await this.kubectl('get', 'pod', name, '-o', 'jsonpath={.metadata.uid}')
    const env = { POD_NAME: name, POD_UID: uid, POD_IP: `10.9.0.${++this.addresses}` }
    return super.prepare(name, { ...more, flags: [...flags, `--traffic=${this.mode}`], env })
  }
}

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
    const here = Object.assign(await objects('pod'), { namespace: scene.namespace })
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
