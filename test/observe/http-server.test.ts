import assert from 'node:assert/strict'
import { once } from 'node:events'
import http from 'node:http'
import { createServer, Server } from 'node:net'
import { networkInterfaces } from 'node:os'
import { text } from 'node:stream/consumers'
import { describe, it } from 'node:test'
import { FatalError } from '../../agent/exit.ts'
import { startHttpServer } from '../../agent/observe/http-server.ts'
import { ask, closed, open, serve } from './client.ts'
import { Replica } from './replica.ts'

const DEADLINE = { timeout: 30_000 }

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

  it('is every IPv4 one where the machine has no IPv6', async (t) => {
    const { listen } = Server.prototype
    t.mock.method(Server.prototype, 'listen', function (this: Server, ...args: unknown[]) {
      if ((args[0] as { host?: string }).host !== '::') return Reflect.apply(listen, this, args)
      process.nextTick(() =>
        this.emit('error', Object.assign(new Error('no IPv6'), { code: 'EAFNOSUPPORT' })),
      )
      return this
    })
    const server = await start(null)
    t.after(() => server.close())
    assert.equal(server.address, '0.0.0.0')
    assert.equal((await ask(server, '/livez')).status, 200)
  })

  it('that is taken is a failure that says what to do', async (t) => {
    const other = createServer().listen(0, '127.0.0.1')
    t.after(() => other.close())
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    await assert.rejects(start('127.0.0.1', port), (error) => {
      assert.ok(error instanceof FatalError)
      assert.equal(
        error.message,
        `cannot listen on 127.0.0.1:${port}: another program has the port; stop it or choose another port with --listen`,
      )
      return true
    })
  })

  it('that is not of this machine is a failure that says so', async () => {
    await assert.rejects(start('192.0.2.1'), {
      message:
        'cannot listen on 192.0.2.1:0: this machine does not have the address; choose another with --listen',
    })
  })
})

describe('closing', () => {
  // Sooner than any connection is ended for saying nothing.
  it('waits for no client, whatever that is doing', { timeout: 4000 }, async (t) => {
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
    await server.close()
    await Promise.all(gone)
    await assert.rejects(ask(server, '/livez'), { code: 'ECONNREFUSED' })
  })

  it('may be asked for twice', async () => {
    const server = await start('127.0.0.1')
    await Promise.all([server.close(), server.close()])
  })
})

describe('a crowd of connections', () => {
  it('that say nothing or speak slowly delays no probe, and is ended', DEADLINE, async (t) => {
    const server = await serve(t, new Replica())
    const idle = await Promise.all(Array.from({ length: 200 }, () => open(t, server)))
    const slow = await Promise.all(Array.from({ length: 50 }, () => open(t, server)))
    for (const socket of [...idle, ...slow]) socket.resume()
    const ended = Promise.all([...idle, ...slow].map((socket) => closed(socket)))
    for (const socket of slow) socket.write('GET /livez HTTP/1.1\r\nHost: x\r\nX: ')
    const drip = setInterval(() => {
      for (const socket of slow) socket.write('a')
    }, 500)
    t.after(() => clearInterval(drip))
    for (let i = 0; i < 20; i++) assert.equal((await ask(server, '/readyz')).status, 200)
    await ended
    assert.equal((await ask(server, '/livez')).status, 200)
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

describe('two requests on one connection', () => {
  it('are answered one after the other', async (t) => {
    const server = await serve(t, new Replica())
    const socket = await open(t, server)
    const one = 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n'
    socket.write(one + one.replace('Host: x', 'Host: x\r\nConnection: close'))
    assert.equal((await text(socket)).match(/HTTP\/1\.1 200 OK/g)?.length, 2)
  })
})
