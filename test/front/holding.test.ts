import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request } from 'node:http'
import { test } from 'node:test'
import type { Upstream } from '../../agent/front/upstream.ts'
import { WaitingRoom } from '../../agent/front/waiting-room.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { until } from '../harness/wait.ts'
import { ask, fakeLangFlow, heard, rawConnection, TestFront } from './fixture.ts'

const at = (port: number) => ({ target: { host: '127.0.0.1', port } })

test('a request is forwarded to LangFlow and its answer passed back', async (t) => {
  const langflow = await fakeLangFlow(t)
  const front = await TestFront.start(t, at(langflow.port))
  await front.toLangFlow()
  const { status, body } = await ask(front.port, '/a')
  assert.deepEqual([status, body, langflow.seen.list], [200, 'ok', ['GET /a']])
})

test('requests wait while nobody serves, and are sent in the order in which they came', async (t) => {
  const langflow = await fakeLangFlow(t)
  const front = await TestFront.start(t, at(langflow.port))
  const asked = []
  for (let i = 0; i < 5; i++) {
    asked.push(ask(front.port, `/${i}`, { method: 'POST', body: String(i) }))
    await front.counts(`${i + 1} held`, ({ held }) => held === i + 1)
  }
  assert.deepEqual(langflow.seen.list, [])
  await front.toLangFlow()
  for (const { status } of await Promise.all(asked)) assert.equal(status, 200)
  assert.deepEqual(langflow.seen.list, ['POST /0', 'POST /1', 'POST /2', 'POST /3', 'POST /4'])
})

test('what waits for longer than the hold timeout is answered 503 with Retry-After, and its time is told', async (t) => {
  const clock = new VirtualClock()
  const front = await TestFront.start(t, { clock, holdTimeoutMs: 30_000 })
  const arrived = front.arrival()
  const asked = ask(front.port, '/a')
  await arrived
  await clock.pass(29_999)
  await front.counts('held', ({ held }) => held === 1)
  await clock.pass(1)
  const { status, headers, body } = await asked
  assert.deepEqual([status, headers['retry-after']], [503, '1'])
  assert.match(JSON.parse(body).error, /within 30s: it can safely be sent again/)
  await clock.pass(200)
  const told = await front.said.next('its time', (one) => one.type === 'counts' && one.heldMs.length > 0)
  assert.deepEqual(told.type === 'counts' && [told.heldMs, told.counts.failed.hold_timeout], [[30_000], 1])
})

test('more than the hold limit are answered 503 at once', async (t) => {
  const front = await TestFront.start(t, { holdLimit: 2 })
  for (const path of ['/a', '/b']) ask(front.port, path).catch(() => {})
  await front.counts('two held', ({ held }) => held === 2)
  const { status, body } = await ask(front.port, '/c')
  assert.equal(status, 503)
  assert.match(JSON.parse(body).error, /2 requests are waiting/)
  await front.counts('the third has failed', ({ failed }) => failed.hold_limit === 1)
})

test('a client that gives up is forgotten, and never reaches LangFlow', async (t) => {
  const langflow = await fakeLangFlow(t)
  const front = await TestFront.start(t, at(langflow.port))
  const gone = await rawConnection(t, front.port)
  gone.write('POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab')
  await front.counts('held', ({ held }) => held === 1)
  gone.destroy()
  await front.counts('gone', ({ held, failed }) => held === 0 && failed.client_gone === 1)
  await front.toLangFlow()
  await ask(front.port, '/b')
  assert.deepEqual(langflow.seen.list, ['GET /b'])
  assert.deepEqual(front.logged, [])
})

test('no body is asked for while its request waits', async (t) => {
  const langflow = await fakeLangFlow(t)
  const front = await TestFront.start(t, at(langflow.port))
  const headers = { expect: '100-continue', 'content-length': '5' }
  const outgoing = request({ host: '127.0.0.1', port: front.port, path: '/a', method: 'POST', headers })
  outgoing.flushHeaders()
  let invited = false
  outgoing.on('continue', () => {
    invited = true
    outgoing.end('hello')
  })
  const answered = once(outgoing, 'response')
  await front.counts('held', ({ held }) => held === 1)
  assert.equal(invited, false)
  await front.toLangFlow()
  const [incoming] = await answered
  assert.deepEqual([incoming.statusCode, invited], [200, true])
  incoming.resume()
})

test('whoever was never told to send its body is answered 503 on a connection that closes', async (t) => {
  const clock = new VirtualClock()
  const front = await TestFront.start(t, { clock })
  const client = await rawConnection(t, front.port)
  const arrived = front.arrival()
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
  await arrived
  await clock.pass(30_000)
  const answer = await heard(client)
  assert.match(answer, /^HTTP\/1.1 503 /)
  assert.match(answer, /connection: close/i)
})

test('a large upload waits in the socket, and is whole in the end', async (t) => {
  const langflow = await fakeLangFlow(t, (incoming, outgoing) => {
    let bytes = 0
    incoming.on('data', (chunk: Buffer) => {
      bytes += chunk.length
    })
    incoming.on('end', () => outgoing.end(String(bytes)))
  })
  const front = await TestFront.start(t, at(langflow.port))
  const size = 20 * 1024 * 1024
  const asked = ask(front.port, '/', { method: 'POST', body: Buffer.alloc(size, 1) })
  await front.counts('held', ({ held }) => held === 1)
  assert.deepEqual(langflow.seen.list, [])
  await front.toLangFlow()
  assert.equal((await asked).body, String(size))
})

test('once its grant has run out nothing is sent to LangFlow, without another word from the agent', async (t) => {
  const clock = new VirtualClock()
  const langflow = await fakeLangFlow(t)
  const front = await TestFront.start(t, { clock, ...at(langflow.port) })
  await front.toLangFlow(clock.mono() + 10_000)
  assert.equal((await ask(front.port, '/a')).status, 200)
  await clock.pass(10_000)
  const arrived = front.arrival()
  const asked = ask(front.port, '/b')
  await arrived
  await clock.pass(5_000)
  assert.deepEqual(langflow.seen.list, ['GET /a'])
  await front.toLangFlow(clock.mono() + 10_000)
  assert.equal((await asked).status, 200)
})

test('while LangFlow refuses connections requests wait, and go as soon as it takes them', async (t) => {
  const clock = new VirtualClock()
  const before = await fakeLangFlow(t)
  before.server.close()
  const front = await TestFront.start(t, { clock, ...at(before.port) })
  await front.toLangFlow()
  const asked = ask(front.port, '/a', { method: 'POST', body: 'a' })
  await until('it waits', async () => {
    await clock.pass(10)
    return front.said.list.some((one) => one.type === 'counts' && one.counts.held === 1)
  })
  const langflow = await fakeLangFlow(t, undefined, before.port)
  await clock.pass(100)
  assert.equal((await asked).status, 200)
  assert.deepEqual(langflow.seen.list, ['POST /a'])
})

test('a request that comes back, since it did not get there, has its place however many wait by then', async () => {
  const left: number[] = []
  let isOpen = false
  const upstream = { taken: () => {} } as Upstream
  const room = new WaitingRoom({
    clock: new VirtualClock(),
    holdTimeoutMs: 30_000,
    holdLimit: 1,
    open: () => (isOpen ? upstream : null),
  })
  const wait = (order: number) =>
    room.turn({ hop: null, order, since: 0, waits: () => {} }).then(() => left.push(order))
  const waiting = [wait(1)]
  await assert.rejects(wait(2), /1 requests are waiting/)
  waiting.push(wait(0))
  isOpen = true
  room.letGo()
  await Promise.all(waiting)
  assert.deepEqual(left, [0, 1])
})
