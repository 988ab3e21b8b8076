import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { freePort } from '../harness/free-port.ts'
import type { Line } from '../harness/logged-process.ts'
import { FAST, type Replica } from '../harness/replica.ts'
import { EmbeddedScene, lives } from '../harness/scene.ts'
import { mono, until } from '../harness/wait.ts'

const LEASE_MS = 4_000

describe('a takeover', { concurrency: 4 }, () => {
  test('clean: the stop is confirmed before the release, and the next holder follows at once', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair()
    a.signal('SIGTERM')
    const acquired = await b.event('acquired')
    assert.equal(acquired.reason, 'its holder released it')
    const released = await a.event('released')
    assert.ok(a.events().indexOf('workload_stopped') < a.events().indexOf('released'))
    // Both logs read one wall clock.
    assert.ok(Date.parse(acquired.time) - Date.parse(released.time) < 500)
    assert.deepEqual(await a.exited, { code: 0, signal: null })
    await b.event('serving')
    assert.deepEqual(JSON.parse((await b.get('/leader')).text).holder, 'b')
  })

  test('after a crash of the whole replica: when the Lease has expired, not earlier', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair()
    for (const pid of [a.launcherPid(), a.workloadPid(), a.pid]) process.kill(pid, 'SIGKILL')
    const acquired = await b.event('acquired')
    assert.equal(acquired.reason, 'a did not renew it in time')
    const unchangedMs = Number(acquired.unchangedMs)
    assert.ok(unchangedMs >= LEASE_MS && unchangedMs < LEASE_MS + 300, `${unchangedMs}`)
    await b.event('serving')
  })

  test('when LangFlow answers /health with errors: the gate closes and another takes over', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair({ flags: [...FAST, '--health-interval=100ms'] })
    await fetch(`http://127.0.0.1:${a.port}/sicken`)
    await b.event('serving')
    assert.match((await a.event('draining')).reason ?? '', /unhealthy: \/health: 500 \(3 times in a row\)/)
    assert.equal((await a.get('/readyz')).status, 503)
  })

  test('a request in flight is let to end before the stop', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair()
    const began = mono()
    const answer = fetch(`http://127.0.0.1:${a.port}/slow=1500`)
    await new Promise<void>((resolve) => setImmediate(resolve))
    while ((await fetch(`http://127.0.0.1:${a.port}/`, { headers: { connection: 'close' } })).status !== 200);
    a.signal('SIGTERM')
    assert.equal((await answer).status, 200)
    assert.ok(mono() - began >= 1_500)
    await b.event('serving')
  })
})

/** Resolves once it has served for long enough for another start in the same term. */
async function served(a: Replica): Promise<Line> {
  const serving = await a.event('serving')
  const since = Date.parse(serving.time)
  await until(`${a.name} has served for a lease duration`, () => Date.now() - since > LEASE_MS + 100)
  return serving
}

/** LangFlow of the same replica serves again: a new process, the old one is dead, and the term goes on. */
async function servesAgain(
  a: Replica,
  before: { pid: number; lines: number },
  epoch?: number,
): Promise<void> {
  const again = await a.event('serving', before.lines)
  const since = a.lines.slice(before.lines).map(({ event }) => event)
  assert.ok(since.includes('workload_stopped'))
  assert.deepEqual(
    since.filter((event) => event === 'draining' || event === 'released' || event === 'acquired'),
    [],
  )
  assert.equal(again.epoch, epoch)
  assert.notEqual(a.workloadPid(), before.pid)
  assert.ok(!lives(before.pid))
}

describe('LangFlow fails on the leader', { concurrency: 4 }, () => {
  test('and another replica is ready: that one takes over', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const port = await freePort()
    const a = await scene.replica('a', { flags: [...FAST, `--peers=localhost:${port}`] })
    await a.event('serving')
    const b = await scene.replica('b', { flags: [...FAST, `--listen=127.0.0.1:${port}`] })
    await b.event('standby_ready')
    await until('a knows that b is ready', async () => (await a.status()).peers?.ready === 1)
    await served(a)
    process.kill(a.workloadPid(), 'SIGKILL')
    await b.event('serving')
    assert.match((await a.event('stepped_down')).reason ?? '', /ended by itself \(SIGKILL\)/)
    assert.equal(a.process.exitCode, null)
  })

  test('and no other replica is ready: it is started again in the same term', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const a = await scene.replica('a', { flags: [...FAST, `--peers=localhost:${await freePort()}`] })
    const { epoch } = await served(a)
    assert.deepEqual((await a.status()).peers, { ready: 0, seen: 0 })
    const before = { pid: a.workloadPid(), lines: a.lines.length }
    process.kill(before.pid, 'SIGKILL')
    await servesAgain(a, before, epoch)
    const why =
      /^LangFlow is restarted in place: LangFlow ended by itself \(SIGKILL\); no other replica is ready$/
    assert.equal(a.lines.filter(({ level, msg }) => level === 'warn' && why.test(msg)).length, 1)
    const metrics = (await a.get('/metrics')).text
    assert.match(metrics, /^langflow_leader_restarts_total\{reason="langflow_ended_by_itself_sigkill"\} 1$/m)
    assert.match(metrics, /^langflow_leader_peers_ready 0$/m)
  })

  test('by its health, with --on-crash=restart: it is started again although another replica is ready', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair({ flags: [...FAST, '--on-crash=restart', '--health-interval=100ms'] })
    const { epoch } = await served(a)
    const before = { pid: a.workloadPid(), lines: a.lines.length }
    await fetch(`http://127.0.0.1:${a.port}/sicken`)
    await servesAgain(a, before, epoch)
    assert.ok(!b.events().includes('acquired'))
  })

  test('soon after its start: it is handed over, whatever the policy, so that a crash loop backs off', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const a = await scene.replica('a', { flags: [...FAST, '--on-crash=restart'] })
    const { epoch } = await a.event('serving')
    process.kill(a.workloadPid(), 'SIGKILL')
    const lines = a.lines.length
    await a.event('stepped_down')
    assert.equal((await a.event('acquired', lines)).epoch, (epoch as number) + 1)
  })
})
