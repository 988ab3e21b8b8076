import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { podObstacle } from '../harness/pod.ts'
import { EmbeddedScene } from '../harness/scene.ts'
import { mono } from '../harness/wait.ts'

describe('in a pod', { concurrency: 2, skip: podObstacle() ?? false }, () => {
  test('nobody reads the container’s log any more: the deadman fires all the same', async (t) => {
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

  test('a container that is told to end does not wait for an agent that hangs', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const a = await scene.pod('a')
    await a.agent.event('serving')
    a.agent.signal('SIGSTOP')
    process.kill(a.launcherPid(), 'SIGTERM')
    await a.container.event('workload_stopped')
    assert.equal((await a.container.exited).code, 0)
  })
})
