import assert from 'node:assert/strict'
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { test } from 'node:test'
import { ask } from '../harness/connection.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { until } from '../harness/wait.ts'
import { at, FOR_EVER, fakeLangFlow, KEY, TestFront } from './fixture.ts'

for (const method of ['GET', 'HEAD', 'OPTIONS']) {
  test(`a ${method} is sent again if its connection breaks before the first byte of the answer`, async (t) => {
    const langflow = await fakeLangFlow(t, (incoming, outgoing) => {
      if (langflow.seen.list.length === 1) incoming.socket.destroy()
      else outgoing.end()
    })
    const front = await TestFront.serving(t, langflow.port)
    assert.equal((await ask(front, '/a', { method })).status, 200)
    assert.deepEqual(langflow.seen.list, [`${method} /a`, `${method} /a`])
  })
}

for (const method of ['POST', 'PUT', 'PATCH', 'DELETE']) {
  test(`a ${method} whose connection breaks is sent only once, and its client gets 502: the outcome is unknown`, async (t) => {
    const langflow = await fakeLangFlow(t, ({ socket }) => socket.destroy())
    const front = await TestFront.serving(t, langflow.port)
    const { status, headers, body } = await ask(front, '/a', { method })
    assert.equal(status, 502)
    assert.match(headers['content-type'] ?? '', /^application\/json/)
    assert.match(JSON.parse(body).error, /the outcome is unknown/)
    assert.deepEqual(langflow.seen.list, [`${method} /a`])
    await front.counts('failed', ({ failed }) => failed.outcome_unknown === 1)
  })
}

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
  const front = await TestFront.serving(t, langflow.port)
  await Promise.all(['/a', '/b', '/c'].map((path) => ask(front, path)))
  const { status, body } = await ask(front, '/late')
  assert.deepEqual([status, body], [200, 'new'])
})

test('attempts through different fronts count towards the same limit, and only the entry front counts the failure', async (t) => {
  let broke = () => {}
  const first = await fakeLangFlow(t, ({ socket }) => {
    broke = () => socket.destroy()
  })
  const second = await fakeLangFlow(t, ({ socket }) => socket.destroy())
  const [former, leader, entry] = await TestFront.three(t, second.port, at(first.port))
  await former.toLangFlow(FOR_EVER, 1)
  await entry.toLeader(former.address, 1)
  const asked = ask(entry, '/a')
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
  const asked = ask(entry, '/a')
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
  const clock = new VirtualClock()
  let breaks = () => {}
  const langflow = await fakeLangFlow(t, ({ socket }) => {
    breaks = () => socket.destroy()
  })
  const front = await TestFront.serving(t, langflow.port, { clock, holdTimeoutMs: 2_000 })
  const answer = ask(front, '/a')
  await langflow.seen.next('the request', () => true)
  await clock.pass(1_500)
  await front.toNobody()
  breaks()
  const end = clock.mono() + 500
  await until('the request is held', async () => {
    await clock.pass(50)
    return front.reports.list.some((one) => one.type === 'counts' && one.counts.held === 1)
  })
  await clock.pass(end - clock.mono())
  assert.equal((await answer).status, 503)
})
