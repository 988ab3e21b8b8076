import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { freePort } from '../support/free-port.ts'
import type { Line } from '../support/logged-process.ts'
import { FAST, type Replica } from '../support/replica.ts'
import { lives, Stage } from '../support/stage.ts'
import { until } from '../support/until.ts'

const LEASE_MS = 4_000

/** Long enough for another start in the same term. */
async function served(a: Replica, serving: Line): Promise<void> {
  const since = Date.parse(serving.time)
  await until(`${a.name} has served for a lease duration`, async () => Date.now() - since > LEASE_MS + 100)
}

/** LangFlow of the same replica serves again: a new process, the old one is dead, and the term goes on. */
async function servesAgain(
  a: Replica,
  before: { pid: number; lines: number; epoch?: number },
): Promise<void> {
  const again = await a.event('serving', before.lines)
  const since = a.lines.slice(before.lines)
  assert.ok(since.findIndex(({ event }) => event === 'workload_stopped') >= 0)
  assert.deepEqual(
    since.filter(({ event }) => event === 'draining' || event === 'released' || event === 'acquired'),
    [],
  )
  assert.equal(again.epoch, before.epoch)
  assert.notEqual(a.workloadPid(), before.pid)
  assert.ok(!lives(before.pid))
}

describe('LangFlow fails on the leader', { concurrency: 4 }, () => {
  test('and another replica is ready: that one takes over', async (t) => {
    const stage = await Stage.open(t)
    const port = await freePort()
    const a = await stage.replica('a', { flags: [...FAST, `--peers=localhost:${port}`] })
    const serving = await a.event('serving')
    const b = await stage.replica('b', { flags: [...FAST, `--listen=127.0.0.1:${port}`] })
    await b.event('standby_ready')
    await until('a knows that b is ready', async () => (await a.status()).peers?.ready === 1)
    await served(a, serving)
    process.kill(a.workloadPid(), 'SIGKILL')
    await b.event('serving')
    assert.match((await a.event('stepped_down')).reason ?? '', /ended by itself \(SIGKILL\)/)
  })

  test('and no other replica is ready: it is started again in the same term', async (t) => {
    const stage = await Stage.open(t)
    const a = await stage.replica('a', { flags: [...FAST, `--peers=localhost:${await freePort()}`] })
    const serving = await a.event('serving')
    await served(a, serving)
    assert.deepEqual((await a.status()).peers, { ready: 0, seen: 0 })
    const before = { pid: a.workloadPid(), lines: a.lines.length, epoch: serving.epoch as number }
    process.kill(before.pid, 'SIGKILL')
    await servesAgain(a, before)
    const why =
      /^LangFlow is restarted in place: LangFlow ended by itself \(SIGKILL\); no other replica is ready$/
    assert.equal(a.lines.filter(({ level, msg }) => level === 'warn' && why.test(msg)).length, 1)
    const metrics = (await a.get('/metrics')).text
    assert.match(metrics, /^langflow_leader_restarts_total\{reason="langflow_ended_by_itself_sigkill"\} 1$/m)
    assert.match(metrics, /^langflow_leader_peers_ready 0$/m)
  })

  test('by its health, with --on-crash=restart: it is started again although another replica is ready', async (t) => {
    const stage = await Stage.open(t)
    const flags = [...FAST, '--on-crash=restart', '--health-interval=100ms']
    const [a, b] = await stage.pair({ flags })
    const serving = await a.event('serving')
    await served(a, serving)
    const before = { pid: a.workloadPid(), lines: a.lines.length, epoch: serving.epoch as number }
    await fetch(`http://127.0.0.1:${a.port}/sicken`)
    await servesAgain(a, before)
    assert.ok(!b.events().includes('acquired'))
  })

  test('soon after its start: it is handed over, whatever the policy, so that a crash loop backs off', async (t) => {
    const stage = await Stage.open(t)
    const a = await stage.replica('a', { flags: [...FAST, '--on-crash=restart'] })
    const { epoch } = await a.event('serving')
    process.kill(a.workloadPid(), 'SIGKILL')
    const lines = a.lines.length
    await a.event('stepped_down')
    assert.equal((await a.event('acquired', lines)).epoch, (epoch as number) + 1)
  })
})
