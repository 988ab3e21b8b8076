import assert from 'node:assert/strict'
import { after, before, describe, type TestContext, test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { connectLeaseApi } from '../../agent/lease/lease-api.ts'
import { EVENT_REASONS, type EventReason, KubeEvents } from '../../agent/replica/kube-events.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { FAST, type ReplicaOptions } from '../harness/replica.ts'
import { ApiServerScene, LEASE } from '../harness/scene.ts'
import { Series } from '../harness/wait.ts'

const REASONS = Object.keys(EVENT_REASONS) as EventReason[]

/** An Event in the form of `kubectl get events`. */
interface CoreEvent {
  readonly involvedObject: { readonly kind: string; readonly name: string; readonly uid: string }
  readonly reason: string
  readonly type: string
  readonly message: string
  readonly reportingComponent: string
  readonly reportingInstance: string
}

/** A scene in which each replica has a Pod object that no kubelet runs. */
class EventsScene extends ApiServerScene {
  static async start(t: TestContext, plane: ControlPlane): Promise<EventsScene> {
    const scene = await EventsScene.open(plane)
    t.after(() => scene.close())
    return scene
  }

  async podObject(name: string): Promise<string> {
    const containers = [{ name: 'langflow', image: 'langflow' }]
    await this.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { containers } })
    return (await this.kubectl('get', 'pod', name, '-o', 'jsonpath={.metadata.uid}')).stdout
  }

  protected override async prepare(name: string, more: Partial<ReplicaOptions>) {
    const env = { POD_NAME: name, POD_UID: await this.podObject(name) }
    return super.prepare(name, { flags: FAST, ...more, env })
  }

  async events(): Promise<CoreEvent[]> {
    const { stdout } = await this.kubectl('get', 'events', '-o', 'json')
    return (JSON.parse(stdout) as { items: CoreEvent[] }).items
  }

  /** Removes the right to create Events from the agent's Role. */
  async withoutRight(): Promise<void> {
    const { stdout } = await this.kubectl('get', 'role', 'langflow-leader', '-o', 'json')
    const { rules } = JSON.parse(stdout) as { rules: { apiGroups: string[] }[] }
    const kept = rules.filter(({ apiGroups }) => !apiGroups.includes('events.k8s.io'))
    assert.equal(kept.length, rules.length - 1)
    await this.kubectl(
      'patch',
      'role',
      'langflow-leader',
      '--type=merge',
      '-p',
      JSON.stringify({ rules: kept }),
    )
  }

  /** Connects the Events of a replica that the test plays itself, with the rights of deploy/. */
  async recorder(name: string): Promise<{ events: KubeEvents; answers: Series<string>; said: string[] }> {
    const said: string[] = []
    const answers = new Series<string>(() => said.join('\n'))
    const connection = await connectLeaseApi({
      name: LEASE,
      namespace: this.namespace,
      kubeconfig: this.kubeconfig(name),
      clock: systemClock,
      userAgent: 'test',
      onRequest: (verb, code) => answers.add(`${verb} ${code}`),
    })
    const { stdout: uid } = await this.kubectl('get', 'lease', LEASE, '-o', 'jsonpath={.metadata.uid}')
    const events = new KubeEvents({
      options: { identity: `${name}_1`, leaseName: LEASE, pod: { name, uid: await this.podObject(name) } },
      objects: connection.objects,
      leaseUid: () => uid,
      clock: systemClock,
      log: { info: (line) => void said.push(line), warn: (line) => void said.push(line) },
    })
    this.atEnd(() => events.end())
    return { events, answers, said }
  }
}

let plane: ControlPlane

before(async () => {
  plane = await startControlPlane()
})

after(() => plane?.close())

describe('Events on a real API server', { concurrency: 3 }, () => {
  test("report a leader's term on its pod and on the Lease, and kubectl shows them there", async (t) => {
    const scene = await EventsScene.start(t, plane)
    const a = await scene.replica('a')
    await a.event('serving')
    assert.equal(await a.stop(), 0)
    const events = await scene.events()
    const of = (kind: string) =>
      events.filter(({ involvedObject }) => involvedObject.kind === kind).map(({ reason }) => reason)
    const term = ['LeaderAcquired', 'Serving', 'SteppedDown']
    assert.deepEqual([of('Pod').sort(), of('Lease').sort()], [term, term])
    for (const { type, message, reportingComponent, reportingInstance } of events) {
      assert.deepEqual([type, reportingComponent, reportingInstance], ['Normal', 'langflow-leader', 'a'])
      assert.match(message, /^a .*\(epoch 1(, \w+)?\)$/)
    }
    for (const [kind, name] of [
      ['pod', 'a'],
      ['lease', LEASE],
    ] as const) {
      const { stdout } = await scene.kubectl('describe', kind, name)
      assert.match(
        stdout,
        /Normal +LeaderAcquired +\S+ +langflow-leader +a acquired the Lease: no replica had held it before \(epoch 1, never_held\)/,
      )
      assert.match(stdout, /SteppedDown .*\(epoch 1, terminated\)/)
    }
  })

  test('of each reason are accepted by the API server', async (t) => {
    const scene = await EventsScene.start(t, plane)
    // Two replicas send them: each Event goes to two objects, and a replica sends at most 20 requests in a burst.
    for (const [name, reasons] of [
      ['a', REASONS.slice(0, 10)],
      ['b', REASONS.slice(10)],
    ] as const) {
      const { events, answers } = await scene.recorder(name)
      for (const reason of reasons) events.record({ reason, epoch: 1, because: '’'.repeat(500) })
      await answers.next('all Events', () => answers.list.length === 2 * reasons.length)
      assert.deepEqual(new Set(answers.list), new Set(['create 201']))
    }
    const reasons = new Set((await scene.events()).map(({ reason }) => reason))
    assert.deepEqual(reasons, new Set(REASONS))
  })

  test('need their own right, without which the agent logs one warning and continues', async (t) => {
    const scene = await EventsScene.start(t, plane)
    await scene.withoutRight()
    const a = await scene.replica('a')
    await a.event('serving')
    assert.equal((await a.status()).problem, null)
    assert.equal(await a.stop(), 0)
    assert.deepEqual(await scene.events(), [])
    const said = a.lines
      .filter(({ msg }) => msg.includes('Events'))
      .map(({ level, msg }) => `${level}: ${msg}`)
    assert.deepEqual(said, [
      `warn: cannot write Events: ServiceAccount "${scene.namespace}/langflow-leader" may not "create" ` +
        `events.events.k8s.io in namespace "${scene.namespace}": add the verb to its Role`,
    ])
    assert.ok(a.events().includes('released'))
  })
})
