import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request } from 'node:http'
import { test } from 'node:test'
import { ask, open } from '../harness/connection.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { until } from '../harness/wait.ts'
import { at, fakeLangFlow, KEY, received, TestFront } from './fixture.ts'
import { roomOf } from './room.ts'

test('the front holds requests while no replica serves, and then sends them in the order of arrival', async (t) => {
  const langflow = await fakeLangFlow(t)
  const front = await TestFront.start(t, at(langflow.port))
  const asked = []
  for (let i = 0; i < 5; i++) {
    asked.push(ask(front, `/${i}`, { method: 'POST', body: String(i) }))
    await front.counts(`${i + 1} held`, ({ held }) => held === i + 1)
  }
  assert.deepEqual(langflow.seen.list, [])
  await front.toLangFlow()
  for (const { status } of await Promise.all(asked)) assert.equal(status, 200)
  assert.deepEqual(langflow.seen.list, ['POST /0', 'POST /1', 'POST /2', 'POST /3', 'POST /4'])
})

test('a request that waits for the hold timeout gets 503 with Retry-After', async (t) => {
  const clock = new VirtualClock()
  const front = await TestFront.start(t, { clock, holdTimeoutMs: 30_000 })
  const arrived = front.arrival()
  const asked = ask(front, '/a')
  await arrived
  await clock.pass(29_999)
  await front.counts('one held request', ({ held }) => held === 1)
  await clock.pass(1)
  const { status, headers, body } = await asked
  assert.deepEqual([status, headers['retry-after']], [503, '1'])
  assert.match(JSON.parse(body).error, /within 30s: the request can safely be sent again/)
  await front.counts('one hold timeout', ({ failed }) => failed.hold_timeout === 1)
})

test('a request beyond the hold limit gets 503 immediately', async (t) => {
  const front = await TestFront.start(t, { holdLimit: 2 })
  for (const path of ['/a', '/b']) ask(front, path).catch(() => {})
  await front.counts('two held', ({ held }) => held === 2)
  const { status, body } = await ask(front, '/c')
  assert.equal(status, 503)
  assert.match(JSON.parse(body).error, /limit of 2 waiting requests/)
  await front.counts('the third request refused', ({ failed }) => failed.hold_limit === 1)
})

for (const by of ['the front', "the leader's front for another"] as const) {
  test(`a request that ${by} holds never reaches LangFlow if its client leaves`, async (t) => {
    const langflow = await fakeLangFlow(t)
    const leader = await TestFront.start(t, at(langflow.port))
    await leader.toNobody({ key: KEY })
    const front = by === 'the front' ? leader : await TestFront.start(t)
    if (front !== leader) await front.toLeader(leader.address)
    const gone = await open(t, front)
    gone.write('POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab')
    await leader.counts('one held request', ({ held }) => held === 1)
    gone.destroy()
    await front.counts('the client gone', ({ failed }) => failed.client_gone === 1)
    if (front !== leader) await leader.counts('none held', ({ held }) => held === 0)
    await leader.toLangFlow()
    await ask(leader, '/b')
    assert.deepEqual(langflow.seen.list, ['GET /b'])
    assert.deepEqual(front.logged, [])
  })
}

test('the front sends 100 Continue only when it forwards the request', async (t) => {
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
  await front.counts('one held request', ({ held }) => held === 1)
  assert.equal(invited, false)
  await front.toLangFlow()
  const [incoming] = await answered
  assert.deepEqual([incoming.statusCode, invited], [200, true])
  incoming.resume()
})

test('a client that still waits for 100 Continue at the hold timeout gets 503, and its connection closes', async (t) => {
  const clock = new VirtualClock()
  const front = await TestFront.start(t, { clock })
  const client = await open(t, front)
  const arrived = front.arrival()
  client.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n')
  await arrived
  await clock.pass(30_000)
  const answer = await received(client)
  assert.match(answer, /^HTTP\/1.1 503 /)
  assert.match(answer, /connection: close/i)
})

test('once the grant has ended, the front sends nothing to LangFlow, even without a message from the agent', async (t) => {
  const clock = new VirtualClock()
  const langflow = await fakeLangFlow(t)
  const front = await TestFront.start(t, { clock, ...at(langflow.port) })
  await front.toLangFlow(clock.mono() + 10_000)
  assert.equal((await ask(front, '/a')).status, 200)
  await clock.pass(10_000)
  const arrived = front.arrival()
  const asked = ask(front, '/b')
  await arrived
  await clock.pass(5_000)
  assert.deepEqual(langflow.seen.list, ['GET /a'])
  await front.toLangFlow(clock.mono() + 10_000)
  assert.equal((await asked).status, 200)
})

test('requests wait while LangFlow refuses connections, and are sent when it accepts them', async (t) => {
  const clock = new VirtualClock()
  const before = await fakeLangFlow(t)
  before.server.close()
  const front = await TestFront.start(t, { clock, ...at(before.port) })
  await front.toLangFlow()
  const asked = ask(front, '/a', { method: 'POST', body: 'a' })
  await until('the request is held', async () => {
    await clock.pass(10)
    return front.reports.list.some((one) => one.type === 'counts' && one.counts.held === 1)
  })
  const langflow = await fakeLangFlow(t, undefined, before.port)
  await clock.pass(100)
  assert.equal((await asked).status, 200)
  assert.deepEqual(langflow.seen.list, ['POST /a'])
})

test('a request that returns because it did not reach LangFlow keeps its place, even beyond the hold limit', async () => {
  const { room, sent, langflow, guest, turn, opens } = roomOf({ holdLimit: 1 })
  langflow.isOpen = true
  const back = guest(0)
  await turn(back)
  langflow.isOpen = false
  const waiting = [turn(guest(1))]
  await assert.rejects(room.turn(guest(2)), /limit of 1 waiting requests/)
  waiting.push(turn(back))
  await opens()
  await Promise.all(waiting)
  assert.deepEqual(sent, [0, 0, 1])
})

test("a request from another front is ordered by its arrival there, and the hold limit doesn't apply to it again", async () => {
  const { clock, sent, wait, opens } = roomOf({ holdLimit: 1 })
  wait(0)
  for (const [order, waitedMs] of [
    [1, 500],
    [2, -1],
    [3, 1_000],
  ] as const)
    wait(order, { hop: '1 key', since: clock.mono() - waitedMs })
  await opens()
  assert.deepEqual(sent, [3, 1, 0, 2])
})

test('LangFlow gets eight waiting requests at first and five more for four answers; after a second with an empty queue, no limit applies', async () => {
  const { clock, sent, room, wait, opens } = roomOf()
  const guests = Array.from({ length: 20 }, (_, order) => wait(order))
  await opens()
  assert.equal(sent.length, 8)
  guests.push(wait(20))
  for (const one of guests.slice(0, 4)) room.answered(one)
  await clock.pass(0)
  assert.equal(sent.length, 8 + 5)
  for (const one of guests.slice(4, 10)) room.answered(one)
  await clock.pass(0)
  assert.deepEqual(sent, [...Array(21).keys()])
  await clock.pass(999)
  for (let order = 50; order < 60; order++) guests.push(wait(order))
  // The window holds eleven requests, and eleven are in LangFlow.
  assert.equal(sent.length, 21)
  for (const one of guests.slice(10)) room.answered(one)
  for (const one of guests.slice(10)) room.answered(one)
  await clock.pass(1_000)
  for (let order = 100; order < 200; order++) wait(order)
  await clock.pass(250)
  assert.equal(sent.length, 31 + 100)
})

test('a request that has its place in the window goes once its body is read, even if older requests wait', async () => {
  const { clock, sent, turn, wait, opens } = roomOf()
  const guests = Array.from({ length: 8 }, (_, order) => wait(order))
  wait(8)
  await opens()
  wait(9, { hop: '1 key', since: clock.mono() - 1_000 })
  await turn(guests[7]!)
  assert.deepEqual(sent, [0, 1, 2, 3, 4, 5, 6, 7, 7])
})

test('if LangFlow answers nothing for two seconds, its requests leave the window, which grows by their number', async () => {
  const { clock, sent, wait, opens } = roomOf()
  for (let order = 0; order < 100; order++) wait(order)
  await opens()
  await clock.pass(1_999)
  assert.equal(sent.length, 8)
  await clock.pass(1)
  assert.equal(sent.length, 24)
  await clock.pass(2_000)
  assert.equal(sent.length, 56)
})

test('if LangFlow answers other requests, an unanswered one makes the window grow less', async () => {
  const { clock, sent, room, wait, opens } = roomOf()
  const guests = Array.from({ length: 50 }, (_, order) => wait(order))
  await opens()
  await clock.pass(1_000)
  room.answered(guests[0]!)
  await clock.pass(1_000)
  // The window holds ten requests, and one is in LangFlow.
  assert.equal(sent.length, 9 + 9)
})

test('a request that is sent again in a new term gets the full two seconds there', async () => {
  const { clock, sent, langflow, guest, turn, wait, opens, replaced } = roomOf()
  const again = guest(0)
  void turn(again)
  for (let order = 1; order < 8; order++) wait(order)
  await opens()
  await clock.pass(1_000)
  langflow.isOpen = false
  for (let order = 10; order < 30; order++) wait(order)
  void turn(again)
  replaced()
  await opens()
  assert.equal(sent.length, 8 + 8)
  await clock.pass(1_000)
  assert.equal(sent.length, 8 + 8)
})

test('a request whose client leaves gives up its place, both in the queue and in the window', async () => {
  const { clock, sent, room, wait, opens } = roomOf()
  const guests = Array.from({ length: 20 }, (_, order) => wait(order))
  await opens()
  for (const order of [8, 9, 0]) room.forget(guests[order]!)
  await clock.pass(0)
  assert.deepEqual(sent, [0, 1, 2, 3, 4, 5, 6, 7, 10])
})

test('health checks go before all other requests', async () => {
  const { clock, sent, wait, opens } = roomOf()
  for (let order = 0; order < 20; order++) wait(order)
  wait(100, { urgent: true })
  await opens()
  wait(101, { urgent: true })
  await clock.pass(0)
  assert.deepEqual(sent, [100, 0, 1, 2, 3, 4, 5, 6, 7, 101])
})

test("requests of all fronts pass through the leader's window, and one that doesn't get its turn in time gets 503", async (t) => {
  const langflow = await fakeLangFlow(t, (incoming, outgoing) => {
    if (incoming.url === '/health_check') outgoing.end('ok')
  })
  const leader = await TestFront.start(t, { ...at(langflow.port), holdTimeoutMs: 5_000 })
  const follower = await TestFront.start(t)
  const none = () => {}
  for (let i = 0; i < 8; i++) ask(leader, `/${i}`).catch(none)
  await leader.counts('eight held', ({ held }) => held === 8)
  await leader.toLangFlow()
  await until('eight requests at LangFlow', () => langflow.seen.list.includes('GET /7'))
  await follower.toLeader(leader.address)
  const late = ask(follower, '/late', { method: 'POST', body: 'late' })
  await leader.counts('one held request', ({ held }) => held === 1)
  assert.equal((await ask(follower, '/health_check')).body, 'ok')
  const { status, body } = await late
  assert.equal(status, 503)
  assert.match(JSON.parse(body).error, /within 5s: the request can safely be sent again/)
  assert.ok(!langflow.seen.list.includes('POST /late'))
})
