import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { HOP, HOP_EPOCH, HOP_WAITED } from '../../agent/front/front-messages.ts'
import { ask, open } from '../harness/connection.ts'
import { freePort } from '../harness/free-port.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { until } from '../harness/wait.ts'
import { at, FOR_EVER, fakeLangFlow, hungServer, KEY, received, TestFront } from './fixture.ts'

const OTHER_KEY = 'vutsrqponmlkjihgfedcba'
const LARGE = Buffer.alloc(1024 * 1024, 1)

test("a follower's front forwards to the leader's, which forwards to LangFlow", async (t) => {
  const langflow = await fakeLangFlow(t, ({ headers }, outgoing) => outgoing.end(JSON.stringify(headers)))
  const leader = await TestFront.start(t, at(langflow.port))
  const follower = await TestFront.start(t)
  await leader.toLangFlow()
  await follower.toLeader(leader.address)
  const asked = { headers: { host: 'flows.example', 'x-forwarded-for': '192.0.2.1' } }
  const { status, body } = await ask(follower, '/a', asked)
  const seen = JSON.parse(body)
  assert.equal(status, 200)
  assert.deepEqual(
    [seen.host, seen['x-forwarded-for'], seen['x-forwarded-host'], seen['x-forwarded-proto'], seen[HOP]],
    ['flows.example', '192.0.2.1, 127.0.0.1', 'flows.example', 'http', undefined],
  )
  await follower.counts('forwarded', ({ forwarded }) => forwarded.leader === 1)
  await leader.counts('forwarded', ({ forwarded }) => forwarded.langflow === 1)
})

test("the last byte of LangFlow's answers is dated at the leader's front alone", async (t) => {
  const { promise: answer, resolve } = Promise.withResolvers<ServerResponse>()
  const langflow = await fakeLangFlow(t, (_, outgoing) => {
    outgoing.flushHeaders()
    resolve(outgoing)
  })
  const [, leader, follower] = await TestFront.three(t, langflow.port)
  await leader.toLangFlow()
  await follower.toLeader(leader.address)
  const asked = ask(follower, '/a')
  const head = await leader.counts('a head', ({ answeredAt }) => answeredAt > 0)
  ;(await answer).write('a')
  await leader.counts('a byte', ({ answeredAt }) => answeredAt > head.answeredAt)
  ;(await answer).end()
  await asked
  const counted = await follower.counts('an answer', ({ forwarded }) => forwarded.leader === 1)
  assert.equal(counted.answeredAt, 0)
})

test("a hop waits at the leader's front, which refuses it once its replica no longer leads", async (t) => {
  const front = await TestFront.start(t)
  await front.toNobody({ epoch: 3, key: KEY })
  const hop = ask(front, '/a', { method: 'POST', body: 'x', headers: { [HOP]: `3 ${KEY}` } })
  await front.counts('one held request', ({ held }) => held === 1)
  await front.toLeader('127.0.0.1:1', 4)
  const { status, headers } = await hop
  assert.deepEqual([status, headers[HOP_EPOCH]], [421, '4'])
})

test('a refused hop waits for the next leader and is then sent there', async (t) => {
  const langflow = await fakeLangFlow(t)
  const [former, leader, follower] = await TestFront.three(t, langflow.port)
  await former.toLeader(leader.address, 2)
  await leader.toLangFlow(FOR_EVER, 2)
  await follower.toLeader(former.address, 1)
  const asked = ask(follower, '/a', { method: 'POST', body: 'x' })
  await follower.counts('one held request', ({ held }) => held === 1)
  assert.deepEqual(langflow.seen.list, [])
  await follower.toLeader(leader.address, 2)
  assert.equal((await asked).status, 200)
  assert.deepEqual(langflow.seen.list, ['POST /a'])
})

const WITHHELD = {
  GET: { method: 'GET' },
  'a small body': { method: 'POST', body: 'x' },
  'no body': { method: 'POST' },
  'a large body': { method: 'POST', body: LARGE },
}

for (const [title, asked] of Object.entries(WITHHELD)) {
  test(`a request that the leader's front only held when it ended is sent to the next leader: ${title}`, async (t) => {
    const langflow = await fakeLangFlow(t, async (incoming, outgoing) => {
      outgoing.end(JSON.stringify([(await text(incoming)).length, incoming.headers]))
    })
    const [former, leader, follower] = await TestFront.three(t, langflow.port)
    await former.toNobody({ epoch: 1, key: KEY })
    await follower.toLeader(former.address, 1)
    const answered = ask(follower, '/a', asked)
    await former.counts("one request held by the leader's front", ({ held }) => held === 1)
    await former.stop()
    await follower.counts('the request held for the next leader', ({ held }) => held === 1)
    await leader.toLangFlow(FOR_EVER, 2)
    await follower.toLeader(leader.address, 2)
    const { status, body } = await answered
    const [length, headers] = JSON.parse(body)
    assert.deepEqual([status, langflow.seen.list], [200, [`${asked.method} /a`]])
    assert.equal(length, 'body' in asked ? asked.body.length : 0)
    assert.equal(headers['transfer-encoding'], undefined)
    assert.deepEqual(
      Object.keys(headers).filter((name) => name.startsWith('langflow-leader')),
      [],
    )
  })

  test(`a request at a former leader that hangs moves to the next leader, and no byte of its body was sent before: ${title}`, async (t) => {
    const hung = await hungServer(t)
    const langflow = await fakeLangFlow(t)
    const [leader, follower] = await Promise.all([TestFront.start(t, at(langflow.port)), TestFront.start(t)])
    await follower.toLeader(hung.address, 1)
    const answered = ask(follower, '/a', asked)
    await until('the head is at the former leader', () => hung.received.includes('\r\n\r\n'))
    await leader.toLangFlow(FOR_EVER, 2)
    await follower.toLeader(leader.address, 2)
    assert.equal((await answered).status, 200)
    assert.deepEqual(langflow.seen.list, [`${asked.method} /a`])
    assert.ok(hung.received.endsWith('\r\n\r\n'), 'a part of the body was sent')
  })
}

test("a request whose body the leader's front invited is not sent again if that front's connection breaks", async (t) => {
  const broken = await hungServer(t, (socket) => {
    socket.write('HTTP/1.1 100 Continue\r\n\r\n')
    socket.on('data', () => socket.destroy())
  })
  const follower = await TestFront.start(t)
  await follower.toLeader(broken.address, 1)
  assert.equal((await ask(follower, '/a', { method: 'POST', body: 'x' })).status, 502)
})

test("while the leader's front has no route yet, it refuses a hop, and the follower's front tries again until it serves", async (t) => {
  const langflow = await fakeLangFlow(t)
  const leader = await TestFront.start(t, at(langflow.port))
  const follower = await TestFront.start(t)
  await follower.toLeader(leader.address)
  const asked = ask(follower, '/a')
  await follower.counts('one held request', ({ held }) => held === 1)
  await leader.toLangFlow()
  assert.equal((await asked).status, 200)
})

test('two fronts together hold a request for at most one hold timeout', async (t) => {
  const clock = new VirtualClock()
  const config = { clock, holdTimeoutMs: 2_000 }
  const [leader, follower] = await Promise.all([TestFront.start(t, config), TestFront.start(t, config)])
  await leader.toNobody({ key: KEY })
  const arrived = follower.arrival()
  const answer = ask(follower, '/a', { method: 'POST' })
  await arrived
  await clock.pass(1_500)
  const hopped = leader.arrival()
  await follower.toLeader(leader.address)
  await hopped
  await clock.pass(500)
  assert.equal((await answer).status, 503)
})

for (const method of ['GET', 'POST']) {
  test(`a ${method} that LangFlow has received may take longer than the hold timeout`, async (t) => {
    const clock = new VirtualClock()
    let answer = () => {}
    const langflow = await fakeLangFlow(t, (_, outgoing) => {
      answer = () => outgoing.end()
    })
    const config = { ...at(langflow.port), clock, holdTimeoutMs: 800 }
    const [leader, follower] = await Promise.all([TestFront.start(t, config), TestFront.start(t, config)])
    await leader.toLangFlow()
    await follower.toLeader(leader.address)
    const answered = ask(follower, '/a', { method })
    await langflow.seen.next('the request', () => true)
    await clock.pass(900)
    answer()
    assert.equal((await answered).status, 200)
  })
}

test("an invalid waiting time in a hop header doesn't disturb holding, and a forged hop is still refused", async (t) => {
  const front = await TestFront.start(t, { holdTimeoutMs: 300 })
  await front.toNobody({ key: KEY })
  const hop = (waited: string, key = KEY) =>
    ask(front, '/a', { headers: { [HOP]: `1 ${key}`, [HOP_WAITED]: waited } })
  for (const waited of ['1e308', 'Infinity', '-5', 'NaN', '0x10', '9'.repeat(400), '', '1, 2'])
    assert.equal((await hop(waited, OTHER_KEY)).status, 421)
  const began = performance.now()
  const answers = await Promise.all(['1e308', 'Infinity', '-5', '9'.repeat(400)].map((waited) => hop(waited)))
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([503]))
  assert.ok(performance.now() - began >= 300, 'a request did not wait at all')
  assert.equal((await hop('999999999')).status, 503)
  await front.counts(
    'an oldest wait within bounds',
    ({ oldestHeldMs }) => oldestHeldMs >= 0 && oldestHeldMs < 1e10,
  )
})

test('after a change of leader, requests in flight to the former leader break after a second', async (t) => {
  const stuck = await fakeLangFlow(t, () => {})
  const langflow = await fakeLangFlow(t)
  const [former, leader, follower] = await TestFront.three(t, langflow.port, at(stuck.port))
  await former.toLangFlow()
  await leader.toLangFlow(FOR_EVER, 2)
  await follower.toLeader(former.address, 1)
  const get = ask(follower, '/get')
  const post = ask(follower, '/post', { method: 'POST', body: 'x' })
  await until('both requests are at the former leader', () => stuck.seen.list.length === 2)
  await follower.toLeader(leader.address, 2)
  assert.deepEqual([(await get).status, (await post).status], [200, 502])
  assert.deepEqual(langflow.seen.list, ['GET /get'])
})

test('a change of route within a term breaks no request in flight', async (t) => {
  let answer = () => {}
  const langflow = await fakeLangFlow(t, (_, outgoing) => {
    answer = () => outgoing.end('late')
  })
  const front = await TestFront.serving(t, langflow.port)
  const asked = ask(front, '/a', { method: 'POST', body: 'x' })
  await langflow.seen.next('the request', () => true)
  await front.toNobody({ key: KEY })
  await front.toLangFlow()
  answer()
  assert.equal((await asked).body, 'late')
})

/** An upload whose client waits for 100 Continue, held by a follower whose leader's front doesn't listen yet. */
async function heldUpload(t: TestContext) {
  const port = await freePort()
  const follower = await TestFront.start(t)
  await follower.toLeader(`127.0.0.1:${port}`)
  const upload = await open(t, follower)
  upload.write('POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n')
  await follower.counts('one held request', ({ held }) => held === 1)
  const leads = async (langflow: number) => {
    const leader = await TestFront.start(t, { ...at(langflow), listen: { host: '127.0.0.1', port } })
    await leader.toLangFlow()
  }
  return { follower, upload, leads }
}

test("an upload that waits for 100 Continue and an unreachable leader doesn't block other requests", async (t) => {
  const langflow = await fakeLangFlow(t, (incoming, outgoing) =>
    incoming.resume().on('end', () => outgoing.end('ok')),
  )
  const { follower, upload, leads } = await heldUpload(t)
  const get = ask(follower, '/a')
  await follower.counts('two held requests', ({ held }) => held === 2)
  await leads(langflow.port)
  assert.equal((await get).status, 200)
  assert.match(await received(upload, '\r\n\r\n'), /^HTTP\/1\.1 100 /)
  upload.write(Buffer.alloc(1_000_000))
  assert.match(await received(upload, 'ok'), /200 OK/)
  assert.deepEqual(langflow.seen.list.toSorted(), ['GET /a', 'POST /big'])
})

test("if the one request that tries the leader's connection breaks, the next request tries it", async (t) => {
  let breaks = true
  const langflow = await fakeLangFlow(t, ({ socket }, outgoing) => {
    if (breaks) socket.destroy()
    else outgoing.end('ok')
  })
  const { follower, upload, leads } = await heldUpload(t)
  await leads(langflow.port)
  assert.match(await received(upload, '\r\n\r\n'), /^HTTP\/1\.1 (100|502) /)
  breaks = false
  assert.equal((await ask(follower, '/a')).status, 200)
})
