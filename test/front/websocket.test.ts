import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { until } from '../harness/wait.ts'
import { accepted, upgrade } from './exchanges.ts'
import { at, FOR_EVER, fakeLangFlow, hungServer, TestFront } from './fixture.ts'
import { ScriptedTarget } from './scripted-target.ts'
import { Wire } from './wire.ts'

async function asking(t: TestContext, front: TestFront, path = '/ws'): Promise<Wire> {
  const client = await Wire.connect(front.port)
  t.after(() => client.destroy())
  await client.send(upgrade(path))
  return client
}

async function agreeing(t: TestContext) {
  const wires: Wire[] = []
  const target = await ScriptedTarget.listen(async (served) => {
    wires.push(served.wire)
    await served.send(accepted(served))
  })
  t.after(() => target.close())
  return { port: target.port, wires, asked: () => target.served.map(({ message }) => message.target) }
}

async function through(t: TestContext, port: number) {
  const leader = await TestFront.start(t, { ...at(port), streamGraceMs: 200 })
  const follower = await TestFront.start(t)
  await leader.toLangFlow()
  await follower.toLeader(leader.address)
  return { leader, follower }
}

async function opened(t: TestContext, front: TestFront): Promise<Wire> {
  const client = await asking(t, front)
  assert.equal((await client.answer()).status, 101)
  return client
}

test('a planned takeover closes each websocket after the stream grace, on both sides', async (t) => {
  const langflow = await agreeing(t)
  const { leader, follower } = await through(t, langflow.port)
  const clients = [await opened(t, leader), await opened(t, follower)]
  await leader.counts('two open streams', ({ streams, inFlight }) => streams === 2 && inFlight === 0)
  await leader.closes()
  for (const client of clients) assert.equal((await client.rest()).length, 0)
  for (const wire of langflow.wires) assert.equal((await wire.rest()).length, 0)
  const { forwarded } = await leader.counts(
    'two ended streams',
    ({ streams, streamsEnded }) => streams === 0 && streamsEnded === 2,
  )
  assert.equal(forwarded.langflow, 0)
})

test('the front closes a websocket to a former leader a second after it receives a newer epoch', async (t) => {
  const langflow = await agreeing(t)
  const { follower } = await through(t, langflow.port)
  const client = await opened(t, follower)
  await follower.toNobody({ epoch: 2 })
  assert.equal((await client.rest()).length, 0)
})

test('if one end half-closes a websocket, the front closes the other end too', async (t) => {
  const langflow = await agreeing(t)
  const { leader, follower } = await through(t, langflow.port)
  for (const front of [leader, follower]) {
    const client = await opened(t, front)
    const far = langflow.wires.at(-1) as Wire
    client.end()
    assert.equal((await far.rest()).length, 0)
    await front.counts('no open stream', ({ streams }) => streams === 0)
    const other = await opened(t, front)
    langflow.wires.at(-1)?.end()
    assert.equal((await other.rest()).length, 0)
    await front.counts('no open stream', ({ streams }) => streams === 0)
  }
  const { forwarded, failed } = await leader.counts(
    'four forwarded websockets',
    ({ forwarded }) => forwarded.langflow === 4,
  )
  assert.deepEqual([forwarded.langflow, failed.client_gone, failed.cut], [4, 0, 0])
})

test('the front holds a handshake while no replica serves, and forgets it if the client leaves', async (t) => {
  const langflow = await agreeing(t)
  const front = await TestFront.start(t, at(langflow.port))
  const client = await asking(t, front)
  const gone = await asking(t, front)
  const closed = await asking(t, front)
  await front.counts('three held handshakes', ({ held }) => held === 3)
  gone.destroy()
  closed.socket.destroy()
  await front.counts('two clients gone', ({ held, failed }) => held === 1 && failed.client_gone === 2)
  await front.toLangFlow()
  assert.equal((await client.answer()).status, 101)
  assert.equal(langflow.asked().length, 1)
})

test('a handshake that the front refuses counts as one failure, with its reason', async (t) => {
  const front = await TestFront.start(t, { holdTimeoutMs: 100 })
  const client = await asking(t, front)
  assert.equal((await client.answer()).status, 503)
  await client.rest()
  const { failed } = await front.counts(
    'one hold timeout and nothing left',
    ({ failed, held, inFlight }) => failed.hold_timeout === 1 && held + inFlight === 0,
  )
  assert.equal(failed.client_gone, 0)
})

test('the front drops a client that sends data before its handshake is answered', async (t) => {
  const front = await TestFront.start(t)
  const client = await asking(t, front)
  await front.counts('one held handshake', ({ held }) => held === 1)
  await client.send('early')
  await assert.rejects(client.answer())
  await front.counts('the client gone', ({ held, failed }) => held === 0 && failed.client_gone === 1)
})

test("a handshake that a former leader refuses or doesn't answer is sent to the next leader", async (t) => {
  const [stuck, langflow] = [await hungServer(t), await agreeing(t)]
  const [former, leader, follower] = await TestFront.three(
    t,
    langflow.port,
    at(Number(stuck.address.split(':')[1])),
  )
  await former.toLangFlow()
  await leader.toLangFlow(FOR_EVER, 2)
  await follower.toLeader(former.address)
  const unanswered = await asking(t, follower, '/unanswered')
  await until('the handshake at the former leader', () => stuck.received.includes('/unanswered'))
  await former.toNobody({ epoch: 2 })
  const refused = await asking(t, follower, '/refused-once')
  await follower.counts(
    'one held handshake and one in flight',
    ({ held, inFlight }) => held === 1 && inFlight === 1,
  )
  await follower.toLeader(leader.address, 2)
  for (const client of [unanswered, refused]) assert.equal((await client.answer()).status, 101)
  assert.deepEqual(langflow.asked().sort(), ['/refused-once', '/unanswered'])
})

test('a handshake that crashes LangFlow is sent at most twice, through any fronts', async (t) => {
  const sent: string[] = []
  const breaking = await fakeLangFlow(t)
  breaking.server.on('upgrade', ({ url = '' }, socket) => {
    sent.push(url)
    socket.destroy()
  })
  const [leader, entry] = await Promise.all([TestFront.start(t, at(breaking.port)), TestFront.start(t)])
  await leader.toLangFlow()
  await entry.toLeader(leader.address)
  const client = await asking(t, entry)
  assert.equal((await client.answer()).status, 502)
  assert.equal(sent.length, 2)
})
