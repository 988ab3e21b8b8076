import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, type TestContext, test } from 'node:test'
import { assertOneActed, readBeats } from '../support/beats.ts'
import { FAST, Replica, type ReplicaOptions } from '../support/replica.ts'
import { lives } from '../support/stage.ts'
import { type ControlPlane, startControlPlane } from './control-plane.ts'
import { deployRights } from './deploy-rights.ts'

const LEASE = 'langflow-leader-lock'
/** The product's defaults: 15 s, 10 s, 2 s. */
const DEFAULTS: readonly string[] = []

let plane: ControlPlane

/** Replicas in a namespace of their own, with the rights of deploy/ and no more. */
class Scene {
  readonly dir = mkdtempSync(join(tmpdir(), 'takeover-e2e-'))
  readonly beats = join(this.dir, 'beats')
  readonly replicas: Replica[] = []
  readonly namespace: string
  readonly kubeconfig: string

  private constructor(namespace: string, kubeconfig: string) {
    this.namespace = namespace
    this.kubeconfig = kubeconfig
  }

  static async open(t: TestContext): Promise<Scene> {
    const namespace = await plane.newNamespace()
    const scene = new Scene(namespace, await deployRights(plane, namespace))
    t.after(() => scene.close())
    return scene
  }

  async replica(
    identity: string,
    flags: readonly string[] = FAST,
    more: Partial<ReplicaOptions> = {},
  ): Promise<Replica> {
    const { kubeconfig, namespace, beats } = this
    const replica = await Replica.start({
      identity,
      kubeconfig,
      namespace,
      beats,
      flags,
      ...more,
    })
    this.replicas.push(replica)
    return replica
  }

  async pair(flags: readonly string[] = FAST): Promise<[leader: Replica, follower: Replica]> {
    const leader = await this.replica('a', flags)
    await leader.event('serving')
    const follower = await this.replica('b', flags)
    await follower.event('standby_ready')
    return [leader, follower]
  }

  kubectl(...args: string[]): Promise<{ stdout: string }> {
    return plane.kubectl([`--namespace=${this.namespace}`, ...args])
  }

  async holder(): Promise<string> {
    return (await this.kubectl('get', 'lease', LEASE, '-o', 'jsonpath={.spec.holderIdentity}')).stdout
  }

  private async close(): Promise<void> {
    await Promise.all(this.replicas.map((replica) => replica.stop()))
    const beats = readBeats(this.beats)
    rmSync(this.dir, { recursive: true })
    assertOneActed(beats)
  }
}

before(async () => {
  plane = await startControlPlane()
})

after(() => plane?.close())

describe('on a real API server', { concurrency: 4 }, () => {
  test('a clean stop hands over at once', async (t) => {
    const scene = await Scene.open(t)
    const [a, b] = await scene.pair()
    a.signal('SIGTERM')
    const acquired = await b.event('acquired')
    assert.equal(acquired.reason, 'its holder released it')
    assert.deepEqual(await a.exited, { code: 0, signal: null })
    await b.event('serving')
    assert.equal(await scene.holder(), 'b')
  })

  test('a crash is taken over when the Lease has expired, with the default timings', async (t) => {
    const scene = await Scene.open(t)
    const [a, b] = await scene.pair(DEFAULTS)
    const pids = [a.workloadPid(), a.launcherPid(), a.pid]
    for (const pid of pids) process.kill(pid, 'SIGKILL')
    const acquired = await b.event('acquired')
    assert.ok(
      Number(acquired.unchangedMs) >= 15_000 && Number(acquired.unchangedMs) <= 15_300,
      `${acquired.unchangedMs}`,
    )
    await b.event('serving')
  })

  test('kubectl edits the holder: the old leader’s workload dies at once', async (t) => {
    const scene = await Scene.open(t)
    const [a] = await scene.pair()
    const pid = a.workloadPid()
    await scene.kubectl(
      'patch',
      'lease',
      LEASE,
      '--type=merge',
      '-p',
      '{"spec":{"holderIdentity":"someone"}}',
    )
    await a.event('workload_stopped')
    assert.ok(!lives(pid))
    assert.equal(await scene.holder(), 'someone')
  })

  test('kubectl annotates the Lease: nothing happens, and the annotation stays', async (t) => {
    const scene = await Scene.open(t)
    const [a, b] = await scene.pair()
    await scene.kubectl('annotate', 'lease', LEASE, 'team=research')
    a.signal('SIGTERM')
    await b.event('serving')
    const { stdout } = await scene.kubectl(
      'get',
      'lease',
      LEASE,
      '-o',
      'jsonpath={.metadata.annotations.team}',
    )
    assert.equal(stdout, 'research')
    assert.ok(!a.events().includes('lost') && !a.events().includes('doubt'))
  })

  test('kubectl deletes the Lease: its live holder re-creates it, nobody else takes it', async (t) => {
    const scene = await Scene.open(t)
    const [a, b] = await scene.pair()
    const uid = async () =>
      (await scene.kubectl('get', 'lease', LEASE, '-o', 'jsonpath={.metadata.uid}')).stdout
    const before = await uid()
    await scene.kubectl('delete', 'lease', LEASE)
    // Its re-creation is acknowledged before it can renew again.
    while ((await scene.holder().catch(() => '')) !== 'a');
    assert.notEqual(await uid(), before)
    assert.equal(await scene.holder(), 'a')
    assert.ok(!b.events().includes('acquired'))
    assert.ok(lives(a.workloadPid()))
  })

  test('a missing right is named, retried, and picked up once it is granted', async (t) => {
    const scene = await Scene.open(t)
    await scene.kubectl('delete', 'rolebinding', '--all')
    const a = await scene.replica('a')
    const warning = await a.find(
      'the missing right',
      (line) => line.level === 'warn' && /"get".*leases/.test(line.msg),
    )
    assert.match(warning.msg, /langflow-leader-lock/)
    assert.match((await a.status()).problem ?? '', /"get"/)
    assert.equal((await a.get('/livez')).status, 200)
    await deployRights(plane, scene.namespace)
    await a.event('serving')
    // Its watch is opened again a moment after a poll has seen the Lease.
    await a.find('the end of the problem', (line) => /can be reached again/.test(line.msg))
    assert.equal((await a.status()).problem, null)
  })
})

describe('an API server that hangs', () => {
  test('for 12 s: frozen at the renew deadline and thawed, same process, same epoch, nobody else', async (t) => {
    const scene = await Scene.open(t)
    const [a, b] = await scene.pair(DEFAULTS)
    const pid = a.workloadPid()
    plane.pause()
    t.after(() => plane.resume())
    await a.event('workload_frozen')
    plane.resume()
    await a.event('workload_thawed')
    await a.find(
      'serving again',
      (line) => line.event === 'serving',
      a.lines.findIndex((line) => line.event === 'doubt'),
    )
    assert.ok(lives(pid))
    assert.equal((await a.status()).lease.epoch, 1)
    assert.ok(!b.events().includes('acquired'))
  })

  test('longer than the lease: killed in time, then exactly one leader', async (t) => {
    const scene = await Scene.open(t)
    const [a, b] = await scene.pair(DEFAULTS)
    const pid = a.workloadPid()
    plane.pause()
    t.after(() => plane.resume())
    await a.event('workload_stopped')
    assert.ok(!lives(pid))
    plane.resume()
    const next = await Promise.any(
      [a, b].map((replica) =>
        replica.find('a new term', (line) => line.event === 'serving' && Number(line.epoch) > 1),
      ),
    )
    assert.equal(await scene.holder(), next.identity)
  })

  test('and is killed and started again: the leader goes on', async (t) => {
    const scene = await Scene.open(t)
    const [a] = await scene.pair(DEFAULTS)
    await plane.stopApiServer('SIGKILL')
    await a.find('the outage', (line) => line.level === 'warn')
    await plane.startApiServer()
    await a.find('its end', (line) => /can be reached again/.test(line.msg))
    assert.ok(!a.events().includes('lost'))
  })
})
