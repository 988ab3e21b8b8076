import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { HELD_BYTES } from './proxied-connection.ts'
import { TcpProxy } from './tcp-proxy.ts'

/** One end of a connection, and all it has received. */
class End {
  readonly socket: Socket
  readonly #events = new EventTarget()
  text = ''
  ended = false
  error: string | undefined

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (data) => this.#note(() => (this.text += data)))
    socket.on('end', () => this.#note(() => (this.ended = true)))
    socket.on('error', (error: NodeJS.ErrnoException) => this.#note(() => (this.error = error.code)))
    socket.on('close', () => this.#note(() => {}))
  }

  #note(what: () => void): void {
    what()
    this.#events.dispatchEvent(new Event('change'))
  }

  async until(condition: (end: this) => boolean): Promise<void> {
    while (!condition(this)) await once(this.#events, 'change')
  }
}

describe('the TCP proxy', { timeout: 20_000 }, () => {
  let target: Server
  let proxy: TcpProxy
  let arrivals: End[]
  const clients: Socket[] = []

  beforeEach(async () => {
    arrivals = []
    target = createServer({ allowHalfOpen: true }, (socket) => arrivals.push(new End(socket)))
    target.listen(0, '127.0.0.1')
    await once(target, 'listening')
    proxy = await TcpProxy.open((target.address() as { port: number }).port)
  })

  afterEach(async () => {
    await proxy.close()
    for (const client of clients.splice(0)) client.destroy()
    for (const arrival of arrivals) arrival.socket.destroy()
    target.close()
  })

  function dial(): End {
    const socket = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true })
    clients.push(socket)
    return new End(socket)
  }

  /** A connection whose two ends have heard each other. */
  async function pair(): Promise<{ client: End; server: End }> {
    const accepted = once(target, 'connection')
    const client = dial()
    await accepted
    const server = arrivals.at(-1)!
    client.socket.write('hello')
    await server.until((end) => end.text === 'hello')
    server.socket.write('welcome')
    await client.until((end) => end.text === 'welcome')
    client.text = ''
    server.text = ''
    return { client, server }
  }

  test('passes bytes both ways and counts its connections', async () => {
    const { client, server } = await pair()
    await pair()
    assert.equal(proxy.connections, 2)
    client.socket.destroy()
    await server.until((end) => end.ended)
    server.socket.end()
    await once(server.socket, 'close')
    await emptied(1)
  })

  test('passes a half-close on: the other direction stays open', async () => {
    const { client, server } = await pair()
    client.socket.end('last words')
    await server.until((end) => end.ended)
    assert.equal(server.text, 'last words')
    server.socket.end('the answer')
    await client.until((end) => end.ended)
    assert.equal(client.text, 'the answer')
    await emptied(0)
  })

  test('holds one direction while the other passes', async () => {
    const { client, server } = await pair()
    proxy.flow({ toClient: 'hold' })
    client.socket.write('request')
    await server.until((end) => end.text === 'request')
    server.socket.write('reply')
    client.socket.write(', another')
    await server.until((end) => end.text === 'request, another')
    assert.equal(client.text, '')
    proxy.flow({ toServer: 'hold' })
    proxy.flow({ toClient: 'pass' })
    await client.until((end) => end.text === 'reply')
  })

  test('a stranded connection brings nothing for good, nor do so many that follow; later ones pass', async () => {
    const { client, server } = await pair()
    proxy.strand(1)
    server.socket.write('event')
    client.socket.write('request')
    const accepted = once(target, 'connection')
    const next = dial()
    await accepted
    next.socket.write('again')
    const last = await pair()
    last.server.socket.write('answer')
    await last.client.until((end) => end.text === 'answer')
    assert.deepEqual([client.text, server.text, next.text], ['', '', ''])
    await proxy.heal()
    last.server.socket.write(', more')
    await last.client.until((end) => end.text === 'answer, more')
    assert.deepEqual([client.text, server.text], ['', ''])
    client.socket.destroy()
    await new Promise((resolve) => server.socket.once('close', resolve))
  })

  test('a partition delivers nothing, and healing delivers all of it in order, ends included', async () => {
    const { client, server } = await pair()
    proxy.partition()
    for (let n = 0; n < 100; n++) client.socket.write(`${n},`)
    client.socket.end()
    server.socket.write('notice')
    const accepted = once(target, 'connection')
    const late = dial()
    await once(late.socket, 'connect')
    await accepted
    late.socket.write('anybody?')
    await exchange()
    assert.equal(server.text + client.text + late.text, '')
    assert.equal(server.ended, false)
    await proxy.heal()
    await server.until((end) => end.ended)
    assert.equal(server.text, Array.from({ length: 100 }, (_, n) => `${n},`).join(''))
    await client.until((end) => end.text === 'notice')
    await arrivals.at(-1)!.until((end) => end.text === 'anybody?')
  })

  test('a reset during a partition is learnt of when it heals', async () => {
    const { client, server } = await pair()
    proxy.partition()
    server.socket.resetAndDestroy()
    await exchange()
    assert.equal(client.error, undefined)
    await proxy.heal()
    await client.until((end) => end.error === 'ECONNRESET')
  })

  test('delays, and no change of flow lets a byte overtake', async () => {
    const { client, server } = await pair()
    proxy.flow({ toServer: { delayMs: 80 } })
    const sent = performance.now()
    client.socket.write('a')
    await server.until((end) => end.text === 'a')
    assert.ok(performance.now() - sent >= 79)
    proxy.flow({ toServer: { delayMs: 60_000 } })
    client.socket.write('b')
    await exchange()
    proxy.flow({ toServer: 'hold' })
    client.socket.write('c')
    await exchange()
    proxy.flow({ toServer: { delayMs: 20 } })
    client.socket.write('d')
    proxy.flow({ toServer: 'pass' })
    client.socket.write('e')
    await server.until((end) => end.text.length === 5)
    assert.equal(server.text, 'abcde')
  })

  test('refuses: present connections are reset, new ones refused, until it heals, again and again', async () => {
    for (let n = 0; n < 3; n++) {
      const { client, server } = await pair()
      await proxy.refuse()
      await client.until((end) => end.error === 'ECONNRESET')
      await server.until((end) => end.error === 'ECONNRESET')
      const late = dial()
      await late.until((end) => end.error === 'ECONNREFUSED')
      await proxy.refuse()
      await proxy.heal()
      await proxy.heal()
    }
    await pair()
  })

  test('a reset loses what was held', async () => {
    const { client, server } = await pair()
    proxy.partition()
    client.socket.write('lost')
    await exchange()
    proxy.reset()
    await client.until((end) => end.error === 'ECONNRESET')
    await server.until((end) => end.error === 'ECONNRESET')
    assert.equal(server.text, '')
    await emptied(0)
    await proxy.heal()
    await pair()
  })

  test('truncates: the client sees an end in mid-stream', async () => {
    const { client, server } = await pair()
    server.socket.write('{"type":"MODI')
    await client.until((end) => end.text.length > 0)
    proxy.truncate()
    await client.until((end) => end.ended)
    assert.equal(client.error, undefined)
    client.socket.end()
    await emptied(0)
    await pair()
  })

  test('resets a client when nobody listens at the target', async () => {
    const away = await TcpProxy.open(proxy.port)
    await proxy.refuse()
    const socket = connect(away.port, '127.0.0.1')
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException]
    assert.equal(error.code, 'ECONNRESET')
    await away.close()
  })

  test('what it holds is bounded: a sender beyond it feels a full window, and loses nothing', async () => {
    const { client, server } = await pair()
    proxy.partition()
    const size = 3 * HELD_BYTES
    const chunk = Buffer.alloc(2 ** 16, 'x')
    for (let sent = 0; sent < size; sent += chunk.length) client.socket.write(chunk)
    await settled(client.socket)
    assert.ok(client.socket.writableLength > 0)
    let received = 0
    server.socket.removeAllListeners('data').on('data', (data) => {
      received += data.length
    })
    await proxy.heal()
    client.socket.end()
    await server.until((end) => end.ended)
    assert.equal(received, size)
  })

  /** So long that whatever was under way on loopback has arrived: bytes sent after it made three round trips. */
  async function exchange(): Promise<void> {
    const echo = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1')
    await once(echo, 'listening')
    const socket = connect((echo.address() as { port: number }).port, '127.0.0.1')
    for (let n = 0; n < 3; n++) {
      socket.write('ping')
      await once(socket, 'data')
    }
    socket.destroy()
    echo.close()
  }

  /** Until a socket has had ample time to write, and has not. */
  async function settled(socket: Socket): Promise<void> {
    for (let idle = 0, before = -1; idle < 50; idle++) {
      if (before !== socket.writableLength) idle = 0
      before = socket.writableLength
      await exchange()
    }
  }

  async function emptied(count: number): Promise<void> {
    while (proxy.connections > count) await new Promise((resolve) => setImmediate(resolve))
    assert.equal(proxy.connections, count)
  }
})
