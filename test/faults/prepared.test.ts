import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { freePort } from '../support/free-port.ts'
import { Pod, podObstacle } from '../support/pod.ts'
import { Stage } from '../support/stage.ts'
import { until } from '../support/until.ts'
import { warmLangflow } from '../support/warm-langflow.ts'

const skip = spawnSync('python3', ['--version']).status === 0 ? false : 'there is no python3'

describe('a prepared standby', { concurrency: 2, skip }, () => {
  test('goes before one that hangs, when the leader releases the Lease', async (t) => {
    const stage = await Stage.open(t)
    const warm = warmLangflow(stage.dir)
    const a = await stage.replica('a', warm)
    await a.event('serving')
    const c = await stage.replica('c', warmLangflow(stage.dir, { hangs: true }))
    await c.find('its launcher', ({ msg }) => /launcher connected/.test(msg))
    await until('c prepares', async () => (await c.status()).standby.state === 'preparing')
    const b = await stage.replica('b', warm)
    await b.event('standby_ready')
    // It hears of the release last.
    const hole = stage.api.faults.partition('b')
    a.signal('SIGTERM')
    await a.event('released')
    hole.remove()
    await b.event('serving')
    assert.ok(!c.events().includes('acquired'))
  })

  test('is handed the Lease by a leader that waits for its own, which hangs', async (t) => {
    const stage = await Stage.open(t)
    const port = await freePort()
    const hung = warmLangflow(stage.dir, { hangs: true })
    const c = await stage.replica('c', { ...hung, flags: [...hung.flags, `--peers=localhost:${port}`] })
    const { epoch } = await c.event('acquired')
    const warm = warmLangflow(stage.dir)
    const b = await stage.replica('b', { ...warm, flags: [...warm.flags, `--listen=127.0.0.1:${port}`] })
    const { reason } = await c.event('draining')
    assert.equal(reason, 'a replica whose standby is ready serves sooner than this one starts')
    assert.equal((await b.event('serving')).epoch, Number(epoch) + 1)
  })
})

test('an agent that restarts beside a LangFlow that hangs counts its failures at once', {
  skip: podObstacle() ?? false,
}, async (t) => {
  const stage = await Stage.open(t)
  const flags = ['--stop-timeout=1s', '--drain-timeout=1s']
  const pod = await Pod.start(
    { identity: 'a', kubeconfig: stage.kubeconfig('a'), beats: stage.beats, flags },
    join(stage.dir, 'a'),
  )
  stage.pods.push(pod)
  await pod.agent.event('serving')
  process.kill(pod.hostPid(stage.beatsOf('a').at(-1)?.pid ?? 0), 'SIGSTOP')
  pod.agent.signal('SIGKILL')
  await pod.agent.exited
  pod.startAgent()
  // By the start timeout it would be ten minutes.
  assert.match(String((await pod.agent.event('draining')).reason), /^LangFlow is unhealthy: /)
})
