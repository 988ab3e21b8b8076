import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { freePort } from '../harness/free-port.ts'
import type { Replica, ReplicaOptions } from '../harness/replica.ts'
import { EmbeddedScene, lives } from '../harness/scene.ts'

describe('of one replica that is one tree', { concurrency: 4 }, () => {
  test('the launcher is killed: the agent ends what it left, hands over, and starts another launcher', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair()
    process.kill(a.launcherPid(), 'SIGKILL')
    await a.event('released')
    assert.ok(!lives(a.workloadPid()))
    await b.event('serving')
    await a.find(
      'a new launcher',
      (line) => /launcher connected/.test(line.msg),
      a.lines.findIndex((line) => line.event === 'released'),
    )
  })

  test('the launcher is frozen: the agent ends it and its workload, then hands over', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair()
    process.kill(a.launcherPid(), 'SIGSTOP')
    await a.event('released')
    assert.ok(!lives(a.workloadPid()))
    await b.event('serving')
  })

  test('the launcher is frozen and the API hangs: the agent is the second deadman', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair()
    process.kill(a.launcherPid(), 'SIGSTOP')
    const hole = scene.api.faults.partition('a')
    await b.event('acquired')
    assert.ok(!lives(a.workloadPid()))
    hole.remove()
    await b.event('serving')
  })

  test('the launcher of a follower is frozen: the replica ends all the same', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [, b] = await scene.pair()
    process.kill(b.launcherPid(), 'SIGSTOP')
    b.signal('SIGTERM')
    assert.deepEqual(await b.exited, { code: 0, signal: null })
  })

  test('the whole tree is frozen past its lease: nothing acts when it wakes up', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair()
    const [agent, launcher, workload] = [a.pid, a.launcherPid(), a.workloadPid()]
    for (const pid of [workload, launcher, agent]) process.kill(pid, 'SIGSTOP')
    await b.event('serving')
    const before = scene.beats('a').length
    // The workload itself stays stopped: only what was built to, wakes.
    for (const pid of [launcher, agent]) process.kill(pid, 'SIGCONT')
    await a.event('workload_stopped')
    assert.equal(scene.beats('a').length, before)
    assert.ok(!lives(workload))
  })
})

const TREE = join(import.meta.dirname, '..', 'launcher', 'fixtures', 'served-tree.mjs')
const NEVER_MS = '3600000'

interface Pids {
  readonly worker: number
  readonly master: number
  readonly parent: number
}

interface Served {
  readonly scene: EmbeddedScene
  readonly leader: Replica
  readonly pids: Pids
}

/** A leader that knows who serves its port. */
async function open(t: TestContext, workers = '1', more: Partial<ReplicaOptions> = {}): Promise<Served> {
  const scene = await EmbeddedScene.open(t)
  const port = await freePort()
  const command = [process.execPath, TREE, String(port), workers, NEVER_MS]
  const leader = await scene.replica('a', { port, command, ...more })
  await leader.event('serving')
  await leader.find('those that serve', ({ msg }) => msg.startsWith('LangFlow is served by pid'))
  const answer = await fetch(`http://127.0.0.1:${port}`, { headers: { connection: 'close' } })
  return { scene, leader, pids: (await answer.json()) as Pids }
}

/** Nothing of it lives once it has stepped down. Returns the reason and how long it took. */
async function steppedDown({ leader, pids }: Served, since: number): Promise<{ reason: string; ms: number }> {
  const line = await leader.event('stepped_down')
  assert.deepEqual(Object.values(pids).filter(lives), [])
  return { reason: line.reason ?? '', ms: Date.parse(line.time) - since }
}

describe('of a workload of several processes', { concurrency: 2 }, () => {
  test('the worker is killed while a client waits to be accepted: nothing waits for that client', async (t) => {
    const served = await open(t)
    process.kill(served.pids.worker, 'SIGSTOP')
    const client = connect(served.leader.port, '127.0.0.1').on('error', () => {})
    await once(client, 'connect')
    const killedAt = Date.now()
    process.kill(served.pids.worker, 'SIGKILL')
    const told = await steppedDown(served, killedAt)
    client.destroy()
    assert.ok(told.ms <= 1_000, `it took ${told.ms} ms`)
  })

  test('one of two workers is killed: it is said, and the other one serves on', async (t) => {
    const { leader, pids } = await open(t, '2')
    process.kill(pids.worker, 'SIGKILL')
    const line = await leader.find('the loss', ({ msg }) =>
      msg.includes(`lost its worker (pid ${pids.worker})`),
    )
    assert.match(line.msg, /; pid \d+ goes on serving$/)
    assert.equal((await leader.get('/readyz')).status, 200)
    assert.deepEqual(leader.events().slice(-1), ['serving'])
  })

  test('the worker is killed while it is frozen: it is told with the thaw', async (t) => {
    const flags = ['--lease-duration=20s', '--renew-deadline=2s', '--retry-period=400ms']
    const served = await open(t, '1', { flags })
    const hole = served.scene.api.faults.partition('a')
    await served.leader.event('workload_frozen')
    process.kill(served.pids.worker, 'SIGKILL')
    hole.remove()
    await served.leader.event('workload_thawed')
    const told = await steppedDown(served, Date.now())
    assert.match(told.reason, /lost its worker/)
  })
})
