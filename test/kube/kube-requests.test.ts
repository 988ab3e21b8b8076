import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import type { KubeObjects } from '../../agent/kube/kube-objects.ts'
import { LEASE } from '../../agent/lease/lease-api.ts'
import { listening } from '../harness/listening.ts'
import {
  failure,
  fixedAccess,
  leaseAt,
  objectsFor,
  reply,
  type Script,
  ScriptedServer,
  status,
  within,
} from './scripted-server.ts'

const LATER_MS = 5_000
/** Long enough for a loopback exchange, short enough to wait for. */
const SOON_MS = 150

const update = (objects: KubeObjects, deadlineMs = LATER_MS) =>
  objects.write('update', LEASE, leaseAt('7') as never, deadlineMs)
const read = (objects: KubeObjects, deadlineMs = LATER_MS) => objects.get(LEASE, 'lock', deadlineMs)

async function fails(promise: Promise<unknown>, code: string, message = /./): Promise<void> {
  const error = await failure(promise)
  assert.equal(error.code, code)
  assert.match(error.message, message)
}

test('consecutive requests share one connection', async () => {
  await using server = await ScriptedServer.start((_, response) => reply(response, 200, leaseAt('8')))
  using objects = objectsFor(fixedAccess(server.url))
  for (let i = 0; i < 20; i++) await update(objects)
  server.script = (_, response) => reply(response, 409, status(409, 'Conflict'))
  for (let i = 0; i < 20; i++) await failure(update(objects))
  assert.deepEqual([server.requests.length, server.connections], [40, 1])
})

test('a request destroys its socket at its deadline, so a late reply never answers the next request', async () => {
  const held: Parameters<Script>[1][] = []
  await using server = await ScriptedServer.start((_, response) => void held.push(response))
  const seen: string[] = []
  using objects = objectsFor(fixedAccess(server.url), {
    onRequest: (verb, code) => seen.push(`${verb} ${code}`),
  })

  await fails(update(objects, SOON_MS), 'timeout')
  const hung = server.requests[0]?.socket
  for (const response of held) reply(response, 200, leaseAt('late'))
  if (hung?.closed === false) await within(once(hung, 'close'))

  server.script = (_, response) => reply(response, 200, leaseAt('9'))
  assert.equal((await update(objects)).metadata.resourceVersion, '9')
  assert.notEqual(server.requests.at(-1)?.socket, hung)
  assert.deepEqual(seen, ['update timeout', 'update 200'])
})

test('a request does not wait behind one that hangs', async () => {
  await using server = await ScriptedServer.start((request, response) => {
    if (request.method === 'PUT') reply(response, 200, leaseAt('8'))
  })
  using objects = objectsFor(fixedAccess(server.url))
  const hanging = failure(read(objects, SOON_MS))
  assert.equal((await update(objects)).metadata.resourceVersion, '8')
  assert.equal((await hanging).code, 'timeout')
})

test('a write may have no connection at its deadline', async (t) => {
  // The kernel accepts the connection, but the server never speaks TLS, so the handshake hangs.
  const accepted: Socket[] = []
  const mute = createServer((socket) => accepted.push(socket.on('error', () => {}).resume()))
  using objects = objectsFor(fixedAccess(`https://127.0.0.1:${await listening(t, mute)}`))
  await fails(update(objects, SOON_MS), 'timeout', /^no connection/)
  if (accepted[0]?.closed === false) await within(once(accepted[0], 'close'))
})

test('a closed port and an unknown host cannot be reached', async () => {
  const server = await ScriptedServer.start(() => {})
  const { url } = server
  await server[Symbol.asyncDispose]()
  using objects = objectsFor(fixedAccess(url))
  await fails(update(objects), 'network', /^cannot reach/)
  using nowhere = objectsFor(fixedAccess('http://no-such-host.invalid:1'))
  await fails(update(nowhere), 'network', /^cannot reach/)
})

const TROUBLE: [what: string, Script, code: string, message: RegExp][] = [
  [
    'a reset after the request was sent',
    ({ socket }) => socket.resetAndDestroy(),
    'network',
    /^lost the connection/,
  ],
  ['a reply that stops in the middle', half, 'timeout', /did not answer/],
  ['an endless reply', flood, 'network', /the reply is too long/],
  ['a second 401', (_, response) => reply(response, 401, status(401, 'Unauthorized')), 'unauthorized', /401/],
]
for (const [what, script, code, message] of TROUBLE)
  test(`${what} is reported as ${code}`, async () => {
    await using server = await ScriptedServer.start(script)
    using objects = objectsFor(fixedAccess(server.url))
    const deadlineMs = code === 'timeout' ? SOON_MS : LATER_MS
    await fails(update(objects, deadlineMs), code, message)
    assert.equal(server.requests.length, code === 'unauthorized' ? 2 : 1)
    await fails(read(objects, deadlineMs), code, message)
  })

function half(...[, response]: Parameters<Script>): void {
  response.writeHead(200, { 'content-length': '1000' })
  response.write('{"half')
}

function flood(...[, response]: Parameters<Script>): void {
  const more = () => {
    while (response.write('x'.repeat(65_536)));
    response.once('drain', more)
  }
  more()
}

test('a request is repeated once with fresh credentials after a 401', async () => {
  await using server = await ScriptedServer.start((_, response) =>
    server.requests.length === 1
      ? reply(response, 401, status(401, 'Unauthorized'))
      : reply(response, 200, leaseAt('8')),
  )
  const access = fixedAccess(server.url)
  using objects = objectsFor(access)
  assert.equal((await update(objects)).metadata.resourceVersion, '8')
  assert.deepEqual([access.reloads, server.requests.length], [1, 2])
})

test('a request fails at its deadline if its credentials are not available', async () => {
  const access = { ...fixedAccess('http://127.0.0.1:1'), credentials: () => new Promise<never>(() => {}) }
  using objects = objectsFor(access)
  await fails(update(objects, SOON_MS), 'timeout')
})

test('closing the client ends the requests in flight', async () => {
  await using server = await ScriptedServer.start(() => objects.close())
  using objects = objectsFor(fixedAccess(server.url))
  await fails(update(objects), 'network')
  await fails(read(objects), 'network')
})
