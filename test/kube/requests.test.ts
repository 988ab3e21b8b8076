import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import type { KubeObjects } from '../../agent/kube/objects.ts'
import { askVersion } from '../../agent/kube/requests.ts'
import {
  failure,
  fixedAccess,
  LEASE,
  leaseAt,
  objectsFor,
  reply,
  ScriptedServer,
  status,
  within,
} from './scripted-server.ts'

const LATER_MS = 5_000
/** Long enough for a loopback exchange, short enough to wait for. */
const SOON_MS = 150

const update = (objects: KubeObjects, deadlineMs = LATER_MS) =>
  objects.update(LEASE, leaseAt('7') as never, deadlineMs)
const read = (objects: KubeObjects, deadlineMs = LATER_MS) => objects.get(LEASE, 'lock', deadlineMs)

/** @param committed whether the write may have been applied */
async function fails(
  promise: Promise<unknown>,
  code: string,
  committed: boolean,
  message = /./,
): Promise<void> {
  const error = await failure(promise)
  assert.deepEqual([error.code, error.mayHaveCommitted], [code, committed])
  assert.match(error.message, message)
}

test('requests that follow each other share one connection', async () => {
  await using server = await ScriptedServer.start((_, response) => reply(response, 200, leaseAt('8')))
  using objects = objectsFor(fixedAccess(server.url))
  for (let i = 0; i < 20; i++) await update(objects)
  server.script = (_, response) => reply(response, 409, status(409, 'Conflict'))
  for (let i = 0; i < 20; i++) await failure(update(objects))
  assert.equal(server.requests.length, 40)
  assert.equal(server.connections, 1)
})

test('at its deadline a request destroys its socket, and the next one uses a new connection', async () => {
  await using server = await ScriptedServer.start(() => {})
  const seen: string[] = []
  using objects = objectsFor(fixedAccess(server.url), {
    onRequest: (verb, code) => seen.push(`${verb} ${code}`),
  })

  await fails(update(objects, SOON_MS), 'timeout', true, /did not answer "update" within 150 ms$/)
  const hung = server.requests[0]?.socket
  if (hung?.closed === false) await within(once(hung, 'close'))

  server.script = (_, response) => reply(response, 200, leaseAt('8'))
  await update(objects)
  assert.notEqual(server.requests.at(-1)?.socket, hung)
  assert.deepEqual(seen, ['update timeout', 'update 200'])
})

test('a reply that comes after the deadline is not taken for the answer to the next request', async () => {
  await using server = await ScriptedServer.start((_, response) => void held.push(response))
  const held: Parameters<typeof reply>[0][] = []
  using objects = objectsFor(fixedAccess(server.url))
  await failure(update(objects, SOON_MS))
  for (const response of held) reply(response, 200, leaseAt('late'))
  server.script = (_, response) => reply(response, 200, leaseAt('9'))
  assert.equal((await read(objects)).metadata.resourceVersion, '9')
})

test('a request does not wait behind one that hangs', async () => {
  await using server = await ScriptedServer.start((request, response) => {
    if (request.method === 'PUT') reply(response, 200, leaseAt('8'))
  })
  using objects = objectsFor(fixedAccess(server.url))
  const hanging = failure(read(objects, SOON_MS))
  assert.equal((await update(objects)).metadata.resourceVersion, '8')
  assert.equal((await hanging).mayHaveCommitted, false)
})

test('a reply that stops in the middle counts against the deadline, and may have been applied', async () => {
  await using server = await ScriptedServer.start((_, response) => {
    response.writeHead(200, { 'content-length': '1000' })
    response.write('{"half')
  })
  using objects = objectsFor(fixedAccess(server.url))
  await fails(update(objects, SOON_MS), 'timeout', true)
})

test('a connection that is not made in time was certainly no write', async () => {
  // Accepts by the kernel alone and never speaks TLS: the handshake hangs.
  const mute = createServer()
  mute.listen(0, '127.0.0.1')
  await once(mute, 'listening')
  const { port } = mute.address() as { port: number }
  const accepted: Socket[] = []
  mute.on('connection', (socket) => accepted.push(socket.on('error', () => {}).resume()))
  using objects = objectsFor(fixedAccess(`https://127.0.0.1:${port}`))
  try {
    const late = /^no connection to the API server at https:.* within 150 ms$/
    await fails(update(objects, SOON_MS), 'timeout', false, late)
    if (accepted[0]?.closed === false) await within(once(accepted[0], 'close'))
  } finally {
    mute.close()
  }
})

test('a reset after the request was sent may have been applied; a refused connection was not', async () => {
  await using server = await ScriptedServer.start((request) => request.socket.resetAndDestroy())
  const { url } = server
  using objects = objectsFor(fixedAccess(server.url))
  await fails(update(objects), 'network', true)
  await fails(read(objects), 'network', false)

  await server[Symbol.asyncDispose]()
  const message = `cannot reach the API server at ${url}: connection refused (ECONNREFUSED)`
  const refused = await failure(update(objects))
  assert.deepEqual([refused.code, refused.mayHaveCommitted, refused.message], ['network', false, message])
})

test('an unknown host was certainly no write', async () => {
  using objects = objectsFor(fixedAccess('http://no-such-host.invalid:1'))
  await fails(update(objects), 'network', false, /the host name (is unknown|cannot be resolved)/)
})

test('plain http instead of TLS is named', async () => {
  await using server = await ScriptedServer.start(() => {})
  using objects = objectsFor(fixedAccess(server.url.replace('http:', 'https:')))
  await fails(update(objects), 'network', false, /it does not speak TLS/)
})

test('after a 401 credentials are read again and the request is sent once more', async () => {
  await using server = await ScriptedServer.start((_, response) =>
    server.requests.length === 1
      ? reply(response, 401, status(401, 'Unauthorized'))
      : reply(response, 200, leaseAt('8')),
  )
  const access = fixedAccess(server.url)
  using objects = objectsFor(access)
  assert.equal((await update(objects)).metadata.resourceVersion, '8')
  assert.equal(access.reloads, 1)
  assert.equal(server.requests.length, 2)
})

test('a second 401 is an error that names where the credentials came from', async () => {
  await using server = await ScriptedServer.start((_, response) =>
    reply(response, 401, status(401, 'Unauthorized')),
  )
  using objects = objectsFor(fixedAccess(server.url))
  await fails(
    update(objects),
    'unauthorized',
    false,
    /^the API server at .* does not accept a test \(401 Unauthorized\)$/,
  )
  assert.equal(server.requests.length, 2)
})

test('a reply without end is cut off', async () => {
  await using server = await ScriptedServer.start((_, response) => {
    const flood = () => {
      while (response.write('x'.repeat(65_536)));
      response.once('drain', flood)
    }
    flood()
  })
  using objects = objectsFor(fixedAccess(server.url))
  assert.match((await failure(read(objects))).message, /the reply is too long/)
})

test('credentials that never come count against the deadline', async () => {
  using objects = objectsFor({
    ...fixedAccess('http://127.0.0.1:1'),
    credentials: () => new Promise(() => {}),
  })
  await fails(update(objects, SOON_MS), 'timeout', false)
})

test('closing ends what is in flight', async () => {
  await using server = await ScriptedServer.start(() => objects.close())
  using objects = objectsFor(fixedAccess(server.url))
  await fails(update(objects), 'network', true)
  await fails(read(objects), 'network', false)
})

test('the version of the server is asked for as providers write it', async () => {
  await using server = await ScriptedServer.start((_, response) =>
    reply(response, 200, { major: '1', minor: '28+' }),
  )
  const options = { namespace: 'ns', clock: systemClock, userAgent: 'test/1' }
  const asked = () => askVersion({ ...options, access: fixedAccess(server.url) })
  assert.equal(await asked(), '1.28')
  server.script = (_, response) => reply(response, 200, {})
  assert.equal(await asked(), null)
})
