import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, describe, type TestContext, test } from 'node:test'
import { LEAST } from '../deploy/chart-cases.ts'
import { rendered } from '../deploy/helm.ts'
import { only } from '../deploy/manifests.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'
import { TcpProxy } from '../harness/faults/tcp-proxy.ts'
import { PairedFronts } from '../harness/paired-fronts.ts'
import type { Replica } from '../harness/replica.ts'
import { LEASE } from '../harness/scene.ts'
import { until } from '../harness/wait.ts'
import { warmLangflow } from '../harness/warm-langflow.ts'

const ROLE = 'langflow-leader-operator'
const REASON = 'it leaks memory'

/** A leader `a`, a warm standby `b`, and an operator with the Role of the chart. */
class OperatedScene extends PairedFronts {
  a!: Replica
  b!: Replica
  private operator = ''

  /** `hides`: all requests to the agents pass through proxies, which the test can cut. */
  static async start(
    t: TestContext,
    plane: ControlPlane,
    hides: boolean,
  ): Promise<[OperatedScene, TcpProxy[]]> {
    const scene = await OperatedScene.open(plane)
    t.after(() => scene.close())
    await scene.choosePorts()
    const proxies: TcpProxy[] = []
    if (hides) for (const port of scene.peers) proxies.push(await TcpProxy.open(port))
    for (const proxy of proxies) scene.atEnd(() => proxy.close())
    if (hides) scene.peers = proxies.map(({ port }) => port)
    const { manifests } = await rendered({ ...LEAST, operatorRole: true })
    await scene.apply(only(manifests, 'Role', ROLE))
    await scene.kubectl('create', 'serviceaccount', 'me')
    const account = `--serviceaccount=${scene.namespace}:me`
    await scene.kubectl('create', 'rolebinding', 'me', `--role=${ROLE}`, account)
    scene.operator = await plane.serviceAccountKubeconfig(scene.namespace, 'me')
    const warm = warmLangflow(scene.dir)
    scene.a = await scene.replica('a', warm)
    await scene.a.event('serving')
    scene.b = await scene.replica('b', warm)
    await scene.b.event('standby_ready')
    return [scene, proxies]
  }

  /** Runs a command of the operator, and returns its exit code and its answer. */
  run(...args: string[]): Promise<{ code: number; answer: Record<string, unknown>; stderr: string }> {
    const all = [BUNDLE, ...args, '--yes', '-o', 'json', `--kubeconfig=${this.operator}`]
    return new Promise((resolve) =>
      execFile(process.execPath, all, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code), answer: JSON.parse(stdout), stderr }),
      ),
    )
  }

  async notes(): Promise<Record<string, string>> {
    const { stdout } = await this.kubectl('get', 'lease', LEASE, '-o', 'jsonpath={.metadata.annotations}')
    return JSON.parse(stdout)
  }

  /** Resolves when the API server has an Event of this reason, with this text. */
  async hasEvent(reason: string, text: string): Promise<void> {
    await until(reason, async () => {
      const { stdout } = await this.kubectl('get', 'events.events.k8s.io', '-o', 'json')
      const items = JSON.parse(stdout).items as { reason: string; note: string }[]
      return items.some((one) => one.reason === reason && one.note.includes(text))
    })
  }
}

const REQUESTS = /langflow-leader\/(failover-to|switchover-to|restart|request-reason)/

describe('an operator', { concurrency: 3 }, () => {
  let plane: ControlPlane
  before(async () => {
    plane = await startControlPlane()
  })
  after(() => plane?.close())

  test('orders a failover from a leader whose HTTP server gives no answer and which cannot see a standby', async (t) => {
    const [scene, proxies] = await OperatedScene.start(t, plane, true)
    const { a, b } = scene
    for (const proxy of proxies) proxy.partition()
    await until('a leader that sees no standby', async () => (await scene.status('a')).peers?.ready === 0)
    const from = a.lines.length
    await scene.kubectl('annotate', 'lease', LEASE, 'langflow-leader/switchover-to=b')
    await a.find('the refusal', ({ msg }) => String(msg).startsWith('refused a switchover to b'), from)
    // LangFlow waits for this request as long as it may.
    const open = fetch(`http://127.0.0.1:${a.port}/slow=20000`).catch(() => null)
    const { code, answer, stderr } = await scene.run('failover', '--to=b', `--reason=${REASON}`)
    assert.deepEqual([code, answer.result, answer.from, answer.to], [0, 'failed_over', 'a', 'b'], stderr)
    const [draining, released] = [await a.event('draining', from), await a.event('released', from)]
    const tookMs = Date.parse(released.time) - Date.parse(draining.time)
    t.diagnostic(`from the order to the release: ${tookMs} ms; without a server: ${answer.gapMs} ms`)
    assert.ok(tookMs < 5_000, 'the drain timeout is 5 s')
    await b.event('serving')
    const { history } = await scene.status('b')
    const [, before] = history
    assert.deepEqual([before?.endedBecause, before?.note], ['failover', REASON])
    assert.ok(Object.keys(await scene.notes()).every((key) => !REQUESTS.test(key)))
    await scene.hasEvent('SteppedDown', `asked for a failover to b: ${REASON}`)
    await open
  })

  test('restarts LangFlow by a handover without a failed request', async (t) => {
    const [scene] = await OperatedScene.start(t, plane, false)
    const client = await scene.openClient()
    const at = `--url=http://127.0.0.1:${scene.port('b')}`
    const from = scene.a.lines.length
    const { code, answer, stderr } = await scene.run('restart', `--reason=${REASON}`, at)
    assert.deepEqual([code, answer.result, answer.from, answer.to], [0, 'switched', 'a', 'b'], stderr)
    await scene.a.event('standby_ready', from)
    await until('answers of b', () => client.answers.at(-1)?.replica === 'b')
    await client.stop()
    t.diagnostic(`${client.calls.length} requests; without a server: ${answer.gapMs} ms`)
    assert.deepEqual(
      client.calls.filter(({ failure }) => failure !== null),
      [],
    )
    const [, before] = (await scene.status('b')).history
    assert.deepEqual([before?.endedBecause, before?.note], ['switchover', REASON])
  })

  test('restarts LangFlow in place, in the same term and without a failed request', async (t) => {
    const [scene] = await OperatedScene.start(t, plane, false)
    const { a } = scene
    const client = await scene.openClient()
    const at = `--url=http://127.0.0.1:${scene.port('a')}`
    const first = a.workloadPid()
    const { code, answer, stderr } = await scene.run('restart', '--in-place', `--reason=${REASON}`, at)
    assert.deepEqual([code, answer.result, answer.pod, answer.epoch], [0, 'restarted', 'a', 1], stderr)
    assert.notEqual(a.workloadPid(), first)
    assert.deepEqual(a.events().slice(-4), ['draining', 'workload_stopped', 'workload_started', 'serving'])
    const answered = client.calls.length
    await until('answers of the new LangFlow', () => client.calls.length > answered + 20)
    await client.stop()
    t.diagnostic(`${client.calls.length} requests; without a server: at most ${answer.gapMs} ms`)
    assert.deepEqual(
      client.calls.filter(({ failure }) => failure !== null),
      [],
    )
    assert.ok(Object.keys(await scene.notes()).every((key) => !REQUESTS.test(key)))
    await scene.hasEvent('RestartedInPlace', REASON)
    assert.equal((await scene.status('a')).history[0]?.note, REASON)
  })

  test('is refused during a pause, without a write', async (t) => {
    const [scene] = await OperatedScene.start(t, plane, false)
    const at = `--url=http://127.0.0.1:${scene.port('a')}`
    await scene.kubectl('annotate', 'lease', LEASE, 'langflow-leader/paused=true')
    for (const command of [['failover'], ['restart'], ['restart', '--in-place']]) {
      const { code, answer } = await scene.run(...command, at)
      assert.deepEqual([code, (answer.error as { code: string }).code], [3, 'paused'])
    }
    assert.ok(Object.keys(await scene.notes()).every((key) => !REQUESTS.test(key)))
  })
})
