import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { startControlPlane } from '../harness/control-plane.ts'
import { freePort } from '../harness/free-port.ts'
import { FAST, type Replica } from '../harness/replica.ts'
import { ApiServerScene } from '../harness/scene.ts'
import { until } from '../harness/wait.ts'

const plane = await startControlPlane({ audit: true })
after(() => plane.close())

/** Replicas with Pod objects that no kubelet runs. */
class PodsScene extends ApiServerScene {
  /** @param uid in its identity */
  async start(name: string, uid: string): Promise<Replica> {
    const containers = [{ name: 'langflow', image: 'langflow' }]
    await this.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { containers } })
    const status = { conditions: [{ type: 'Ready', status: 'True' }] }
    const patch = ['--subresource=status', '--type=merge', '-p', JSON.stringify({ status })]
    await this.kubectl('patch', 'pod', name, ...patch)
    const flags = [...FAST, '--report-lost-pods', `--peers=127.0.0.1:${await freePort()}`]
    return this.replica(name, { flags: [...flags, `--identity=${name}_${uid}`] })
  }
}

test('the API server leaves a pod alone that has the name of a lost leader and another UID', async (t) => {
  const scene = await PodsScene.open(plane, t)
  const rule = { apiGroups: [''], resources: ['pods/status'], verbs: ['patch'] }
  const add = [{ op: 'add', path: '/rules/-', value: rule }]
  await scene.kubectl('patch', 'role', 'langflow-leader', '--type=json', '-p', JSON.stringify(add))
  const a = await scene.start('a', 'b9d8')
  await a.event('serving')
  const b = await scene.start('b', 'c0e1')
  await b.event('standby_ready')
  a.signal('SIGKILL')
  await b.event('serving')
  const sent = () =>
    plane.requests({ verb: 'patch', namespace: scene.namespace, userAgent: 'langflow-leader' })
  await until('the answer to the patch', () => sent().length > 0)
  assert.deepEqual(
    sent().map((patch) => patch.code),
    [422],
  )
  const { stdout } = await scene.kubectl('get', 'pod', 'a', '-o', 'jsonpath={.status.conditions[*].status}')
  assert.equal(stdout, 'True')
})
