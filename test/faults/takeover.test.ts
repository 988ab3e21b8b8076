import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { describe, test } from 'node:test'
import { HELD, hold } from '../support/held-connections.ts'
import { FAST } from '../support/replica.ts'
import { lives, mono, Stage } from '../support/stage.ts'

/** The stop timeout, less some. How long it takes to the millisecond is for the fault table. */
const STOP_MS = 15_000

describe('a takeover', { concurrency: 4 }, () => {
  test('clean: the stop is confirmed before the release, and the next holder follows at once', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
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
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    const { pid } = a
    process.kill(a.launcherPid(), 'SIGKILL')
    process.kill(a.workloadPid(), 'SIGKILL')
    process.kill(pid, 'SIGKILL')
    const acquired = await b.event('acquired')
    assert.equal(acquired.reason, 'a did not renew it in time')
    assert.ok(
      Number(acquired.unchangedMs) >= 4_000 && Number(acquired.unchangedMs) < 4_300,
      `${acquired.unchangedMs}`,
    )
    await b.event('serving')
  })

  test('when LangFlow ends by itself: stop, release, and the other one serves', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    process.kill(a.workloadPid(), 'SIGKILL')
    await b.event('serving')
    assert.match((await a.event('stepped_down')).reason ?? '', /ended by itself \(SIGKILL\)/)
    assert.equal(a.process.exitCode, null)
  })

  test('when LangFlow answers /health with errors: the gate closes and another takes over', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair({
      flags: [...FAST, '--health-interval=100ms'],
    })
    await fetch(`http://127.0.0.1:${a.port}/sicken`)
    await b.event('serving')
    assert.match((await a.event('draining')).reason ?? '', /unhealthy: \/health: 500 \(3 times in a row\)/)
    assert.equal((await a.get('/readyz')).status, 503)
  })

  test('leaves no process of a workload that ignores SIGTERM and daemonised', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair({
      workload: ['ignore-term', 'daemon'],
      flags: [...FAST, '--stop-timeout=1s'],
    })
    const pids = new Set(stage.beatsOf('a').map(({ pid }) => pid))
    a.signal('SIGTERM')
    await b.event('acquired')
    assert.ok(pids.size >= 1)
    for (const { pid } of stage.beatsOf('a')) assert.ok(!lives(pid), `${pid} lives`)
  })

  test('a replica whose workload exits at once steps down, says so, and lets the other one try', async (t) => {
    const stage = await Stage.open(t)
    const a = await stage.replica('a', { workload: ['exit=3'] })
    await a.event('stepped_down')
    const b = await stage.replica('b')
    await b.event('serving')
    assert.match((await a.event('stepped_down')).reason ?? '', /ended by itself \(exit code 3\)/)
    assert.match((await a.status()).decision, /b holds the Lease/)
  })

  test('a taken port is one clear sentence, and the replica steps down', async (t) => {
    const stage = await Stage.open(t)
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.after(() => server.close())
    const { port } = server.address() as { port: number }
    const a = await stage.replica('a', { port })
    const line = await a.event('stepped_down')
    assert.match(
      line.reason ?? '',
      new RegExp(`port ${port} is already taken by "node" \\(pid ${process.pid}\\)`),
    )
    assert.equal(stage.beatsOf('a').length, 0)
  })

  test('SIGTERM while LangFlow starts ends cleanly', async (t) => {
    const stage = await Stage.open(t)
    const a = await stage.replica('a', { workload: ['unhealthy=1000000'] })
    await a.event('workload_started')
    a.signal('SIGTERM')
    assert.deepEqual(await a.exited, { code: 0, signal: null })
    assert.equal(stage.holder(), '')
  })

  test('SIGTERM on a follower ends at once, with code 0', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    b.signal('SIGTERM')
    assert.deepEqual(await b.exited, { code: 0, signal: null })
    assert.equal(stage.holder(), 'a')
    assert.equal((await a.get('/readyz')).status, 200)
  })

  test('a request in flight is let to end before the stop', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair()
    const began = mono()
    const answer = fetch(`http://127.0.0.1:${a.port}/slow=1500`)
    await new Promise<void>((resolve) => setImmediate(resolve))
    while ((await fetch(`http://127.0.0.1:${a.port}/`, { headers: { connection: 'close' } })).status !== 200);
    a.signal('SIGTERM')
    assert.equal((await answer).status, 200)
    assert.ok(mono() - began >= 1_500)
    await b.event('serving')
  })

  test('what does not end is cut off after the drain timeout, and it is said for whom was waited', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair({ flags: [...FAST, '--drain-timeout=1s'] })
    const held = await Promise.all(HELD.map((kind) => hold(kind, `http://127.0.0.1:${a.port}`)))
    const began = mono()
    a.signal('SIGTERM')
    await b.event('acquired')
    const took = mono() - began
    assert.ok(took >= 1_000 && took < STOP_MS, `it took ${took} ms`)
    await Promise.all(held.map(({ ended }) => ended))
    assert.equal((await a.exited).code, 0)
    const said = a.lines.filter(({ msg }) => /^(draining|cut off): /.test(msg)).map(({ msg }) => msg)
    assert.deepEqual(said, [
      'draining: 4 connections from 127.0.0.1 (4), 1 s left',
      'cut off: 4 connections from 127.0.0.1 (4)',
    ])
  })

  test('a second SIGTERM waits for nobody', async (t) => {
    const stage = await Stage.open(t)
    const [a, b] = await stage.pair({ flags: [...FAST, '--drain-timeout=60s'] })
    const { ended } = await hold('request', `http://127.0.0.1:${a.port}`)
    a.signal('SIGTERM')
    await a.find('for whom it waits', ({ msg }) => msg === 'draining: 1 connection from 127.0.0.1, 60 s left')
    assert.equal((await a.status()).workload.draining, '1 connection from 127.0.0.1')
    const again = mono()
    a.signal('SIGTERM')
    await b.event('acquired')
    assert.ok(mono() - again < STOP_MS, `it took ${mono() - again} ms`)
    assert.notEqual(await ended, 'HTTP 200')
  })
})
