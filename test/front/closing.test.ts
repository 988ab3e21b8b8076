import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type IncomingMessage, request, type ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { type Clock, systemClock } from '../../agent/clock.ts'
import { HOP } from '../../agent/front/front-messages.ts'
import { ask, open } from '../harness/connection.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { until } from '../harness/wait.ts'
import { at, FOR_EVER, fakeLangFlow, KEY, received, TestFront } from './fixture.ts'

const SSE = { 'content-type': 'text/event-stream' }

async function openStream(front: TestFront): Promise<IncomingMessage> {
  const outgoing = request({ host: '127.0.0.1', port: front.port, path: '/events', agent: false }).end()
  const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
  await once(incoming, 'readable')
  return incoming
}

async function streaming(
  t: TestContext,
  clock: Clock = systemClock,
  streamGraceMs = 300,
): Promise<TestFront> {
  const langflow = await fakeLangFlow(t, (incoming, outgoing) => {
    if (incoming.url !== '/events') {
      outgoing.end('ok')
      return
    }
    outgoing.writeHead(200, SSE)
    outgoing.write('data: 1\n\n')
  })
  const front = await TestFront.serving(t, langflow.port, { streamGraceMs, clock })
  return front
}

test("while a stream is open, the leader's front forwards requests for the stream grace of a planned takeover, then holds them", async (t) => {
  const clock = new VirtualClock()
  const front = await streaming(t, clock)
  const stream = await openStream(front)
  await clock.pass(1_000)
  await front.counts('one stream', ({ streams, inFlight }) => streams === 1 && inFlight === 0)
  await front.closes()
  assert.equal((await ask(front, '/own')).status, 200)
  assert.equal((await ask(front, '/hop', { headers: { [HOP]: `1 ${KEY}` } })).status, 200)
  await clock.pass(299)
  // Each renewal of the Lease brings a new route, which must not restart the grace.
  await front.closes(1, FOR_EVER, FOR_EVER - 1)
  assert.equal((await ask(front, '/still')).status, 200)
  await clock.pass(1)
  assert.equal(await text(stream), 'data: 1\n\n')
  assert.equal(stream.complete, true)
  const arrived = front.arrival()
  const waits = ask(front, '/waits')
  await arrived
  await front.closes()
  await front.toNobody({ key: KEY })
  await clock.pass(1_000)
  await front.counts('one held request', ({ held, streamsEnded }) => held === 1 && streamsEnded === 1)
  await front.toLangFlow(FOR_EVER, 2)
  assert.equal((await waits).status, 200)
})

test('the front holds requests once the last stream has ended by itself, even within the grace', async (t) => {
  const front = await streaming(t, systemClock, 60_000)
  const first = await openStream(front)
  await front.closes()
  const later = await openStream(front)
  first.destroy()
  await front.counts('one open stream', ({ streams }) => streams === 1)
  assert.equal((await ask(front, '/goes-on')).status, 200)
  later.destroy()
  await front.counts('no open stream', ({ streams }) => streams === 0)
  const waits = ask(front, '/waits')
  await front.counts('one held request', ({ held, streamsEnded }) => held === 1 && streamsEnded === 0)
  await front.toLangFlow(FOR_EVER, 2)
  assert.equal((await waits).status, 200)
})

test('if LangFlow is stopped within the grace, its streams end immediately and like complete answers', async (t) => {
  const front = await streaming(t, new VirtualClock())
  const stream = await openStream(front)
  await front.closes()
  await front.toNobody({ key: KEY })
  assert.equal(await text(stream), 'data: 1\n\n')
  assert.equal(stream.complete, true)
})

test('a takeover that is cancelled within the grace ends no stream', async (t) => {
  const clock = new VirtualClock()
  let end = () => {}
  const langflow = await fakeLangFlow(t, (_, outgoing) => {
    outgoing.writeHead(200, SSE).write('data: 1\n\n')
    end = () => outgoing.end('data: 2\n\n')
  })
  const front = await TestFront.serving(t, langflow.port, { streamGraceMs: 300, clock })
  const stream = await openStream(front)
  await front.closes()
  await clock.pass(299)
  await front.toLangFlow()
  await clock.pass(10_000)
  end()
  assert.equal(await text(stream), 'data: 1\n\ndata: 2\n\n')
})

test('a stream that begins after the grace ends immediately', async (t) => {
  const clock = new VirtualClock()
  let begin = () => {}
  const langflow = await fakeLangFlow(t, (_, outgoing) => {
    begin = () => outgoing.writeHead(200, SSE).write('data: 1\n\n')
  })
  const front = await TestFront.serving(t, langflow.port, { streamGraceMs: 300, clock })
  const asked = ask(front, '/events', { method: 'POST', body: '{}' })
  await langflow.seen.next('the request', () => true)
  await front.closes()
  await clock.pass(300)
  begin()
  assert.equal((await asked).status, 200)
})

test('in a planned takeover, requests in flight finish, new requests wait, and idle connections to LangFlow close immediately', async (t) => {
  const open = new Set<object>()
  let answer: ServerResponse | null = null
  const langflow = await fakeLangFlow(t, (incoming, outgoing) => {
    if (incoming.url === '/slow') answer = outgoing
    else outgoing.end('ok')
  })
  langflow.server.on('connection', (socket) => {
    open.add(socket)
    socket.once('close', () => open.delete(socket))
  })
  const front = await TestFront.serving(t, langflow.port)
  const slow = ask(front, '/slow', { method: 'POST', body: 'x' })
  await langflow.seen.next('the slow request', (one) => one === 'POST /slow')
  await ask(front, '/quick')
  assert.equal(open.size, 2)
  await front.closes()
  await until('the idle connection closed', () => open.size === 1)
  const late = ask(front, '/late')
  await front.counts('one held request', ({ held, inFlight }) => held === 1 && inFlight === 1)
  ;(answer as ServerResponse | null)?.end('done')
  assert.equal((await slow).body, 'done')
  await until('no connection to LangFlow left', () => open.size === 0)
  await front.toLangFlow(FOR_EVER, 2)
  assert.equal((await late).body, 'ok')
})

test('until a quiet moment all requests are served; from then on they wait, until the agent closes the gate or stays', async (t) => {
  const answers: ServerResponse[] = []
  const langflow = await fakeLangFlow(t, (incoming, outgoing) => {
    if (incoming.url === '/slow') answers.push(outgoing)
    else outgoing.end('ok')
  })
  const clock = new VirtualClock()
  const front = await TestFront.serving(t, langflow.port, { clock })
  const slow = ask(front, '/slow', { method: 'POST', body: 'x' })
  await langflow.seen.next('the slow request', (one) => one === 'POST /slow')
  await front.untilQuiet()
  await clock.pass(1_000)
  assert.equal((await ask(front, '/meanwhile')).body, 'ok')
  assert.ok(front.reports.list.every(({ type }) => type !== 'quiet'))
  answers[0]?.end('done')
  assert.equal((await slow).body, 'done')
  await clock.pass(20)
  await front.quiet()
  const arrived = front.arrival()
  const late = ask(front, '/late')
  await arrived
  // The agent repeats the route each second, to see whether the front answers.
  await front.untilQuiet()
  await front.quiet()
  await clock.pass(1_000)
  await front.counts('one held request', ({ held, inFlight }) => held === 1 && inFlight === 0)
  await front.toLangFlow()
  assert.equal((await late).body, 'ok')
  await front.untilQuiet()
  await front.quiet()
  await front.closes()
  const next = ask(front, '/next')
  await clock.pass(1_000)
  await front.counts('one held request', ({ held }) => held === 1)
  await front.toLangFlow(FOR_EVER, 2)
  assert.equal((await next).body, 'ok')
})

test('a stream is idle, and delays no quiet moment, two seconds after its last byte', async (t) => {
  const clock = new VirtualClock()
  const front = await streaming(t, clock)
  const stream = await openStream(front)
  await front.untilQuiet()
  await clock.pass(1_980)
  assert.ok(front.reports.list.every(({ type }) => type !== 'quiet'))
  await clock.pass(20)
  await front.quiet()
  // Nothing is left to finish, so the stream gets no grace.
  await front.closes(1, clock.mono())
  assert.equal(await text(stream), 'data: 1\n\n')
})

test('a stream that has just begun is not idle, even if it has sent no byte yet', async (t) => {
  const clock = new VirtualClock()
  const langflow = await fakeLangFlow(t, (_, outgoing) => outgoing.writeHead(200, SSE).flushHeaders())
  const front = await TestFront.serving(t, langflow.port, { clock })
  const outgoing = request({ host: '127.0.0.1', port: front.port, path: '/events', agent: false }).end()
  await once(outgoing, 'response')
  await front.untilQuiet()
  await clock.pass(1_980)
  assert.ok(front.reports.list.every(({ type }) => type !== 'quiet'))
  outgoing.destroy()
})

test('a front that ends answers held and late requests, each with Connection: close', async (t) => {
  const langflow = await fakeLangFlow(t)
  const front = await TestFront.start(t, at(langflow.port))
  const held = ask(front, '/held')
  await front.counts('one held request', ({ held }) => held === 1)
  front.send({ type: 'end', until: FOR_EVER })
  const late = ask(front, '/late')
  await front.counts('two held requests', ({ held }) => held === 2)
  await front.toLangFlow()
  for (const { status, headers } of await Promise.all([held, late]))
    assert.deepEqual([status, headers.connection], [200, 'close'])
  await front.reports.next('ended', ({ type }) => type === 'ended')
  await assert.rejects(ask(front, '/too-late'), { code: 'ECONNREFUSED' })
})

test('a front that ends does so by its deadline, even if requests are left', async (t) => {
  const front = await TestFront.start(t)
  const held = ask(front, '/held')
  await front.counts('one held request', ({ held }) => held === 1)
  front.send({ type: 'end', until: Number(process.hrtime.bigint()) / 1e6 + 300 })
  await front.reports.next('ended', ({ type }) => type === 'ended')
  await Promise.all([front.stop(), assert.rejects(held)])
})

test("the front ends immediately when its agent's pipe closes", async (t) => {
  const front = await TestFront.start(t)
  const client = await open(t, front)
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n')
  await front.counts('one held request', ({ held }) => held === 1)
  await front.stop()
  assert.equal(await received(client).catch(() => ''), '')
})

test("a front that can't listen reports why and ends", async (t) => {
  const taken = await fakeLangFlow(t)
  const front = TestFront.start(t, { listen: { host: '127.0.0.1', port: taken.port } })
  await assert.rejects(front, /cannot listen on 127.0.0.1:\d+: address already in use/)
})
