import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import { type TestContext, test } from 'node:test'
import type { ApiError } from '../../agent/kube/errors.ts'
import { fixedAccess, objectsFor, reply, status } from './scripted-server.ts'

const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
const SOON_MS = 5_000

/** One binary message of a server, shorter than 64 KiB. */
function frame(channel: number, text: string): Buffer {
  const payload = Buffer.concat([Buffer.from([channel]), Buffer.from(text)])
  const long = payload.length > 125
  const head = long ? [0x82, 126, payload.length >> 8, payload.length & 0xff] : [0x82, payload.length]
  return Buffer.concat([Buffer.from(head), payload])
}

const CLOSE = Buffer.from([0x88, 2, 0x03, 0xe8])
const SUCCESS = JSON.stringify({ status: 'Success' })
const FORBIDDEN = status(
  403,
  'Forbidden',
  'pods "a" is forbidden: User "eve" cannot get resource "pods/exec"',
)
const ended = (code: string) =>
  JSON.stringify({ status: 'Failure', details: { causes: [{ reason: 'ExitCode', message: code }] } })

/** An API server that runs commands: `play` is what each says. */
async function execServer(t: TestContext, play: (socket: Duplex) => void, plain = 400) {
  const upgrades: IncomingMessage[] = []
  const server = createServer((request, response) => {
    request.resume()
    reply(response, plain, plain === 400 ? status(400, 'BadRequest', 'Upgrade request required') : FORBIDDEN)
  })
  server.on('upgrade', (request, socket) => {
    upgrades.push(request)
    socket.on('error', () => {})
    t.after(() => socket.destroy())
    const accept = createHash('sha1')
      .update(`${request.headers['sec-websocket-key']}${GUID}`)
      .digest('base64')
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n` +
        'Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n',
    )
    play(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const objects = objectsFor(
    fixedAccess(`http://127.0.0.1:${(server.address() as AddressInfo).port}/clusters/a`),
  )
  t.after(() => objects.close())
  return { objects, upgrades }
}

test('a command runs without a shell, with what it says on either stream', async (t) => {
  const { objects, upgrades } = await execServer(t, (socket) => {
    for (const one of [
      frame(1, 'out '),
      frame(2, 'err'),
      frame(1, 'x'.repeat(200)),
      frame(3, SUCCESS),
      CLOSE,
    ])
      socket.write(one)
    socket.end()
  })
  const executed = await objects.execute('a', 'agent', ['/bin/node', '--eval', 'a && b'], SOON_MS)
  assert.deepEqual(executed, { exitCode: 0, stdout: `out ${'x'.repeat(200)}`, stderr: 'err' })
  const [upgrade] = upgrades
  const url = new URL(upgrade?.url ?? '', 'http://server')
  assert.equal(url.pathname, '/clusters/a/api/v1/namespaces/ns/pods/a/exec')
  assert.deepEqual(url.searchParams.getAll('command'), ['/bin/node', '--eval', 'a && b'])
  assert.equal(url.searchParams.get('container'), 'agent')
  assert.equal(upgrade?.headers.authorization, 'Bearer secret-token')
})

test('an exit code is told', async (t) => {
  const { objects } = await execServer(
    t,
    (socket) => void socket.end(Buffer.concat([frame(3, ended('7')), CLOSE])),
  )
  assert.equal((await objects.execute('a', 'agent', ['x'], SOON_MS)).exitCode, 7)
})

test('a container that ends meanwhile leaves no exit code', async (t) => {
  const { objects } = await execServer(t, (socket) => void socket.end(frame(1, 'killing 7\n')))
  assert.deepEqual(await objects.execute('a', 'agent', ['x'], SOON_MS), {
    exitCode: null,
    stdout: 'killing 7\n',
    stderr: '',
  })
})

test('a command that cannot be started says why', async (t) => {
  const told = JSON.stringify({ status: 'Failure', message: 'container not found ("agent")' })
  const { objects } = await execServer(t, (socket) => void socket.end(Buffer.concat([frame(3, told), CLOSE])))
  await assert.rejects(objects.execute('a', 'agent', ['x'], SOON_MS), {
    code: 'network',
    message: 'cannot run a command in the pod "a": container not found ("agent")',
  })
})

test('a command that does not end is given up', async (t) => {
  const { objects } = await execServer(t, () => {})
  await assert.rejects(objects.execute('a', 'agent', ['x'], 200), {
    message: 'cannot run a command in the pod "a": it did not end within 200 ms',
    mayHaveCommitted: true,
  })
})

test('without the right to do so nothing is tried, and the error names it', async (t) => {
  const { objects, upgrades } = await execServer(t, () => {}, 403)
  await assert.rejects(objects.execute('a', 'agent', ['x'], SOON_MS), (error: ApiError) => {
    assert.deepEqual([error.code, error.mayHaveCommitted], ['forbidden', false])
    assert.equal(
      error.message,
      'user "eve" may not "get" pods/exec "a" in namespace "ns": add the verb to its Role',
    )
    return true
  })
  assert.deepEqual(upgrades, [])
})
