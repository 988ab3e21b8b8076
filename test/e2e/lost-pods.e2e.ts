import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { startControlPlane } from '../harness/control-plane.ts'
import { freePort } from '../harness/free-port.ts'
import { FAST, type Replica } from '../harness/replica.ts'
import { ApiServerScene } from '../harness/scene.ts'
import { until } from '../harness/wait.ts'

const plane = await startControlPlane({ audit: true })
after(() => plane.close())

interface Condition {
  readonly type: string
  readonly status: string
  readonly reason?: string
}

/** Replicas with Pod objects that no kubelet runs. */
class PodsScene extends ApiServerScene {
  async conditions(name: string): Promise<readonly Condition[]> {
    const { stdout } = await this.kubectl('get', 'pod', name, '-o', 'json')
    return (JSON.parse(stdout) as { status: { conditions?: Condition[] } }).status.conditions ?? []
  }

  /** @param uid in its identity. Default: the UID of its pod */
  async start(name: string, uid?: string): Promise<Replica> {
    const containers = [{ name: 'langflow', image: 'langflow' }]
    await this.apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name }, spec: { containers } })
    const conditions = ['Ready', 'ContainersReady'].map((type) => ({ type, status: 'True' }))
    const patch = ['--subresource=status', '--type=merge', '-p', JSON.stringify({ status: { conditions } })]
    await this.kubectl('patch', 'pod', name, ...patch)
    const own = (await this.kubectl('get', 'pod', name, '-o', 'jsonpath={.metadata.uid}')).stdout
    const flags = [...FAST, '--report-lost-pods', `--peers=127.0.0.1:${await freePort()}`]
    return this.replica(name, { flags: [...flags, `--identity=${name}_${uid ?? own}`] })
  }
}

describe('a lost leader on a real API server', () => {
  for (const [what, uid, code, ready] of [
    [
      'its pod is set to not Ready, and keeps its other conditions',
      undefined,
      200,
      'False LangflowLeaderLost',
    ],
    ['a pod with its name and another UID is left alone', 'b9d8', 422, 'True undefined'],
  ] as const)
    test(what, async (t) => {
      const scene = await PodsScene.open(plane, t)
      const rule = { apiGroups: [''], resources: ['pods/status'], verbs: ['patch'] }
      const add = [{ op: 'add', path: '/rules/-', value: rule }]
      await scene.kubectl('patch', 'role', 'langflow-leader', '--type=json', '-p', JSON.stringify(add))
      const a = await scene.start('a', uid)
      await a.event('serving')
      const b = await scene.start('b')
      await b.event('standby_ready')
      a.signal('SIGKILL')
      await b.event('serving')
      const sent = () =>
        plane.requests({ verb: 'patch', namespace: scene.namespace, userAgent: 'langflow-leader' })
      await until('the answer to the patch', () => sent().length > 0)
      assert.deepEqual(
        sent().map((patch) => patch.code),
        [code],
      )
      const of = async (name: string) =>
        (await scene.conditions(name)).map(({ type, status, reason }) => `${type} ${status} ${reason}`).sort()
      assert.deepEqual(await of('a'), ['ContainersReady True undefined', `Ready ${ready}`])
      assert.deepEqual(await of('b'), ['ContainersReady True undefined', 'Ready True undefined'])
    })
})
