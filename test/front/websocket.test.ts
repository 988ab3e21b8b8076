import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import WebSocket, { WebSocketServer } from 'ws'
import { HOP } from '../../agent/front/front-messages.ts'
import { Upstream } from '../../agent/front/upstream.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { until } from '../harness/wait.ts'
import {
  type FakeLangFlow,
  FOR_EVER,
  fakeLangFlow,
  heard,
  hungServer,
  rawConnection,
  TestFront,
} from './fixture.ts'

const at = (port: number) => ({ target: { host: '127.0.0.1', port } })

interface Options {
  readonly protocol?: string | false
  readonly connected?: (socket: WebSocket) => void
}

async function socketServer(t: TestContext, { protocol = false, connected = echo }: Options = {}) {
  const langflow = await fakeLangFlow(t)
  const server = new WebSocketServer({ noServer: true, handleProtocols: () => protocol })
  const asked: { url?: string | undefined; hop: unknown; cookie?: string | undefined }[] = []
  langflow.server.on('upgrade', (request, socket, head) => {
    asked.push({ url: request.url, hop: request.headers[HOP], cookie: request.headers.cookie })
    if (request.url === '/refused') {
      socket.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nX-Why: not you\r\n\r\nno')
      return
    }
    server.handleUpgrade(request, socket, head, connected)
  })
  t.after(() => {
    for (const client of server.clients) client.terminate()
  })
  return { ...langflow, sockets: server, asked }
}

function echo(socket: WebSocket): void {
  socket.on('message', (data, binary) => socket.send(data, { binary }))
}

async function through(t: TestContext, langflow: Pick<FakeLangFlow, 'port'>) {
  const leader = await TestFront.start(t, { ...at(langflow.port), streamGraceMs: 200 })
  const follower = await TestFront.start(t)
  await leader.toLangFlow()
  await follower.toLeader(leader.address)
  return { leader, follower }
}

function connectTo(t: TestContext, front: TestFront, path = '/ws', protocols: string[] = []): WebSocket {
  const socket = new WebSocket(`ws://${front.address}${path}`, protocols, { headers: { cookie: 'a=1; b=2' } })
  // A test that ends early leaves it half open.
  socket.on('error', () => {})
  t.after(() => socket.terminate())
  return socket
}

test('text, binary, pings and close codes pass through two fronts', async (t) => {
  const langflow = await socketServer(t)
  const { follower, leader } = await through(t, langflow)
  const socket = connectTo(t, follower, '/ws/a%2Fb?q=1|2')
  await once(socket, 'open')
  socket.send('text')
  assert.deepEqual((await once(socket, 'message')).map(String), ['text', 'false'])
  socket.send(Buffer.from([1, 2, 3]))
  assert.deepEqual(await once(socket, 'message'), [Buffer.from([1, 2, 3]), true])
  const large = Buffer.alloc(5 * 1024 * 1024, 7)
  socket.send(large)
  assert.deepEqual((await once(socket, 'message'))[0], large)
  socket.ping('p')
  assert.equal(String((await once(socket, 'pong'))[0]), 'p')
  assert.deepEqual(langflow.asked, [{ url: '/ws/a%2Fb?q=1|2', hop: undefined, cookie: 'a=1; b=2' }])
  await leader.counts('one stream', ({ streams, inFlight }) => streams === 1 && inFlight === 0)
  const [theirs] = langflow.sockets.clients
  const closed = Promise.all([once(theirs as WebSocket, 'close'), once(socket, 'close')])
  socket.close(4321, 'enough')
  for (const end of await closed) assert.deepEqual(end.map(String), ['4321', 'enough'])
  await leader.counts('none', ({ streams }) => streams === 0)
})

for (const [protocol, chosen] of [
  ['b', 'b'],
  [false, ''],
] as const) {
  test(`of the client's protocols LangFlow chooses ${protocol || 'none'}`, async (t) => {
    const langflow = await socketServer(t, { protocol })
    const { leader } = await through(t, langflow)
    const socket = connectTo(t, leader, '/ws', ['a', 'b'])
    if (protocol === false) {
      // This client takes that for a failure; a browser does not.
      const [error] = await once(socket, 'error')
      assert.match(error.message, /Server sent no subprotocol/)
    } else {
      await once(socket, 'open')
      assert.equal(socket.protocol, chosen)
    }
  })
}

test('what LangFlow says at once is not lost', async (t) => {
  const langflow = await socketServer(t, {
    connected: (socket) => {
      socket.send('first')
      socket.close(1000, 'that was all')
    },
  })
  const { follower } = await through(t, langflow)
  const socket = connectTo(t, follower)
  const closed = once(socket, 'close')
  assert.equal(String((await once(socket, 'message'))[0]), 'first')
  assert.deepEqual((await closed).map(String), ['1000', 'that was all'])
})

test('a handshake that LangFlow refuses is refused in its words', async (t) => {
  const langflow = await socketServer(t)
  const { follower } = await through(t, langflow)
  const socket = connectTo(t, follower, '/refused')
  const [, answer] = await once(socket, 'unexpected-response')
  const chunks: Buffer[] = await answer.toArray()
  assert.deepEqual(
    [answer.statusCode, answer.headers['x-why'], String(Buffer.concat(chunks))],
    [403, 'not you', 'no'],
  )
  const { forwarded, failed } = await follower.counts('it', (counts) => counts.forwarded.leader === 1)
  assert.deepEqual([forwarded.leader, failed.client_gone], [1, 0])
})

test('a connection on which LangFlow refused a handshake is closed, and may break', async (t) => {
  const sockets: Socket[] = []
  const { address } = await hungServer(t, (socket) => {
    sockets.push(socket)
    socket.once('data', () => socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno'))
  })
  const front = await TestFront.start(t, at(Number(address.split(':')[1])))
  await front.toLangFlow()
  const dialed = t.mock.method(Upstream.prototype, 'dial')
  const [, answer] = await once(connectTo(t, front), 'unexpected-response')
  const connection = await (dialed.mock.calls[0]?.result as Promise<Socket>)
  connection.emit('error', new Error('reset'))
  answer.resume()
  if (!sockets[0]?.destroyed) await once(sockets[0] as Socket, 'close')
})

test('a client that goes while the answer that refuses it is long in coming is noticed', async (t) => {
  const sockets: Socket[] = []
  const { address } = await hungServer(t, (socket) => {
    sockets.push(socket)
    socket.once('data', () => socket.write('HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nn'))
  })
  const front = await TestFront.start(t, at(Number(address.split(':')[1])))
  await front.toLangFlow()
  const client = await rawConnection(t, front.port)
  client.write(
    'GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n',
  )
  await heard(client, '\r\n\r\nn')
  client.end()
  await once(sockets[0] as Socket, 'close')
})

test('one that is refused here is counted once, for what it was refused for', async (t) => {
  const front = await TestFront.start(t, { holdTimeoutMs: 100 })
  const socket = connectTo(t, front)
  const [, answer] = await once(socket, 'unexpected-response')
  assert.equal(answer.statusCode, 503)
  answer.resume()
  await once(answer, 'end')
  const { failed } = await front.counts('it', (counts) => counts.failed.hold_timeout === 1)
  assert.equal(failed.client_gone, 0)
  await front.counts('nothing is under way', ({ held, inFlight }) => held + inFlight === 0)
})

test('a client that goes while its connection is made leaves none behind', async (t) => {
  const langflow = await socketServer(t)
  const front = await TestFront.start(t, at(langflow.port))
  const [dialed, left] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const { dial } = Upstream.prototype
  t.mock.method(Upstream.prototype, 'dial', async function (this: Upstream) {
    dialed.resolve()
    await left.promise
    return dial.call(this)
  })
  await front.toLangFlow()
  const socket = connectTo(t, front)
  await dialed.promise
  socket.terminate()
  await front.counts('it is gone', ({ failed }) => failed.client_gone === 1)
  const connected = once(langflow.server, 'connection')
  left.resolve()
  const [connection] = (await connected) as [Socket]
  await once(connection.resume(), 'close')
  assert.deepEqual(langflow.asked, [])
})

test('a message that LangFlow would not take ends its connection', async (t) => {
  const langflow = await socketServer(t)
  const { follower } = await through(t, langflow)
  const socket = connectTo(t, follower)
  await once(socket, 'open')
  socket.send(Buffer.alloc(16 * 1024 * 1024 + 1))
  const [code] = await once(socket, 'close')
  assert.equal(code, 1009)
})

test('a handshake waits while nobody serves, and one whose client goes is forgotten', async (t) => {
  const langflow = await socketServer(t)
  const front = await TestFront.start(t, at(langflow.port))
  const socket = connectTo(t, front)
  const gone = connectTo(t, front)
  await front.counts('held', ({ held }) => held === 2)
  gone.terminate()
  await front.counts('one is gone', ({ held, failed }) => held === 1 && failed.client_gone === 1)
  await front.toLangFlow()
  await once(socket, 'open')
  assert.equal(langflow.asked.length, 1)
})

test('a planned takeover closes each with 1012 once the grace has passed', async (t) => {
  const langflow = await socketServer(t)
  const { leader, follower } = await through(t, langflow)
  const sockets = [connectTo(t, leader), connectTo(t, follower)]
  await Promise.all(sockets.map((socket) => once(socket, 'open')))
  const closed = sockets.map((socket) => once(socket, 'close'))
  await leader.closes()
  for (const [code] of await Promise.all(closed)) assert.equal(code, 1012)
  await until('LangFlow has none', () => langflow.sockets.clients.size === 0, 5000)
  await leader.counts('ended', ({ streams, streamsEnded }) => streams === 0 && streamsEnded === 2)
})

test('a planned takeover does not wait for a LangFlow that leaves the closing unanswered', async (t) => {
  const opened = Promise.withResolvers<WebSocket>()
  const langflow = await socketServer(t, {
    connected: (socket) => opened.resolve(Object.assign(socket, { close: () => {} })),
  })
  const { leader } = await through(t, langflow)
  const socket = connectTo(t, leader)
  await once(socket, 'open')
  const left = once(await opened.promise, 'close')
  const began = performance.now()
  await leader.closes(1, 0)
  assert.equal((await once(socket, 'close'))[0], 1012)
  assert.equal((await left)[0], 1001)
  assert.ok(performance.now() - began < 1_000)
})

test('one that is relayed to a former leader is closed with 1012 a second after there is another', async (t) => {
  const langflow = await socketServer(t)
  const { follower } = await through(t, langflow)
  const socket = connectTo(t, follower)
  await once(socket, 'open')
  await follower.toNobody({ epoch: 2 })
  assert.equal((await once(socket, 'close'))[0], 1012)
})

test('a handshake that a former leader refuses, or does not answer, goes to the next', async (t) => {
  const stuck = await fakeLangFlow(t)
  stuck.server.on('upgrade', (request) => stuck.seen.add(`UPGRADE ${request.url}`))
  const langflow = await socketServer(t)
  const [former, leader, follower] = await Promise.all([
    TestFront.start(t, at(stuck.port)),
    TestFront.start(t, at(langflow.port)),
    TestFront.start(t),
  ])
  await former.toLangFlow()
  await leader.toLangFlow(FOR_EVER, 2)
  await follower.toLeader(former.address)
  const unanswered = connectTo(t, follower, '/unanswered')
  await stuck.seen.next('the handshake', (one) => one === 'UPGRADE /unanswered')
  await former.toNobody({ epoch: 2 })
  const refused = connectTo(t, follower, '/refused-once')
  await follower.counts('one waits', ({ held, inFlight }) => held === 1 && inFlight === 1)
  const open = Promise.all([once(unanswered, 'open'), once(refused, 'open')])
  await follower.toLeader(leader.address, 2)
  await open
  assert.deepEqual(langflow.asked.map(({ url }) => url).sort(), ['/refused-once', '/unanswered'])
})

test('when LangFlow dies its clients see the connection break', async (t) => {
  const langflow = await socketServer(t)
  const { follower } = await through(t, langflow)
  const socket = connectTo(t, follower)
  await once(socket, 'open')
  for (const client of langflow.sockets.clients) client.terminate()
  assert.equal((await once(socket, 'close'))[0], 1006)
})

test('what is no handshake is refused, and another upgrade is answered as if nothing had been asked', async (t) => {
  const langflow = await socketServer(t)
  const { leader } = await through(t, langflow)
  for (const [protocol, status] of [
    ['websocket', 400],
    ['h2c', 200],
  ] as const) {
    const client = await rawConnection(t, leader.port)
    client.write(`GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: ${protocol}\r\n\r\n`)
    assert.match(await heard(client, '\r\n\r\n'), new RegExp(`^HTTP/1.1 ${status} `))
  }
})

test('a handshake that ends LangFlow is sent twice in its life, and what was only held is no attempt', async (t) => {
  const breaks = async () => {
    const langflow = await fakeLangFlow(t)
    langflow.server.on('upgrade', (request, socket) => {
      langflow.seen.add(request.url ?? '')
      socket.destroy()
    })
    return langflow
  }
  const langflows = await Promise.all([breaks(), breaks()])
  const [first, second] = await Promise.all(langflows.map(({ port }) => TestFront.start(t, at(port))))
  // In the place of a front that holds it, and ends.
  const sockets: Socket[] = []
  const holding = await hungServer(t, (socket) => sockets.push(socket))
  const entry = await TestFront.start(t)
  await entry.toLeader(holding.address, 1)
  const answered = once(connectTo(t, entry), 'unexpected-response')
  await until('it is there', () => /upgrade/i.test(holding.heard))
  for (const socket of sockets) socket.destroy()
  await entry.toNobody({ epoch: 1 })
  await entry.counts('it waits here', ({ held }) => held === 1)
  await first?.toLangFlow(FOR_EVER, 2)
  const broke = langflows[0]?.seen.next('the first attempt', () => true)
  await entry.toLeader(first?.address ?? '', 2)
  await broke
  await second?.toLangFlow(FOR_EVER, 3)
  await entry.toLeader(second?.address ?? '', 3)
  const [, answer] = await answered
  assert.equal(answer.statusCode, 502)
  const seen = langflows.map(({ seen }) => seen.list.length)
  assert.equal(seen[0]! + seen[1]!, 2, `${seen}`)
})

test('a handshake that is refused makes room for the next at once', async (t) => {
  const langflow = await fakeLangFlow(t)
  langflow.server.on('upgrade', (_, socket) => socket.destroy())
  const clock = new VirtualClock()
  const front = await TestFront.start(t, { clock, ...at(langflow.port) })
  const answered = Array.from({ length: 9 }, () => once(connectTo(t, front), 'unexpected-response'))
  await until('all wait', async () => {
    await clock.pass(100)
    return front.said.list.some((one) => one.type === 'counts' && one.counts.held === 9)
  })
  await front.toLangFlow()
  for (const [, answer] of await Promise.all(answered)) assert.equal(answer.statusCode, 502)
})

test('a handshake whose front ends after LangFlow had it was an attempt', async (t) => {
  const taking = await hungServer(t, (socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 102 Processing\r\n\r\n')
      setTimeout(() => socket.destroy(), 100)
    })
  })
  const entry = await TestFront.start(t)
  await entry.toLeader(taking.address, 1)
  const [, answer] = await once(connectTo(t, entry), 'unexpected-response')
  assert.equal(answer.statusCode, 502)
})
