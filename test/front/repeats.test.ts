import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { freePort } from '../harness/free-port.ts'
import { until } from '../harness/wait.ts'
import { ask, FOR_EVER, fakeLangFlow, KEY, TestFront } from './fixture.ts'
import { FrontProcess, KEY as PROCESS_KEY } from './front-process.ts'

const at = (port: number) => ({ target: { host: '127.0.0.1', port } })

for (const method of ['GET', 'HEAD', 'OPTIONS']) {
  test(`a ${method} is sent again if its connection breaks before the first byte of the answer`, async (t) => {
    const langflow = await fakeLangFlow(t, (incoming, outgoing) => {
      if (langflow.seen.list.length === 1) incoming.socket.destroy()
      else outgoing.end()
    })
    const front = await TestFront.start(t, at(langflow.port))
    await front.toLangFlow()
    assert.equal((await ask(front.port, '/a', { method })).status, 200)
    assert.deepEqual(langflow.seen.list, [`${method} /a`, `${method} /a`])
  })
}

for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
  test(`a ${method} whose connection breaks is sent only once, and its client gets 502: the outcome is unknown`, async (t) => {
    const langflow = await fakeLangFlow(t, ({ socket }) => socket.destroy())
    const front = await TestFront.start(t, at(langflow.port))
    await front.toLangFlow()
    const { status, headers, body } = await ask(front.port, '/a', { method, body: 'x' })
    assert.equal(status, 502)
    assert.match(headers['content-type'] ?? '', /^application\/json/)
    assert.match(JSON.parse(body).error, /the outcome is unknown/)
    assert.deepEqual(langflow.seen.list, [`${method} /a`])
    await front.counts('failed', ({ failed }) => failed.outcome_unknown === 1)
  })
}

test('a GET that breaks each connection is sent at most twice', async (t) => {
  const langflow = await fakeLangFlow(t, ({ socket }) => socket.destroy())
  const front = await TestFront.start(t, at(langflow.port))
  await front.toLangFlow()
  assert.equal((await ask(front.port, '/a')).status, 502)
  assert.equal(langflow.seen.list.length, 2)
})

test('a GET on an idle connection that LangFlow has just closed is sent again on a new connection, not on another idle one', async (t) => {
  const idle = new Set<Socket>()
  const langflow = await fakeLangFlow(t, ({ socket, url }, outgoing) => {
    if (url === '/late' && idle.has(socket)) socket.destroy()
    else if (url === '/late') outgoing.end('new')
    else {
      idle.add(socket)
      if (idle.size === 3) for (const answer of waiting) answer.end()
      else waiting.push(outgoing)
      if (idle.size === 3) outgoing.end()
    }
  })
  const waiting: ServerResponse[] = []
  const front = await TestFront.start(t, at(langflow.port))
  await front.toLangFlow()
  await Promise.all(['/a', '/b', '/c'].map((path) => ask(front.port, path)))
  const { status, body } = await ask(front.port, '/late')
  assert.deepEqual([status, body], [200, 'new'])
})

test('attempts through different fronts count towards the same limit, and only the entry front counts the failure', async (t) => {
  let broke = () => {}
  const first = await fakeLangFlow(t, ({ socket }) => {
    broke = () => socket.destroy()
  })
  const second = await fakeLangFlow(t, ({ socket }) => socket.destroy())
  const [former, leader, entry] = await Promise.all([
    TestFront.start(t, at(first.port)),
    TestFront.start(t, at(second.port)),
    TestFront.start(t),
  ])
  await former.toLangFlow(FOR_EVER, 1)
  await entry.toLeader(former.address, 1)
  const asked = ask(entry.port, '/a')
  await first.seen.next('the first attempt', () => true)
  await former.toNobody({ epoch: 1, key: KEY })
  broke()
  await former.counts('the request held again', ({ held }) => held === 1)
  await former.toNobody({ epoch: 2 })
  await leader.toLangFlow(FOR_EVER, 2)
  await entry.toLeader(leader.address, 2)
  const { status, body } = await asked
  assert.equal(status, 502)
  assert.match(JSON.parse(body).error, /^[^.]*the outcome is unknown$/)
  assert.deepEqual([first.seen.list.length, second.seen.list.length], [1, 1])
  await entry.counts('one failure', ({ failed }) => failed.outcome_unknown === 1)
  await former.counts('no failure', ({ inFlight, failed }) => inFlight === 0 && failed.outcome_unknown === 0)
})

test('a request that another front only held when it ended does not count as sent, however often that happens', async (t) => {
  const langflow = await fakeLangFlow(t, (incoming, outgoing) => {
    if (langflow.seen.list.length === 1) incoming.socket.destroy()
    else outgoing.end()
  })
  const [entry, leader] = await Promise.all([TestFront.start(t), TestFront.start(t, at(langflow.port))])
  await entry.toNobody()
  const asked = ask(entry.port, '/a')
  for (let epoch = 1; epoch <= 3; epoch++) {
    const holding = await TestFront.start(t)
    await holding.toNobody({ epoch, key: KEY })
    await entry.toLeader(holding.address, epoch)
    await holding.counts('one held request', ({ held }) => held === 1)
    await holding.stop()
  }
  await leader.toLangFlow(FOR_EVER, 4)
  await entry.toLeader(leader.address, 4)
  assert.equal((await asked).status, 200)
  assert.equal(langflow.seen.list.length, 2)
})

test('the hold timeout counts from the arrival of the request, even if an attempt breaks in between', async (t) => {
  const langflow = await fakeLangFlow(t, ({ socket }) => void setTimeout(() => socket.destroy(), 1_500))
  const front = await TestFront.start(t, { ...at(langflow.port), holdTimeoutMs: 2_000 })
  await front.toLangFlow()
  const began = performance.now()
  const asked = ask(front.port, '/a')
  await langflow.seen.next('the request', () => true)
  await front.toNobody()
  assert.equal((await asked).status, 503)
  // Counted from the break, it would end after 3.5 s.
  assert.ok(performance.now() - began < 3_400, `after ${performance.now() - began} ms`)
})

/** Starts a workload in LangFlow's place that exits when it receives a request for `/die`. */
async function mortal(t: TestContext, log: string) {
  const port = await freePort()
  const child = spawn(process.execPath, [WORKLOAD, String(port), log], { stdio: 'ignore' })
  t.after(() => child.kill('SIGKILL'))
  await until('the workload answers', () => ask(port, '/health').then(Boolean, () => false))
  return { port, exited: once(child, 'exit'), ended: () => child.exitCode !== null }
}
const WORKLOAD = fileURLToPath(new URL('../harness/workload.mjs', import.meta.url))

test('a GET that crashes LangFlow crashes at most two and then gets 502; the third LangFlow serves again', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'repeats-'))
  t.after(() => rmSync(directory, { recursive: true }))
  const langflows = await Promise.all([0, 1, 2].map(() => mortal(t, join(directory, 'log'))))
  const fronts = await Promise.all(
    langflows.map(({ port }) => FrontProcess.start(port, { holdTimeoutMs: 10_000 })),
  )
  t.after(() => Promise.all(fronts.map((front) => front.stop())))
  const [a, b, c] = fronts as [FrontProcess, FrontProcess, FrontProcess]
  const leads = async (leader: FrontProcess, epoch: number) => {
    await leader.leads(epoch)
    for (const front of fronts) if (front !== leader) await front.follows(leader, epoch)
  }
  await leads(a, 1)
  const began = performance.now()
  const deadly = ask(b.port, '/die')
  await langflows[0]?.exited
  // When LangFlow exits, its agent closes the gate and keeps the term.
  await a.holds(1, PROCESS_KEY)
  const others = fronts.map(({ port }) => ask(port, '/health', { method: 'POST', body: '{}' }))
  await a.counted('four held requests', ({ held }) => held === 4)
  await leads(b, 2)
  await langflows[1]?.exited
  const { status, body } = await deadly
  assert.deepEqual([status, Object.keys(JSON.parse(body))], [502, ['error']])
  assert.ok(performance.now() - began < 10_000)
  await leads(c, 3)
  // A request that the second LangFlow had received when it exited has an unknown outcome.
  for (const other of others) assert.ok([200, 502].includes((await other).status))
  assert.equal((await ask(b.port, '/health')).status, 200)
  assert.deepEqual(
    langflows.map(({ ended }) => ended()),
    [true, true, false],
  )
})
