import assert from 'node:assert/strict'
import { createServer, type Socket } from 'node:net'
import { networkInterfaces } from 'node:os'
import { text } from 'node:stream/consumers'
import { describe, it, type TestContext } from 'node:test'
import { startHttpServer } from '../../agent/observe/http-server.ts'
import { ask, open } from '../harness/connection.ts'
import { listening } from '../harness/listening.ts'
import { VirtualClock } from '../harness/virtual-clock.ts'
import { closed, sendRaw, serve } from './client.ts'
import { Replica } from './replica.ts'

const DEADLINE = { timeout: 30_000 }
/** Opens connections until a silent one is displaced. */
async function crowd(t: TestContext, server: { port: number }): Promise<void> {
  for (let i = 0; i < 6; i++) await Promise.all(Array.from({ length: 100 }, () => open(t, server)))
}
const REQUEST = 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n'

function start(host: string | null, port = 0) {
  const replica = new Replica()
  return startHttpServer({ host, port }, replica, replica.metrics)
}

describe('the address', () => {
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? [])
  const skip = addresses.some(({ family }) => family === 'IPv6') ? false : 'SKIPPED: this machine has no IPv6'

  it('defaults to all addresses, IPv4 and IPv6', { skip }, async (t) => {
    const server = await start(null)
    t.after(() => server.close())
    assert.equal(server.address, '::')
    assert.equal((await ask(server, '/livez')).status, 200)
    assert.equal((await ask(server, '/livez', { host: '::1' })).status, 200)
  })

  it('causes an error with the flag to change if it is not available', async (t) => {
    const port = await listening(t, createServer())
    const refusal = { name: 'FatalError', message: /--listen$/ }
    await assert.rejects(start('127.0.0.1', port), refusal)
    await assert.rejects(start('192.0.2.1'), refusal)
  })
})

describe('closing', () => {
  it('does not wait for idle or slow clients, and can be repeated', DEADLINE, async (t) => {
    // The time in which the server ends a silent connection never passes.
    const server = await serve(t, new Replica(), { clock: new VirtualClock() })
    const idle = await open(t, server)
    const slow = await open(t, server)
    slow.write('GET /livez HTTP/1.1\r\nHost')
    const gone = [idle, slow].map((socket) => closed(socket))
    await Promise.all([server.close(), server.close(), ...gone])
    await assert.rejects(ask(server, '/livez'), { code: 'ECONNREFUSED' })
  })
})

describe('a crowd of connections', () => {
  it('that are silent or slow delays no probe, and is ended after 5 s', DEADLINE, async (t) => {
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
    await ended
    assert.equal((await ask(server, '/livez')).status, 200)
  })

  it('does not evict a client whose request is being answered', DEADLINE, async (t) => {
    const replica = new Replica()
    const exposed = Promise.withResolvers<string>()
    const metrics = { contentType: replica.metrics.contentType, expose: () => exposed.promise }
    const server = await serve(t, replica, { metrics })
    const answer = ask(server, '/metrics')
    assert.equal((await ask(server, '/livez')).status, 200)
    const gone = closed((await open(t, server)).resume())
    await crowd(t, server)
    await gone
    exposed.resolve('up 1\n')
    assert.equal((await answer).body, 'up 1\n')
  })

  it('that exceeds the limit loses its oldest connections, not the newest', DEADLINE, async (t) => {
    // The time in which the server ends a silent connection never passes.
    const server = await serve(t, new Replica(), { clock: new VirtualClock() })
    const oldest = await open(t, server)
    const gone = closed(oldest.resume())
    await crowd(t, server)
    await gone
    assert.equal((await ask(server, '/readyz')).status, 200)
  })
})

describe('a connection', () => {
  it('is closed after one response, even if its client has sent more requests', DEADLINE, async (t) => {
    const replica = new Replica()
    const asked = t.mock.method(replica, 'live')
    const server = await serve(t, replica)
    const answer = await sendRaw(t, server, REQUEST.repeat(1000))
    assert.deepEqual(answer.match(/^HTTP.*|^connection:.*/gim), ['HTTP/1.1 200 OK', 'Connection: close'])
    assert.equal(asked.mock.callCount(), 1)
  })

  it('is closed even if its client keeps sending and never reads', DEADLINE, async (t) => {
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

  it(
    'is not read after its request: that would take most of each turn of the event loop',
    DEADLINE,
    async (t) => {
      const { contentType } = new Replica().metrics
      const asked = Promise.withResolvers<void>()
      const expose = () => {
        asked.resolve()
        return new Promise<string>(() => {})
      }
      const server = await serve(t, new Replica(), { metrics: { contentType, expose } })
      const socket = await open(t, server)
      socket.write('GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n')
      await asked.promise
      const chunk = REQUEST.repeat(25_000)
      let taken = true
      while (taken && socket.bytesWritten < 64 * 1024 * 1024) {
        taken = false
        socket.write(chunk, () => {
          taken = true
        })
        // If the server still read, it would do so in the turns that these answers take.
        for (let n = 0; n < 50 && !taken; n++) await ask(server, '/livez')
      }
      assert.equal(taken, false, `the server read ${socket.bytesWritten} bytes`)
    },
  )

  it('is closed after 5 s without a complete request', async (t) => {
    const clock = new VirtualClock()
    const replica = new Replica()
    const asked = t.mock.method(replica, 'live')
    const server = await serve(t, replica, { clock })
    const half = await open(t, server)
    const silent = await open(t, server)
    half.write(REQUEST.slice(0, -2))
    // Once this request is answered, the server has read the earlier bytes.
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
  it('is answered in small batches, so that the event loop stays responsive', DEADLINE, async (t) => {
    const replica = new Replica()
    const perTurn: number[] = []
    let answered = 0
    t.mock.method(replica, 'status', () => {
      if (answered++ === 0) {
        setImmediate(() => {
          perTurn.push(answered)
          answered = 0
        })
      }
      return replica.now
    })
    const server = await serve(t, replica)
    const clients = await Promise.all(Array.from({ length: 200 }, () => open(t, server)))
    // Connections are accepted in order: once this request is answered, all are accepted.
    await ask(server, '/livez')
    const answers = Promise.all(clients.map((socket) => text(socket)))
    for (const socket of clients) socket.write('GET /leader HTTP/1.1\r\nHost: x\r\n\r\n')
    assert.ok((await answers).every((answer) => answer.startsWith('HTTP/1.1 200 OK')))
    // A count can include the requests of two turns.
    assert.ok(Math.max(...perTurn) <= 2 * 4, `requests answered in each turn: ${perTurn}`)
  })

  it('delays no probe of the kubelet', DEADLINE, async (t) => {
    const replica = new Replica()
    const server = await serve(t, replica)
    const order: string[] = []
    const status = t.mock.method(replica, 'status', () => {
      order.push('status')
      return replica.now
    })
    t.mock.method(replica, 'live', () => order.push('probe') > 0)
    const clients = await Promise.all(Array.from({ length: 101 }, () => open(t, server)))
    await ask(server, '/livez')
    order.length = 0
    const probe = clients.pop() as Socket
    for (const socket of clients) socket.write('GET /leader HTTP/1.1\r\nHost: x\r\n\r\n')
    probe.write(REQUEST)
    await Promise.all([probe, ...clients].map((socket) => text(socket)))
    assert.equal(status.mock.callCount(), 100)
    assert.ok(order.indexOf('probe') < 50, `answered after ${order.indexOf('probe')} requests`)
  })
})
