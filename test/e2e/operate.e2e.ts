import assert from 'node:assert/strict'
import { after, describe, type TestContext, test } from 'node:test'
import { LEAST } from '../deploy/chart-cases.ts'
import { rendered } from '../deploy/helm.ts'
import { only } from '../deploy/manifests.ts'
import { runBundle } from '../harness/bundle.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { TcpProxy } from '../harness/faults/tcp-proxy.ts'
import { FrontScene } from '../harness/front-scene.ts'
import type { Replica } from '../harness/replica.ts'
import { until } from '../harness/wait.ts'
import { warmLangflow } from '../harness/warm-langflow.ts'

const plane = await startControlPlane()
after(() => plane.close())

const ROLE = 'langflow-leader-operator'
const REASON = 'it leaks memory'
/** Annotations that a request leaves on the Lease until it is done. */
const REQUESTS = /langflow-leader\/(failover-to|switchover-to|restart|request-reason)/

/** A scene with an operator who has the Role of the chart. */
class OperatedScene extends FrontScene {
  kubeconfigOfOperator = ''

  static async operated(t: TestContext, plane: ControlPlane): Promise<OperatedScene> {
    const scene = await OperatedScene.open(plane, t)
    const { manifests } = await rendered({ ...LEAST, operatorRole: true })
    await scene.apply(only(manifests, 'Role', ROLE))
    await scene.kubectl('create', 'serviceaccount', 'me')
    const account = `--serviceaccount=${scene.namespace}:me`
    await scene.kubectl('create', 'rolebinding', 'me', `--role=${ROLE}`, account)
    scene.kubeconfigOfOperator = await plane.serviceAccountKubeconfig(scene.namespace, 'me')
    return scene
  }

  /** Starts a leader and a warm standby. With proxies, they reach each other only through these. */
  async warmPair(proxied = false): Promise<{ a: Replica; b: Replica; proxies: TcpProxy[] }> {
    await this.choosePorts('a', 'b')
    const proxies = proxied ? await Promise.all(this.peers.map((port) => TcpProxy.open(port))) : []
    for (const proxy of proxies) this.atEnd(() => proxy.close())
    if (proxied) this.peers = proxies.map(({ port }) => port)
    const [a, b] = await this.pair(warmLangflow(this.dir))
    return { a, b, proxies }
  }

  /** Runs a command of the operator, and returns its exit code and its answer. */
  async run(...args: string[]) {
    const at = ['-o', 'json', `--kubeconfig=${this.kubeconfigOfOperator}`]
    const { code, stdout, stderr } = await runBundle([...args, ...at])
    return { code, answer: JSON.parse(stdout), stderr }
  }

  async requests(): Promise<string[]> {
    return Object.keys(await this.annotations()).filter((key) => REQUESTS.test(key))
  }
}

describe('an operator on a real API server', { concurrency: 3 }, () => {
  test('orders a failover from a leader whose HTTP server gives no answer and which cannot see a standby', async (t) => {
    const scene = await OperatedScene.operated(t, plane)
    const { a, b, proxies } = await scene.warmPair(true)
    for (const proxy of proxies) proxy.partition()
    await until('a leader that sees no standby', async () => (await a.status()).peers?.ready === 0)
    // LangFlow waits for this request as long as it may.
    const open = fetch(`http://127.0.0.1:${a.port}/slow=20000`).catch(() => null)
    const { code, stderr } = await scene.run('failover', '--to=b', `--reason=${REASON}`, '--yes')
    assert.equal(code, 0, stderr)
    const [draining, released] = [await a.event('draining'), await a.event('released')]
    const tookMs = Date.parse(released.time) - Date.parse(draining.time)
    t.diagnostic(`from the order to the release: ${tookMs} ms`)
    assert.ok(tookMs < 5_000, 'the drain timeout is 5 s')
    await b.event('serving')
    const [, ended] = (await b.status()).history
    assert.equal(ended?.endedBecause, 'failover')
    assert.deepEqual(await scene.requests(), [])
    await open
  })

  for (const [flags, by, epoch] of [
    [[], 'b', 2],
    [['--in-place'], 'a', 1],
  ] as const)
    test(`restarts LangFlow without a failed request: restart ${flags}`, async (t) => {
      const scene = await OperatedScene.operated(t, plane)
      const { a, b } = await scene.warmPair()
      await scene.admitClients('a', 'b')
      const first = a.workloadPid()
      const at = `--url=http://127.0.0.1:${b.httpPort}`
      const { code, answer, stderr } = await scene.run('restart', ...flags, `--reason=${REASON}`, '--yes', at)
      assert.equal(code, 0, stderr)
      await scene.answers(20, by)
      assert.deepEqual((await scene.outcome()).failed, [])
      t.diagnostic(JSON.stringify(answer))
      assert.notEqual((by === 'a' ? a : b).workloadPid(), first)
      assert.equal(scene.client.answers.at(-1)?.epoch, epoch)
      assert.deepEqual(await scene.requests(), [])
    })
})
