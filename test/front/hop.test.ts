import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { type TestContext, test } from 'node:test'
import { HOP, HOP_EPOCH, HOP_WAITED } from '../../agent/front/front-messages.ts'
import { freePort } from '../harness/free-port.ts'
import { until } from '../harness/wait.ts'
import { ask, FOR_EVER, fakeLangFlow, heard, hungServer, KEY, rawConnection, TestFront } from './fixture.ts'

const at = (port: number) => ({ target: { host: '127.0.0.1', port } })
const OTHER_KEY = 'vutsrqponmlkjihgfedcba'
const LARGE = Buffer.alloc(1024 * 1024, 1)

test("a follower's front forwards to the leader's, which forwards to LangFlow", async (t) => {
  const langflow = await fakeLangFlow(t, ({ headers }, outgoing) => outgoing.end(JSON.stringify(headers)))
  const leader = await TestFront.start(t, at(langflow.port))
  const follower = await TestFront.start(t)
  await leader.toLangFlow()
  await follower.toLeader(leader.address)
  const asked = { headers: { host: 'flows.example', 'x-forwarded-for': '192.0.2.1' } }
  const { status, body } = await ask(follower.port, '/a', asked)
  const seen = JSON.parse(body)
  assert.equal(status, 200)
  assert.deepEqual(
    [seen.host, seen['x-forwarded-for'], seen['x-forwarded-host'], seen['x-forwarded-proto'], seen[HOP]],
    ['flows.example', '192.0.2.1, 127.0.0.1', 'flows.example', 'http', undefined],
  )
  await follower.counts('forwarded', ({ forwarded }) => forwarded.leader === 1)
  await leader.counts('forwarded', ({ forwarded }) => forwarded.langflow === 1)
})

test("a hop waits at the leader's front, and is refused once that one does not lead any more", async (t) => {
  const front = await TestFront.start(t)
  await front.toNobody({ epoch: 3, key: KEY })
  const hop = ask(front.port, '/a', { method: 'POST', body: 'x', headers: { [HOP]: `3 ${KEY}` } })
  await front.counts('held', ({ held }) => held === 1)
  await front.toLeader('127.0.0.1:1', 4)
  const { status, headers } = await hop
  assert.deepEqual([status, headers[HOP_EPOCH]], [421, '4'])
})

test('a refused hop waits for the next leader, and is sent there', async (t) => {
  const langflow = await fakeLangFlow(t)
  const [former, leader, follower] = await Promise.all([
    TestFront.start(t),
    TestFront.start(t, at(langflow.port)),
    TestFront.start(t),
  ])
  await former.toLeader(leader.address, 2)
  await leader.toLangFlow(FOR_EVER, 2)
  await follower.toLeader(former.address, 1)
  const asked = ask(follower.port, '/a', { method: 'POST', body: 'x' })
  await follower.counts('held', ({ held }) => held === 1)
  assert.deepEqual(langflow.seen.list, [])
  await follower.toLeader(leader.address, 2)
  assert.equal((await asked).status, 200)
  assert.deepEqual(langflow.seen.list, ['POST /a'])
})

test('of a large body nothing is read until it can be sent on, so that it follows the leader as any other', async (t) => {
  const langflow = await fakeLangFlow(t, async (incoming, outgoing) => {
    outgoing.end(String((await text(incoming)).length))
  })
  const [former, leader, follower] = await Promise.all([
    TestFront.start(t),
    TestFront.start(t, at(langflow.port)),
    TestFront.start(t),
  ])
  await former.closes()
  await follower.toLeader(former.address, 1)
  const asked = ask(follower.port, '/a', { method: 'POST', body: LARGE })
  await former.counts("it waits at the leader's", ({ held }) => held === 1)
  await former.toNobody({ epoch: 2 })
  await follower.counts('it waits for the next', ({ held }) => held === 1)
  await leader.toLangFlow(FOR_EVER, 2)
  await follower.toLeader(leader.address, 2)
  assert.deepEqual([(await asked).body, langflow.seen.list], [String(LARGE.length), ['POST /a']])
})

const WITHHELD = {
  GET: { method: 'GET' },
  'a small body': { method: 'POST', body: 'x' },
  'no body': { method: 'POST' },
  'no body, by DELETE': { method: 'DELETE' },
  'a large body': { method: 'POST', body: LARGE },
}

for (const [title, asked] of Object.entries(WITHHELD)) {
  test(`what another front only holds did not reach LangFlow when that one ends: with ${title}`, async (t) => {
    const langflow = await fakeLangFlow(t, async (incoming, outgoing) => {
      outgoing.end(JSON.stringify([(await text(incoming)).length, incoming.headers]))
    })
    const [former, leader, follower] = await Promise.all([
      TestFront.start(t),
      TestFront.start(t, at(langflow.port)),
      TestFront.start(t),
    ])
    await former.toNobody({ epoch: 1, key: KEY })
    await follower.toLeader(former.address, 1)
    const answered = ask(follower.port, '/a', asked)
    await former.counts("it waits at the leader's", ({ held }) => held === 1)
    await former.stop()
    await follower.counts('it waits for the next', ({ held }) => held === 1)
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

  test(`what a former leader hangs on goes to the next one within a second: with ${title}`, async (t) => {
    const hung = await hungServer(t)
    const langflow = await fakeLangFlow(t)
    const [leader, follower] = await Promise.all([TestFront.start(t, at(langflow.port)), TestFront.start(t)])
    await follower.toLeader(hung.address, 1)
    const answered = ask(follower.port, '/a', asked)
    await until('its head is there', () => hung.heard.includes('\r\n\r\n'))
    await leader.toLangFlow(FOR_EVER, 2)
    await follower.toLeader(leader.address, 2)
    assert.equal((await answered).status, 200)
    assert.deepEqual(langflow.seen.list, [`${asked.method} /a`])
    assert.ok(hung.heard.endsWith('\r\n\r\n'), 'something of the body was sent')
  })
}

test('what another front asked the body of, and then broke, is not sent again', async (t) => {
  const broken = await hungServer(t, (socket) => {
    socket.write('HTTP/1.1 100 Continue\r\n\r\n')
    socket.on('data', () => socket.destroy())
  })
  const follower = await TestFront.start(t)
  await follower.toLeader(broken.address, 1)
  assert.equal((await ask(follower.port, '/a', { method: 'POST', body: 'x' })).status, 502)
})

test('requests that change something go to another front over connections that are kept', async (t) => {
  const langflow = await fakeLangFlow(t, (incoming, outgoing) => incoming.pipe(outgoing))
  const leader = await TestFront.start(t, at(langflow.port))
  const follower = await TestFront.start(t)
  await leader.toLangFlow()
  await follower.toLeader(leader.address)
  let connections = 0
  const count = (message: unknown) => {
    const { socket } = message as { socket: Socket }
    if (socket.localPort === leader.port) connections++
  }
  subscribe('net.server.socket', count)
  t.after(() => unsubscribe('net.server.socket', count))
  for (let i = 0; i < 20; i++)
    assert.equal((await ask(follower.port, '/a', { method: 'POST', body: `${i}` })).body, `${i}`)
  assert.equal(connections, 1)
})

test('a front that was just started refuses, and is asked again until it knows that it leads', async (t) => {
  const langflow = await fakeLangFlow(t)
  const leader = await TestFront.start(t, at(langflow.port))
  const follower = await TestFront.start(t)
  await follower.toLeader(leader.address)
  const asked = ask(follower.port, '/a')
  await follower.counts('held', ({ held }) => held === 1)
  await leader.toLangFlow()
  assert.equal((await asked).status, 200)
})

test('a request is held no longer by two fronts than by one', async (t) => {
  const [leader, follower] = await Promise.all([
    TestFront.start(t, { holdTimeoutMs: 1_000 }),
    TestFront.start(t, { holdTimeoutMs: 1_000 }),
  ])
  await leader.toNobody({ key: KEY })
  await follower.toNobody()
  const began = performance.now()
  const asked = ['GET', 'POST'].map((method) => ask(follower.port, '/a', { method }))
  await follower.counts('they waited', ({ oldestHeldMs }) => oldestHeldMs >= 500)
  await follower.toLeader(leader.address)
  for (const { status, body } of await Promise.all(asked)) {
    assert.equal(status, 503)
    assert.match(body, /within 1s: it can safely be sent again/)
  }
  assert.ok(performance.now() - began < 1_300, `after ${performance.now() - began} ms`)
})

const UPGRADE = {
  connection: 'upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
}
for (const [title, asked] of Object.entries({
  GET: { method: 'GET' },
  HEAD: { method: 'HEAD' },
  'a POST': { method: 'POST', body: 'x' },
  'an upload whose client waits to be told': {
    method: 'POST',
    headers: { 'content-length': '1000000', expect: '100-continue' },
  },
  'a websocket': { headers: UPGRADE },
})) {
  test(`${title} that the leader's front does not answer waits no longer than the hold timeout`, async (t) => {
    const hung = await hungServer(t)
    const follower = await TestFront.start(t, { holdTimeoutMs: 500 })
    await follower.toLeader(hung.address)
    const { status, body } = await ask(follower.port, '/a', asked)
    assert.equal(status, 503)
    if (title !== 'HEAD') assert.match(body, /within 500ms: it can safely be sent again/)
    await follower.counts('failed', ({ failed }) => failed.hold_timeout === 1)
  })

  test(`${title} that LangFlow has is waited for, however long it takes`, async (t) => {
    const langflow = await fakeLangFlow(t, (_, outgoing) => void setTimeout(() => outgoing.end(), 700))
    langflow.server.on('upgrade', (_, socket) =>
      setTimeout(() => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'), 700),
    )
    langflow.server.on('checkContinue', (_, outgoing) => void setTimeout(() => outgoing.end(), 700))
    const config = { ...at(langflow.port), holdTimeoutMs: 300 }
    const [leader, follower] = await Promise.all([TestFront.start(t, config), TestFront.start(t, config)])
    await leader.toLangFlow()
    await follower.toLeader(leader.address)
    assert.equal((await ask(follower.port, '/a', asked)).status, 200)
  })
}

test('a hop connection is probed by the kernel within 15 s of silence', async (t) => {
  const hung = await hungServer(t)
  const follower = await TestFront.start(t)
  await follower.toLeader(hung.address)
  ask(follower.port, '/a').catch(() => {})
  await until('its head is there', () => hung.heard.includes('GET /a'))
  const port = Number(hung.address.split(':')[1]).toString(16).toUpperCase()
  await until('a timer of the kernel', () => {
    const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n')
    // Local and remote address, state (established), queues, timer (keep-alive) and when it fires, in ticks of 10 ms.
    return lines.some((line) => {
      const [, , to, state, , timer = ''] = line.trim().split(/\s+/)
      const [kind, ticks = ''] = timer.split(':')
      return (
        to?.endsWith(`:${port}`) && state === '01' && kind === '02' && Number.parseInt(ticks, 16) <= 1_500
      )
    })
  })
})

test("a front says since when the leader's has answered nothing, also while no request comes", async (t) => {
  const [hung, leader, follower] = await Promise.all([hungServer(t), TestFront.start(t), TestFront.start(t)])
  const other = await fakeLangFlow(t)
  const to = (address: string, epoch = 1) => ({ to: 'leader', epoch, key: KEY, address }) as const
  await leader.toNobody({ key: KEY })
  const first = await follower.unheard(() => true, to(leader.address))
  const second = await follower.unheard(({ since }) => since > first.since, to(leader.address))
  await leader.stop()
  const refused = await follower.unheard(({ because }) => /ECONNREFUSED/.test(because), to(leader.address))
  assert.equal(refused.address, leader.address)
  assert.ok(refused.since >= second.since)
  const silent = await follower.unheard(({ because }) => /no answer/.test(because), to(hung.address, 2))
  assert.ok(silent.since > refused.since, 'another leader has its own time')
  await follower.unheard(
    ({ because }) => because === 'it is no front: its answer is 200',
    to(`127.0.0.1:${other.port}`, 3),
  )
  await follower.toNobody()
  assert.equal(
    (follower.said.list.findLast(({ type }) => type === 'routed') as { unheard: unknown }).unheard,
    null,
  )
})

test('no number in the header of a hop harms, nor does one that a client forges', async (t) => {
  const front = await TestFront.start(t, { holdTimeoutMs: 300 })
  await front.toNobody({ key: KEY })
  const hop = (waited: string, key = KEY) =>
    ask(front.port, '/a', { headers: { [HOP]: `1 ${key}`, [HOP_WAITED]: waited } })
  for (const waited of ['1e308', 'Infinity', '-5', 'NaN', '0x10', '9'.repeat(400), '', '1, 2'])
    assert.equal((await hop(waited, OTHER_KEY)).status, 421)
  const began = performance.now()
  const answers = await Promise.all(['1e308', 'Infinity', '-5', '9'.repeat(400)].map((waited) => hop(waited)))
  assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([503]))
  assert.ok(performance.now() - began >= 300, 'one did not wait at all')
  assert.equal((await hop('999999999')).status, 503)
  await front.counts('sane times', ({ oldestHeldMs }) => oldestHeldMs >= 0 && oldestHeldMs < 1e10)
})

test('when another leads, what is under way to the former leader has a second, and then counts as broken', async (t) => {
  const stuck = await fakeLangFlow(t, () => {})
  const langflow = await fakeLangFlow(t)
  const [former, leader, follower] = await Promise.all([
    TestFront.start(t, at(stuck.port)),
    TestFront.start(t, at(langflow.port)),
    TestFront.start(t),
  ])
  await former.toLangFlow()
  await leader.toLangFlow(FOR_EVER, 2)
  await follower.toLeader(former.address, 1)
  const get = ask(follower.port, '/get')
  const post = ask(follower.port, '/post', { method: 'POST', body: 'x' })
  await until('both are under way', () => stuck.seen.list.length === 2)
  await follower.toLeader(leader.address, 2)
  assert.deepEqual([(await get).status, (await post).status], [200, 502])
  assert.deepEqual(langflow.seen.list, ['GET /get'])
})

test('what is under way within one term is left alone: a change of route within it breaks nothing', async (t) => {
  let answer = () => {}
  const langflow = await fakeLangFlow(t, (_, outgoing) => {
    answer = () => outgoing.end('late')
  })
  const front = await TestFront.start(t, at(langflow.port))
  await front.toLangFlow()
  const asked = ask(front.port, '/a', { method: 'POST', body: 'x' })
  await langflow.seen.next('the request', () => true)
  await front.toNobody({ key: KEY })
  await front.toLangFlow()
  answer()
  assert.equal((await asked).body, 'late')
})

/** A large body that its client sends once it is told to, held by a follower whose leader is not there yet. */
async function heldUpload(t: TestContext) {
  const port = await freePort()
  const follower = await TestFront.start(t)
  await follower.toLeader(`127.0.0.1:${port}`)
  const upload = await rawConnection(t, follower.port)
  upload.write('POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\nExpect: 100-continue\r\n\r\n')
  await follower.counts('it waits', ({ held }) => held === 1)
  const leads = async (langflow: number) => {
    const leader = await TestFront.start(t, { ...at(langflow), listen: { host: '127.0.0.1', port } })
    await leader.toLangFlow()
  }
  return { follower, upload, leads }
}

test('an upload whose client waits to be told waits for a leader that cannot be reached, and keeps nobody from being tried', async (t) => {
  const langflow = await fakeLangFlow(t, (incoming, outgoing) =>
    incoming.resume().on('end', () => outgoing.end('ok')),
  )
  const { follower, upload, leads } = await heldUpload(t)
  const get = ask(follower.port, '/a')
  await follower.counts('both wait', ({ held }) => held === 2)
  await leads(langflow.port)
  assert.equal((await get).status, 200)
  assert.match(await heard(upload, '\r\n\r\n'), /^HTTP\/1\.1 100 /)
  upload.write(Buffer.alloc(1_000_000))
  assert.match(await heard(upload, 'ok'), /200 OK/)
  assert.deepEqual(langflow.seen.list.toSorted(), ['GET /a', 'POST /big'])
})

test('one whose connection breaks while it is the only one that is tried lets the next one be tried', async (t) => {
  let breaks = true
  const langflow = await fakeLangFlow(t, ({ socket }, outgoing) => {
    if (breaks) socket.destroy()
    else outgoing.end('ok')
  })
  const { follower, upload, leads } = await heldUpload(t)
  await leads(langflow.port)
  assert.match(await heard(upload, '\r\n\r\n'), /^HTTP\/1\.1 (100|502) /)
  breaks = false
  assert.equal((await ask(follower.port, '/a')).status, 200)
})
