import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import type { AgentStatus } from '../../agent/observe/status.ts'
import { BootClock } from '../fault-table/boot-clock.ts'
import { Pod, podObstacle } from '../support/pod.ts'
import { FAST } from '../support/replica.ts'
import { Stage } from '../support/stage.ts'

const DAY_MS = 86_400_000

test('a launcher whose uptime is another one holds its grants, and refuses them while it runs away', async (t) => {
  const obstacle = podObstacle()
  if (obstacle !== undefined) {
    t.skip(obstacle)
    return
  }
  const stage = await Stage.open(t)
  const clock = new BootClock(join(stage.dir, 'uptime'), DAY_MS)
  t.after(() => clock.stop())
  clock.gain(5_000)
  const pod = await Pod.start(
    { identity: 'a', flags: FAST, kubeconfig: stage.kubeconfig('a'), beats: stage.beats, entry: clock.entry },
    join(stage.dir, 'a'),
  )
  stage.pods.push(pod)
  const status = async () => JSON.parse((await pod.get('/status')).text) as AgentStatus
  const refused = await pod.agent.find('a refused grant', ({ msg }) =>
    /the launcher refuses grants/.test(msg),
  )
  assert.equal(refused.level, 'warn')
  assert.match((await status()).problem ?? '', /the launcher refuses grants: it has expired/)
  assert.deepEqual(stage.beatsOf('a'), [])
  clock.gain(0)
  await pod.agent.event('serving')
  assert.equal((await status()).problem, null)
  const seen = stage.api.requests.list({ client: 'a', verb: ['update', 'patch'] }).length
  await stage.api.requests.waitFor(
    { client: 'a', verb: ['update', 'patch'] },
    { count: seen + 12, answered: true },
  )
  assert.ok(!pod.container.events().includes('deadman_fired'))
  assert.equal(new Set(stage.beatsOf('a').map(({ pid }) => pid)).size, 1)
})
