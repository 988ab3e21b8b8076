import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { until } from '../wait.ts'
import { TcpProxy } from './tcp-proxy.ts'

/** Records everything that arrives at one end of a connection. */
function record(socket: Socket) {
  const seen = { text: '', ended: false, error: '' }
  socket.on('data', (data) => {
    seen.text += data
  })
  socket.on('end', () => {
    seen.ended = true
  })
  socket.on('error', (error: NodeJS.ErrnoException) => {
    seen.error = error.code ?? ''
  })
  return seen
}

test('the TCP proxy holds, strands and refuses connections, and keeps the order of bytes', {
  timeout: 20_000,
}, async (t) => {
  const arrivals: { socket: Socket; seen: ReturnType<typeof record> }[] = []
  const target = createServer({ allowHalfOpen: true }, (socket) =>
    arrivals.push({ socket, seen: record(socket) }),
  ).listen(0, '127.0.0.1')
  await once(target, 'listening')
  const proxy = await TcpProxy.open((target.address() as { port: number }).port)
  t.after(async () => {
    await proxy.close()
    for (const { socket } of arrivals) socket.destroy()
    target.close()
  })
  const dial = async () => {
    const accepted = once(target, 'connection')
    const socket = connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true })
    const seen = record(socket)
    await accepted
    return { socket, seen, server: arrivals.at(-1)! }
  }

  const held = await dial()
  held.socket.write('hello ')
  await until('the first bytes arrive', () => held.server.seen.text === 'hello ')
  proxy.partition()
  for (let n = 0; n < 100; n++) held.socket.write(`${n},`)
  held.socket.end()
  held.server.socket.write('notice')
  await new Promise((resolve) => setTimeout(resolve, 100))
  assert.deepEqual([held.server.seen.text, held.server.seen.ended, held.seen.text], ['hello ', false, ''])
  await proxy.heal()
  await until('all bytes and the end arrive', () => held.server.seen.ended)
  assert.equal(held.server.seen.text, `hello ${Array.from({ length: 100 }, (_, n) => `${n},`).join('')}`)
  await until('the bytes of the other direction arrive', () => held.seen.text === 'notice')

  const stranded = await dial()
  proxy.strand(1)
  const next = await dial()
  const later = await dial()
  for (const { socket } of [stranded, next, later]) socket.write('anybody?')
  await until('a later connection passes bytes', () => later.server.seen.text === 'anybody?')
  await proxy.heal()
  assert.deepEqual([stranded.server.seen.text, next.server.seen.text], ['', ''])

  await proxy.refuse()
  await until('the present connection is reset', () => later.seen.error === 'ECONNRESET')
  const [error] = (await once(connect(proxy.port, '127.0.0.1'), 'error')) as [NodeJS.ErrnoException]
  assert.equal(error.code, 'ECONNREFUSED')
  await proxy.heal()
  await dial()
})
