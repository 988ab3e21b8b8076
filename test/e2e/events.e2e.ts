import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import { connectLeaseApi } from '../../agent/lease/lease-api.ts'
import { EVENT_REASONS, type EventReason, KubeEvents } from '../../agent/replica/kube-events.ts'
import { startControlPlane } from '../harness/control-plane.ts'
import { ApiServerScene, LEASE } from '../harness/scene.ts'
import { Series } from '../harness/wait.ts'

const REASONS = Object.keys(EVENT_REASONS) as EventReason[]

/** An Event in the form of `kubectl get events`. */
interface CoreEvent {
  readonly involvedObject: { readonly kind: string; readonly name: string }
  readonly reason: string
}

test('the API server accepts Events of each reason on a pod, with the rights of deploy/', async (t) => {
  const plane = await startControlPlane()
  t.after(() => plane.close())
  const scene = await ApiServerScene.open(plane)
  const metadata = { name: 'a' }
  const containers = [{ name: 'langflow', image: 'langflow' }]
  await scene.apply({ apiVersion: 'v1', kind: 'Pod', metadata, spec: { containers } })
  const uid = (await scene.kubectl('get', 'pod', 'a', '-o', 'jsonpath={.metadata.uid}')).stdout
  const answers = new Series<string>()
  const connection = await connectLeaseApi({
    name: LEASE,
    namespace: scene.namespace,
    kubeconfig: scene.kubeconfig('a'),
    clock: systemClock,
    userAgent: 'test',
    onRequest: (verb, code) => answers.add(`${verb} ${code}`),
  })
  const events = new KubeEvents({
    options: { identity: 'a_1', pod: { name: 'a', uid } },
    api: connection.podObjects(),
    clock: systemClock,
    repeats: { happened: () => {}, over: () => {} },
  })
  scene.atEnd(() => events.end())
  t.after(() => scene.close())
  for (const reason of REASONS) events.record({ reason, epoch: 1, because: '’'.repeat(500) })
  await answers.next('all Events', () => answers.list.length === REASONS.length)
  assert.deepEqual(new Set(answers.list), new Set(['create 201']))
  const { items } = JSON.parse((await scene.kubectl('get', 'events', '-o', 'json')).stdout)
  const seen = (items as CoreEvent[]).map(({ reason, involvedObject: { kind, name } }) => [
    reason,
    kind,
    name,
  ])
  assert.deepEqual(seen.sort(), REASONS.map((reason) => [reason, 'Pod', 'a']).sort())
})
