import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { Pod, podObstacle } from '../support/pod.ts'
import { FAST } from '../support/replica.ts'
import { mono, Stage } from '../support/stage.ts'

async function open(
  t: TestContext,
): Promise<{ stage: Stage; pod(identity: string, flags?: readonly string[]): Promise<Pod> } | null> {
  const obstacle = podObstacle()
  if (obstacle !== undefined) {
    t.diagnostic(`SKIPPED: ${obstacle}`)
    t.skip(obstacle)
    return null
  }
  const stage = await Stage.open(t)
  return {
    stage,
    pod: async (identity, flags = FAST) => {
      const pod = await Pod.start(
        { identity, flags, kubeconfig: stage.kubeconfig(identity), beats: stage.beats },
        join(stage.dir, identity),
      )
      stage.pods.push(pod)
      return pod
    },
  }
}

describe('in a pod', { concurrency: 3 }, () => {
  test('a restarted agent takes its grant back: the same LangFlow process goes on', async (t) => {
    const scene = await open(t)
    if (scene === null) return
    const { stage, pod } = scene
    // With the default timings: a restart on a busy machine takes longer than a fast lease lasts.
    const a = await pod('a', [])
    await a.agent.event('serving')
    a.agent.signal('SIGKILL')
    await a.agent.exited
    a.startAgent()
    const acquired = await a.agent.event('acquired')
    assert.equal(acquired.reason, 'took its grant back from the launcher')
    assert.equal(acquired.epoch, 1)
    await a.agent.event('serving')
    const pids = new Set(stage.beatsOf('a').map((beat) => beat.pid))
    assert.equal(pids.size, 1)
    assert.ok(!a.container.events().includes('workload_frozen'))
  })

  test('an agent that stays away: the launcher freezes, then kills, on its own clock', async (t) => {
    const scene = await open(t)
    if (scene === null) return
    const { stage, pod } = scene
    const a = await pod('a')
    await a.agent.event('serving')
    const b = await pod('b')
    await b.agent.event('standby_ready')
    const killed = mono()
    a.agent.signal('SIGKILL')
    await a.container.event('workload_frozen')
    await a.container.event('deadman_fired')
    await a.container.event('workload_stopped')
    await b.agent.event('serving')
    const last = Math.max(...stage.beatsOf('a').map((beat) => beat.mono))
    assert.ok(last - killed < 2_000 + 100, `acted for ${last - killed} ms`)
    a.startAgent()
    await a.agent.event('leader_observed')
  })

  test('nobody reads the container’s log any more: the deadman fires all the same', async (t) => {
    const scene = await open(t)
    if (scene === null) return
    const { stage, pod } = scene
    const a = await pod('a')
    await a.agent.event('serving')
    const b = await pod('b')
    await b.agent.event('standby_ready')
    // The workload fills the pipe that the launcher writes to as well.
    a.container.stopReading()
    await fetch(`http://127.0.0.1:${a.port}/shout`)
    const killed = mono()
    a.agent.signal('SIGKILL')
    await b.agent.event('serving')
    const last = Math.max(...stage.beatsOf('a').map((beat) => beat.mono))
    assert.ok(last - killed < 2_000 + 100, `acted for ${last - killed} ms`)
    process.kill(a.launcherPid(), 'SIGKILL')
  })

  test('a container that is told to end does not wait for an agent that hangs', async (t) => {
    const scene = await open(t)
    if (scene === null) return
    const { pod } = scene
    const a = await pod('a')
    await a.agent.event('serving')
    a.agent.signal('SIGSTOP')
    process.kill(a.launcherPid(), 'SIGTERM')
    await a.container.event('workload_stopped')
    assert.equal((await a.container.exited).code, 0)
  })

  test('a socket that was removed is made again', async (t) => {
    const scene = await open(t)
    if (scene === null) return
    const { pod } = scene
    const a = await pod('a')
    await a.agent.event('serving')
    rmSync(join(a.directory, 'run', 'launcher.sock'))
    process.kill(a.launcherPid(), 'SIGKILL')
    await a.container.exited
    await a.agent.event('released')
    a.startContainer()
    await a.agent.find('serving again', (line) => line.event === 'serving' && line.epoch === 2)
  })

  test('the launcher is killed: the kernel ends the container, and the agent hands over at once', async (t) => {
    const scene = await open(t)
    if (scene === null) return
    const { pod } = scene
    const a = await pod('a')
    await a.agent.event('serving')
    const b = await pod('b')
    await b.agent.event('standby_ready')
    process.kill(a.launcherPid(), 'SIGKILL')
    await a.container.exited
    await a.agent.event('released')
    await b.agent.event('serving')
    // The kubelet starts the container again.
    a.startContainer()
    await a.agent.find(
      'a new launcher',
      (line) => /launcher connected/.test(line.msg),
      a.agent.lines.findIndex((line) => line.event === 'released'),
    )
    assert.equal((await a.get('/workloadz')).status, 200)
  })

  test('the launcher is frozen: /workloadz says so, and the Lease is kept until the container is gone', async (t) => {
    const scene = await open(t)
    if (scene === null) return
    const { stage, pod } = scene
    const a = await pod('a')
    await a.agent.event('serving')
    process.kill(a.launcherPid(), 'SIGSTOP')
    await a.agent.event('draining')
    assert.equal((await a.get('/workloadz')).status, 503)
    assert.equal((await a.get('/readyz')).status, 503)
    assert.equal(stage.holder(), 'a')
    // What the kubelet does after the failed liveness probe.
    process.kill(a.launcherPid(), 'SIGKILL')
    await a.agent.event('released')
  })

  test('the kubelet ends the container first: drained, stopped and released before the sidecar is told', async (t) => {
    const scene = await open(t)
    if (scene === null) return
    const { stage, pod } = scene
    const a = await pod('a')
    await a.agent.event('serving')
    process.kill(a.launcherPid(), 'SIGTERM')
    await a.agent.event('released')
    assert.equal(stage.holder(), '')
    assert.equal((await a.container.exited).code, 0)
    assert.equal(await a.agent.stop(), 0)
  })
})
