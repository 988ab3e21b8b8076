import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { freePort } from '../support/free-port.ts'
import type { Replica, ReplicaOptions } from '../support/replica.ts'
import { lives, Stage } from '../support/stage.ts'

const TREE = join(import.meta.dirname, '..', 'launcher', 'fixtures', 'served-tree.mjs')
const NEVER_MS = '3600000'

interface Served {
  readonly worker: number
  readonly master: number
  readonly parent: number
}

interface Ground {
  readonly stage: Stage
  readonly leader: Replica
  readonly pids: Served
}

/** A leader that knows who serves its port. */
async function open(t: TestContext, workers = '1', more: Partial<ReplicaOptions> = {}): Promise<Ground> {
  const stage = await Stage.open(t)
  const port = await freePort()
  const command = [process.execPath, TREE, String(port), workers, NEVER_MS]
  const leader = await stage.replica('a', { port, command, ...more })
  await leader.event('serving')
  await leader.find('those that serve', ({ msg }) => msg.startsWith('LangFlow is served by pid'))
  const answer = await fetch(`http://127.0.0.1:${port}`, { headers: { connection: 'close' } })
  return { stage, leader, pids: (await answer.json()) as Served }
}

/** Nothing of it lives once it has stepped down. Returns the reason and how long it took. */
async function steppedDown({ leader, pids }: Ground, since: number): Promise<{ reason: string; ms: number }> {
  const line = await leader.event('stepped_down')
  assert.deepEqual(Object.values(pids).filter(lives), [])
  return { reason: line.reason ?? '', ms: Date.parse(line.time) - since }
}

describe('of a workload of several processes', { concurrency: 2 }, () => {
  for (const [role, reason] of [
    ['worker', 'LangFlow lost its worker (pid PID)'],
    ['master', 'LangFlow lost its master (pid PID)'],
    ['parent', 'LangFlow ended by itself (SIGKILL)'],
  ] as const) {
    test(`the ${role} is killed: it is handed over within a second`, async (t) => {
      const ground = await open(t)
      const pid = ground.pids[role]
      const killedAt = Date.now()
      process.kill(pid, 'SIGKILL')
      const told = await steppedDown(ground, killedAt)
      assert.equal(told.reason, reason.replace('PID', String(pid)))
      assert.ok(told.ms <= 1_000, `it took ${told.ms} ms`)
    })
  }

  test('the worker is killed while a client waits to be accepted: nothing waits for that client', async (t) => {
    const ground = await open(t)
    process.kill(ground.pids.worker, 'SIGSTOP')
    const client = connect(ground.leader.port, '127.0.0.1').on('error', () => {})
    await once(client, 'connect')
    const killedAt = Date.now()
    process.kill(ground.pids.worker, 'SIGKILL')
    const told = await steppedDown(ground, killedAt)
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
    const ground = await open(t, '1', { flags })
    const hole = ground.stage.api.faults.partition('a')
    await ground.leader.event('workload_frozen')
    process.kill(ground.pids.worker, 'SIGKILL')
    hole.remove()
    await ground.leader.event('workload_thawed')
    const told = await steppedDown(ground, Date.now())
    assert.match(told.reason, /lost its worker/)
  })
})
