import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { createServer } from 'node:net'
import { networkInterfaces } from 'node:os'
import { text } from 'node:stream/consumers'
import { describe, it } from 'node:test'
import { startHttpServer } from '../../agent/observe/http-server.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { ask, closed, open, say, serve } from './client.ts'
import { Replica } from './replica.ts'

const DEADLINE = { timeout: 30_000 }
const REQUEST = 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n'

function start(host: string | null, port = 0) {
  const replica = new Replica()
  return startHttpServer({ listen: { host, port }, source: replica, metrics: replica.metrics })
}

describe('the address', () => {
  const hasIPv6 = Object.values(networkInterfaces()).some((all) =>
    all?.some(({ family }) => family === 'IPv6'),
  )

  it('is every one, IPv4 and IPv6, where none is named', {
    skip: hasIPv6 ? false : 'no IPv6 here',
  }, async (t) => {
    const server = await start(null)
    t.after(() => server.close())
    assert.equal(server.address, '::')
    assert.equal((await ask(server, '/livez')).status, 200)
    assert.equal((await ask(server, '/livez', { host: '::1' })).status, 200)
  })

  it('that is taken is a failure that says what to do', async (t) => {
    const other = createServer().listen(0, '127.0.0.1')
    t.after(() => other.close())
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    await assert.rejects(start('127.0.0.1', port), {
      name: 'FatalError',
      message: /another program has the port.*--listen$/,
    })
  })

  it('that is not of this machine is a failure that says so', async () => {
    await assert.rejects(start('192.0.2.1'), {
      message: /^cannot listen on 192\.0\.2\.1:0: this machine does not have the address/,
    })
  })
})

describe('closing', () => {
  // Sooner than any connection is ended for saying nothing.
  it('waits for no client, whatever that is doing, and may be asked for twice', {
    timeout: 4000,
  }, async (t) => {
    const server = await serve(t, new Replica())
    const agent = new http.Agent({ keepAlive: true })
    t.after(() => agent.destroy())
    const request = http.get({ host: '127.0.0.1', port: server.port, path: '/livez', agent })
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    assert.equal(await text(response), 'ok\n')
    const idle = await open(t, server)
    const slow = await open(t, server)
    slow.write('GET /livez HTTP/1.1\r\nHost')
    const gone = [idle, slow].map((socket) => closed(socket))
    await Promise.all([server.close(), server.close(), ...gone])
    await assert.rejects(ask(server, '/livez'), { code: 'ECONNREFUSED' })
  })
})

describe('a crowd of connections', () => {
  it('that say nothing or speak slowly delays no probe, and is ended', DEADLINE, async (t) => {
    const clock = new VirtualClock()
    const server = await serve(t, new Replica(), { clock })
    const idle = await Promise.all(Array.from({ length: 200 }, () => open(t, server)))
    const slow = await Promise.all(Array.from({ length: 50 }, () => open(t, server)))
    for (const socket of [...idle, ...slow]) socket.resume()
    const ended = Promise.all([...idle, ...slow].map((socket) => closed(socket)))
    for (const socket of slow) socket.write('GET /livez HTTP/1.1\r\nHost: x\r\nX: ')
    for (let ms = 500; ms <= 5_000; ms += 500) {
      for (const socket of slow) socket.write('a')
      assert.equal((await ask(server, '/readyz')).status, 200)
      await clock.pass(500)
    }
    // What it sends to the slow ones they are given a second to read.
    await clock.pass(1_000)
    await ended
    assert.equal((await ask(server, '/livez')).status, 200)
  })

  it('does not push out who has asked and waits', DEADLINE, async (t) => {
    const replica = new Replica()
    const exposed = Promise.withResolvers<string>()
    const metrics = { contentType: replica.metrics.contentType, expose: () => exposed.promise }
    const server = await serve(t, replica, { metrics })
    const answer = ask(server, '/metrics')
    assert.equal((await ask(server, '/livez')).status, 200)
    const gone = closed((await open(t, server)).resume())
    for (let i = 0; i < 6; i++) await Promise.all(Array.from({ length: 100 }, () => open(t, server)))
    await gone
    exposed.resolve('up 1\n')
    assert.equal((await answer).body, 'up 1\n')
  })

  // Sooner than any connection is ended for saying nothing.
  it('that is larger than what is kept loses its oldest, not the newest', { timeout: 4000 }, async (t) => {
    const server = await serve(t, new Replica())
    const oldest = await open(t, server)
    const gone = closed(oldest.resume())
    for (let i = 0; i < 6; i++) await Promise.all(Array.from({ length: 100 }, () => open(t, server)))
    await gone
    assert.equal((await ask(server, '/readyz')).status, 200)
  })
})

describe('a connection', () => {
  it('is for one request: its answer says so, and ends it, whatever else was sent', DEADLINE, async (t) => {
    const replica = new Replica()
    const asked = t.mock.method(replica, 'live')
    const server = await serve(t, replica)
    const answer = await say(t, server, REQUEST.repeat(1000))
    assert.deepEqual(answer.match(/^HTTP.*|^connection:.*/gim), ['HTTP/1.1 200 OK', 'connection: close'])
    assert.equal(asked.mock.callCount(), 1)
  })

  it('is ended when its client goes on sending, and never reads', DEADLINE, async (t) => {
    const server = await serve(t, new Replica())
    const socket = await open(t, server)
    const gone = closed(socket)
    const more = () => {
      while (!socket.destroyed && socket.write(REQUEST.repeat(1000)));
    }
    socket.on('drain', more)
    more()
    await gone
    assert.ok(socket.bytesWritten < 64 * 1024 * 1024)
  })

  it('that has not said a whole request after 5 s ends', async (t) => {
    const clock = new VirtualClock()
    const replica = new Replica()
    const asked = t.mock.method(replica, 'live')
    const server = await serve(t, replica, { clock })
    const half = await open(t, server)
    const silent = await open(t, server)
    half.write(REQUEST.slice(0, -2))
    // Once this is answered, what was sent before it has been read.
    assert.equal((await ask(server, '/livez')).status, 200)
    const answers = Promise.all([text(half), text(silent)])
    await clock.pass(4999)
    assert.equal(half.readyState, 'open')
    await clock.pass(1)
    half.write('\r\n')
    assert.deepEqual(await answers, ['', ''])
    assert.equal(asked.mock.callCount(), 1)
  })
})

describe('a crowd of requests', () => {
  it('leaves the event loop to others after every few', DEADLINE, async (t) => {
    const replica = new Replica()
    const perTurn: number[] = []
    let answered = 0
    t.mock.method(replica, 'live', () => {
      if (answered++ === 0) {
        setImmediate(() => {
          perTurn.push(answered)
          answered = 0
        })
      }
      return true
    })
    const server = await serve(t, replica)
    const clients = await Promise.all(Array.from({ length: 200 }, () => open(t, server)))
    // Connections are accepted in their order: once this is answered, they all are.
    await ask(server, '/livez')
    const answers = Promise.all(clients.map((socket) => text(socket)))
    for (const socket of clients) socket.write(REQUEST)
    assert.ok((await answers).every((answer) => answer.startsWith('HTTP/1.1 200 OK')))
    // What is counted may reach into the next turn.
    assert.ok(Math.max(...perTurn) <= 2 * 4, `answered in each turn: ${perTurn}`)
  })
})
