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
}

/** A scene in which each replica has a Pod object that no kubelet runs. */
class EventsScene extends ApiServerScene {
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

  /** Sends an Event of each of these reasons with the rights of deploy/, and resolves to the API server's answers. */
  async send(name: string, reasons: readonly EventReason[]): Promise<readonly string[]> {
    const answers = new Series<string>()
    const connection = await connectLeaseApi({
      name: LEASE,
      namespace: this.namespace,
      kubeconfig: this.kubeconfig(name),
      clock: systemClock,
      userAgent: 'test',
      onRequest: (verb, code) => answers.add(`${verb} ${code}`),
    })
    const events = new KubeEvents({
      options: { identity: `${name}_1`, pod: { name, uid: await this.podObject(name) } },
      api: connection.podObjects(),
      clock: systemClock,
      repeats: { happened: () => {}, over: () => {} },
    })
    this.atEnd(() => events.end())
    for (const reason of reasons) events.record({ reason, epoch: 1, because: '’'.repeat(500) })
    await answers.next('all Events', () => answers.list.length === reasons.length)
    return answers.list
  }
}

describe('Events on a real API server', { concurrency: 2 }, () => {
  let plane: ControlPlane
  before(async () => {
    plane = await startControlPlane()
  })
  after(() => plane?.close())

  const opened = async (t: TestContext) => {
    const scene = await EventsScene.open(plane)
    t.after(() => scene.close())
    return scene
  }

  test("report a leader's term on its pod, or nothing without the right to do so", async (t) => {
    const scene = await opened(t)
    const a = await scene.replica('a')
    await a.event('serving')
    assert.equal(await a.stop(), 0)
    const events = await scene.events()
    const of = (kind: string) =>
      events.filter(({ involvedObject }) => involvedObject.kind === kind).map(({ reason }) => reason)
    const term = ['LeaderAcquired', 'Serving', 'SteppedDown']
    assert.deepEqual([of('Pod').sort(), of('Lease')], [term, []])
    assert.match((await scene.kubectl('describe', 'pod', 'a')).stdout, /LeaderAcquired/)

    const name = 'langflow-leader'
    const { rules } = JSON.parse((await scene.kubectl('get', 'role', name, '-o', 'json')).stdout)
    const kept = rules.filter(
      ({ apiGroups }: { apiGroups: string[] }) => !apiGroups.includes('events.k8s.io'),
    )
    await scene.kubectl('patch', 'role', name, '--type=merge', '-p', JSON.stringify({ rules: kept }))
    const b = await scene.replica('b')
    await b.event('serving')
    assert.equal((await b.status()).problem, null)
    assert.equal(await b.stop(), 0)
    assert.equal((await scene.events()).length, events.length)
    assert.equal(b.lines.filter(({ level, msg }) => level === 'warn' && msg.includes('Events')).length, 1)
  })

  test('of each reason are accepted by the API server', async (t) => {
    const scene = await opened(t)
    assert.deepEqual(new Set(await scene.send('a', REASONS)), new Set(['create 201']))
    assert.deepEqual(new Set((await scene.events()).map(({ reason }) => reason)), new Set(REASONS))
  })
})
