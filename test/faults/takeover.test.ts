import assert from 'node:assert/strict'
import { describe, type TestContext, test } from 'node:test'
import { freePort } from '../harness/free-port.ts'
import type { Line } from '../harness/logged-process.ts'
import { askStatus, FAST, type Replica } from '../harness/replica.ts'
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
    // Both logs read one wall clock. A watch that told nothing would be looked into after 1 s.
    assert.ok(Date.parse(acquired.time) - Date.parse(released.time) < 900)
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

  test('none while the API server hangs for less than the lease: the same process goes on after a pause', async (t) => {
    const scene = await EmbeddedScene.open(t)
    const [a, b] = await scene.pair()
    const pid = a.workloadPid()
    for (const { link } of [a, b]) link.partition()
    await a.event('workload_frozen')
    assert.equal((await a.get('/readyz')).status, 503)
    for (const { link } of [a, b]) await link.heal()
    await a.event('workload_thawed')
    const doubt = a.lines.findIndex((line) => line.event === 'doubt')
    await a.event('serving', doubt)
    assert.equal(a.workloadPid(), pid)
    assert.ok(lives(pid))
    assert.equal((await a.status()).lease.epoch, 1)
    assert.ok(!b.events().includes('acquired'))
  })

  /** A leader of an old revision, and a replica of a new one. */
  async function rollout(t: TestContext, workload: string[] = []) {
    const scene = await EmbeddedScene.open(t)
    const port = await freePort()
    const revision = (hash: string) => ({ POD_TEMPLATE_HASH: hash })
    const a = await scene.replica('a', {
      flags: [...FAST, `--peers=localhost:${port}`],
      env: revision('old'),
    })
    const { epoch } = await a.event('serving')
    const flags = [...FAST, `--listen=127.0.0.1:${port}`, `--peers=localhost:${a.httpPort}`]
    const b = await scene.replica('b', { flags, env: revision('new'), workload })
    return { port, a, b, epoch }
  }

  test('by a newer revision: the leader hands over once to a prepared replica of it', async (t) => {
    const { port, a, b, epoch } = await rollout(t)
    const served = await b.event('serving')
    assert.equal(served.epoch, (epoch as number) + 1)
    const steppedDown = await a.event('stepped_down')
    assert.equal(steppedDown.reason, 'a replica of a newer revision is ready')
    await a.event('standby_ready', a.lines.indexOf(steppedDown))
    await until('b knows that a is ready', async () => (await askStatus(port)).peers?.ready === 1)
    assert.equal((await askStatus(port)).revision, 'new')
    assert.ok(!b.events().includes('draining'))
  })

  test('by a newer revision that gives the Lease back: it is not made way for again', async (t) => {
    const { a, b } = await rollout(t, ['exit=1'])
    await b.event('stepped_down')
    const again = await a.event('serving', a.lines.indexOf(await a.event('stepped_down')))
    await until('a knows that b is ready', async () => (await a.status()).peers?.ready === 1)
    assert.equal((await a.status()).lease.epoch, again.epoch)
    assert.equal(a.events().filter((event) => event === 'stepped_down').length, 1)
  })
})

/** Resolves once it has served for long enough for another start in the same term. */
async function served(a: Replica): Promise<Line> {
  const serving = await a.event('serving')
  const since = Date.parse(serving.time)
  await until(`${a.name} has served for a lease duration`, () => Date.now() - since > LEASE_MS + 100)
  return serving
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
    const [pid, from] = [a.workloadPid(), a.lines.length]
    process.kill(pid, 'SIGKILL')
    const again = await a.event('serving', from)
    const since = a.lines.slice(from).flatMap(({ event }) => event ?? [])
    assert.ok(since.includes('workload_stopped'))
    assert.ok(!since.some((event) => ['draining', 'released', 'acquired'].includes(event)), `${since}`)
    assert.equal(again.epoch, epoch)
    assert.notEqual(a.workloadPid(), pid)
    assert.ok(!lives(pid))
    const why =
      /^LangFlow is restarted in place: LangFlow ended by itself \(SIGKILL\); no other replica is ready$/
    assert.equal(a.lines.filter(({ level, msg }) => level === 'warn' && why.test(msg)).length, 1)
    const metrics = (await a.get('/metrics')).text
    assert.match(metrics, /^langflow_leader_restarts_total\{reason="workload_exited"\} 1$/m)
    assert.match(metrics, /^langflow_leader_peers_ready 0$/m)
  })
})
