import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { freePort } from '../harness/free-port.ts'
import { podObstacle } from '../harness/pod.ts'
import { EmbeddedScene, lives } from '../harness/scene.ts'
import { mono, until } from '../harness/wait.ts'

/** LangFlow's processes in small; its master would have another worker only after so long. */
const TREE = join(import.meta.dirname, '../launcher/fixtures/served-tree.mjs')
const NEVER_MS = '3600000'

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

  test('a key that stops or ends the agent leaves the launcher', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const a = await scene.replica('a')
    await a.event('serving')
    // As a terminal tells them apart.
    const sessionOf = (pid: number) =>
      execFileSync('ps', ['-o', 'sess=', '-p', String(pid)], { encoding: 'utf8' })
    assert.notEqual(sessionOf(a.launcherPid()), sessionOf(a.pid))
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
    a.link.partition()
    await b.event('acquired')
    assert.ok(!lives(a.workloadPid()))
    await a.link.heal()
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
    // Launcher or agent, whoever is first.
    await until('the end of the workload', () => !lives(workload))
    assert.equal(scene.beats('a').length, before)
  })

  test('the worker is killed while a client waits to be accepted: nothing waits for that client', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const port = await freePort()
    const a = await scene.replica('a', {
      port,
      command: [process.execPath, TREE, String(port), '1', NEVER_MS],
    })
    await a.event('serving')
    await a.find('those that serve', ({ msg }) => msg.startsWith('LangFlow is served by pid'))
    const answer = await fetch(`http://127.0.0.1:${port}`, { headers: { connection: 'close' } })
    const { worker, master, parent } = (await answer.json()) as Record<string, number>
    process.kill(worker as number, 'SIGSTOP')
    const client = connect(port, '127.0.0.1').on('error', () => {})
    await once(client, 'connect')
    const killedAt = Date.now()
    process.kill(worker as number, 'SIGKILL')
    const { time } = await a.event('stepped_down')
    client.destroy()
    assert.deepEqual(
      [worker, master, parent].filter((pid) => lives(pid as number)),
      [],
    )
    const took = Date.parse(time) - killedAt
    assert.ok(took <= 1_000, `it took ${took} ms`)
  })
})

describe('of a pod', { concurrency: 2, skip: podObstacle() ?? false }, () => {
  test('the agent is killed and nobody reads the container’s log any more: the deadman fires all the same', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const a = await scene.pod('a')
    await a.agent.event('serving')
    const b = await scene.pod('b')
    await b.agent.event('standby_ready')
    // The workload fills the pipe that the launcher writes to as well.
    a.container.stopReading()
    await fetch(`http://127.0.0.1:${a.port}/shout`)
    const killed = mono()
    a.agent.signal('SIGKILL')
    await b.agent.event('serving')
    const acted = scene.lastBeat('a') - killed
    assert.ok(acted < 2_000 + 100, `acted for ${acted} ms`)
    process.kill(a.launcherPid(), 'SIGKILL')
  })

  test('the container is told to end beside an agent that hangs: it does not wait for it', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const a = await scene.pod('a')
    await a.agent.event('serving')
    a.agent.signal('SIGSTOP')
    process.kill(a.launcherPid(), 'SIGTERM')
    await a.container.event('workload_stopped')
    assert.equal((await a.container.exited).code, 0)
  })
})
