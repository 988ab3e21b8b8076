import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { ApiError } from '../../agent/kube/errors.ts'
import {
  apiFor,
  fixedAccess,
  leaseAt,
  reply,
  ScriptedServer,
  status,
  within,
} from './fixtures/scripted-server.ts'

const PATH = '/apis/coordination.k8s.io/v1/namespaces/ns/leases'
const LATER_MS = 5_000
/** Long enough for a loopback exchange, short enough to wait for. */
const SOON_MS = 150

async function failure(promise: Promise<unknown>): Promise<ApiError> {
  try {
    await within(promise)
  } catch (error) {
    assert.ok(error instanceof ApiError, String(error))
    assert.doesNotMatch(error.message, /secret-token/)
    assert.doesNotMatch(error.message, /\n/)
    return error
  }
  throw new assert.AssertionError({ message: 'it did not fail' })
}

test('a read, an update and a creation say what the API expects', async () => {
  await using server = await ScriptedServer.start((request, response) =>
    reply(response, request.method === 'POST' ? 201 : 200, leaseAt('8')),
  )
  const seen: string[] = []
  using api = apiFor(fixedAccess(`${server.url}/clients/a/`), {
    onRequest: (verb, code) => seen.push(`${verb} ${code}`),
  })

  assert.deepEqual(await api.read(LATER_MS), leaseAt('8'))
  await api.update({ ...leaseAt('7'), unknown: { kept: true } } as never, LATER_MS)
  await api.create(leaseAt('7'), LATER_MS)

  assert.deepEqual(
    server.requests.map(({ method, url }) => `${method} ${url.pathname}${url.search}`),
    [`GET /clients/a${PATH}/lock`, `PUT /clients/a${PATH}/lock`, `POST /clients/a${PATH}`],
  )
  assert.deepEqual(seen, ['get 200', 'update 200', 'create 201'])
  const [read, update, create] = server.requests
  assert.equal(read?.headers.authorization, 'Bearer secret-token')
  assert.equal(read?.headers['user-agent'], 'test/1')
  assert.equal(update?.headers['content-type'], 'application/json')
  assert.deepEqual(JSON.parse(update?.body ?? ''), { ...leaseAt('7'), unknown: { kept: true } })
  assert.deepEqual(JSON.parse(create?.body ?? '').metadata, { name: 'lock', namespace: 'ns' })
})

test('an update without a resourceVersion is refused, since it would overwrite anything', async () => {
  await using server = await ScriptedServer.start((_, response) => reply(response, 200, leaseAt('8')))
  using api = apiFor(fixedAccess(server.url))
  const error = await failure(api.update({ metadata: {} }, LATER_MS))
  assert.equal(error.code, 'invalid')
  assert.equal(error.mayHaveCommitted, false)
  assert.equal(server.requests.length, 0)
})

test('requests that follow each other share one connection', async () => {
  await using server = await ScriptedServer.start((_, response) => reply(response, 200, leaseAt('8')))
  using api = apiFor(fixedAccess(server.url))
  for (let i = 0; i < 20; i++) await api.update(leaseAt('7'), LATER_MS)
  server.script = (_, response) => reply(response, 409, status(409, 'Conflict'))
  for (let i = 0; i < 20; i++) await failure(api.update(leaseAt('7'), LATER_MS))
  assert.equal(server.requests.length, 40)
  assert.equal(server.connections, 1)
})

test('at its deadline a request destroys its socket, and the next one uses a new connection', async () => {
  await using server = await ScriptedServer.start(() => {})
  const seen: string[] = []
  using api = apiFor(fixedAccess(server.url), { onRequest: (verb, code) => seen.push(`${verb} ${code}`) })

  const error = await failure(api.update(leaseAt('7'), SOON_MS))
  assert.equal(error.code, 'timeout')
  assert.equal(error.mayHaveCommitted, true)
  assert.match(error.message, /did not answer "update" within 150 ms$/)
  const hung = server.requests[0]?.socket
  if (hung?.closed === false) await within(once(hung, 'close'))

  server.script = (_, response) => reply(response, 200, leaseAt('8'))
  await api.update(leaseAt('7'), LATER_MS)
  assert.notEqual(server.requests.at(-1)?.socket, hung)
  const updates = seen.filter((one) => one.startsWith('update'))
  assert.deepEqual(updates, ['update timeout', 'update 200'])
})

test('a reply that comes after the deadline is not taken for the answer to the next request', async () => {
  await using server = await ScriptedServer.start((_, response) => void held.push(response))
  const held: Parameters<typeof reply>[0][] = []
  using api = apiFor(fixedAccess(server.url))
  await failure(api.update(leaseAt('7'), SOON_MS))
  for (const response of held) reply(response, 200, leaseAt('late'))
  server.script = (_, response) => reply(response, 200, leaseAt('9'))
  assert.equal((await api.read(LATER_MS))?.metadata.resourceVersion, '9')
})

test('a request does not wait behind one that hangs', async () => {
  await using server = await ScriptedServer.start((request, response) => {
    if (request.method === 'PUT') reply(response, 200, leaseAt('8'))
  })
  using api = apiFor(fixedAccess(server.url))
  const hanging = failure(api.read(SOON_MS))
  assert.equal((await api.update(leaseAt('7'), LATER_MS)).metadata.resourceVersion, '8')
  assert.equal((await hanging).mayHaveCommitted, false)
})

test('a reply that stops in the middle counts against the deadline, and may have been applied', async () => {
  await using server = await ScriptedServer.start((_, response) => {
    response.writeHead(200, { 'content-length': '1000' })
    response.write('{"half')
  })
  using api = apiFor(fixedAccess(server.url))
  const error = await failure(api.update(leaseAt('7'), SOON_MS))
  assert.equal(error.code, 'timeout')
  assert.equal(error.mayHaveCommitted, true)
})

test('a connection that is not made in time was certainly no write', async () => {
  // Accepts by the kernel alone and never speaks TLS: the handshake hangs.
  const mute = createServer()
  mute.listen(0, '127.0.0.1')
  await once(mute, 'listening')
  const { port } = mute.address() as { port: number }
  const accepted: import('node:net').Socket[] = []
  mute.on('connection', (socket) => accepted.push(socket.on('error', () => {}).resume()))
  using api = apiFor(fixedAccess(`https://127.0.0.1:${port}`))
  try {
    const error = await failure(api.update(leaseAt('7'), SOON_MS))
    assert.equal(error.code, 'timeout')
    assert.equal(error.mayHaveCommitted, false)
    assert.match(error.message, /^no connection to the API server at https:.* within 150 ms$/)
    if (accepted[0]?.closed === false) await within(once(accepted[0], 'close'))
  } finally {
    mute.close()
  }
})

test('a reset after the request was sent may have been applied; a refused connection was not', async () => {
  await using server = await ScriptedServer.start((request) => request.socket.resetAndDestroy())
  const { url } = server
  using api = apiFor(fixedAccess(server.url))
  const reset = await failure(api.update(leaseAt('7'), LATER_MS))
  assert.equal(reset.code, 'network')
  assert.equal(reset.mayHaveCommitted, true)
  assert.equal((await failure(api.read(LATER_MS))).mayHaveCommitted, false)

  await server[Symbol.asyncDispose]()
  const refused = await failure(api.update(leaseAt('7'), LATER_MS))
  assert.equal(refused.code, 'network')
  assert.equal(refused.mayHaveCommitted, false)
  assert.equal(refused.message, `cannot reach the API server at ${url}: connection refused (ECONNREFUSED)`)
})

test('an unknown host was certainly no write', async () => {
  using api = apiFor(fixedAccess('http://no-such-host.invalid:1'))
  const error = await failure(api.update(leaseAt('7'), LATER_MS))
  assert.equal(error.code, 'network')
  assert.equal(error.mayHaveCommitted, false)
  assert.match(error.message, /the host name (is unknown|cannot be resolved)/)
})

test('plain http instead of TLS is named', async () => {
  await using server = await ScriptedServer.start(() => {})
  using api = apiFor(fixedAccess(server.url.replace('http:', 'https:')))
  const error = await failure(api.update(leaseAt('7'), LATER_MS))
  assert.equal(error.mayHaveCommitted, false)
  assert.match(error.message, /it does not speak TLS/)
})

test('after a 401 credentials are read again and the request is sent once more', async () => {
  await using server = await ScriptedServer.start((_, response) =>
    server.requests.length === 1
      ? reply(response, 401, status(401, 'Unauthorized'))
      : reply(response, 200, leaseAt('8')),
  )
  const access = fixedAccess(server.url)
  using api = apiFor(access)
  assert.equal((await api.update(leaseAt('7'), LATER_MS)).metadata.resourceVersion, '8')
  assert.equal(access.reloads, 1)
  assert.equal(server.requests.length, 2)
})

test('a second 401 is an error that names where the credentials came from', async () => {
  await using server = await ScriptedServer.start((_, response) =>
    reply(response, 401, status(401, 'Unauthorized')),
  )
  using api = apiFor(fixedAccess(server.url))
  const error = await failure(api.update(leaseAt('7'), LATER_MS))
  assert.equal(error.code, 'unauthorized')
  assert.equal(error.mayHaveCommitted, false)
  assert.equal(error.message, `the API server at ${server.url} does not accept a test (401 Unauthorized)`)
  assert.equal(server.requests.length, 2)
})

const FORBIDDEN = (user: string, verb: string) =>
  status(
    403,
    'Forbidden',
    `leases.coordination.k8s.io "lock" is forbidden: User "${user}" cannot ${verb} resource "leases" in API group "coordination.k8s.io" in the namespace "ns"`,
  )

const REFUSALS: [
  name: string,
  run: 'read' | 'update' | 'create',
  status: number,
  body: object | string,
  Expected,
][] = [
  ['409 on an update', 'update', 409, status(409, 'Conflict'), { code: 'conflict', message: /has changed/ }],
  [
    '409 on a creation',
    'create',
    409,
    status(409, 'AlreadyExists'),
    { code: 'already_exists', message: /already exists/ },
  ],
  [
    '404 on an update',
    'update',
    404,
    status(404, 'NotFound'),
    { code: 'not_found', message: /there is no Lease "lock"/ },
  ],
  [
    '404 on a creation',
    'create',
    404,
    status(404, 'NotFound'),
    { code: 'not_found', message: /namespace "ns" does not exist/ },
  ],
  [
    '404 of something else',
    'read',
    404,
    '404 page not found',
    { code: 'invalid', message: /is it a Kubernetes API server/ },
  ],
  [
    '403 for a ServiceAccount',
    'update',
    403,
    FORBIDDEN('system:serviceaccount:ns:agent', 'update'),
    {
      code: 'forbidden',
      message:
        /^ServiceAccount "ns\/agent" may not "update" leases.coordination.k8s.io "lock" in namespace "ns": add the verb to its Role$/,
    },
  ],
  [
    '403 for a user on a creation',
    'create',
    403,
    FORBIDDEN('mia', 'create'),
    {
      code: 'forbidden',
      message: /^user "mia" may not "create" leases.coordination.k8s.io in namespace "ns": add/,
    },
  ],
  [
    '403 that is not about permissions',
    'create',
    403,
    status(403, 'Forbidden', 'unable to create: namespace ns is being terminated'),
    { code: 'forbidden', message: /forbids to "create".*being terminated$/ },
  ],
  [
    '422',
    'update',
    422,
    status(422, 'Invalid', 'spec is bad'),
    { code: 'invalid', message: /422.*spec is bad/ },
  ],
  ['302', 'read', 302, 'moved', { code: 'invalid', message: /302/ }],
  ['500', 'update', 500, status(500, 'InternalError'), { code: 'server', message: /500/, committed: true }],
  ['504 from a proxy', 'update', 504, '<html>', { code: 'server', message: /504/, committed: true }],
  ['503 on a read', 'read', 503, '', { code: 'server', message: /503/ }],
]
interface Expected {
  code: string
  message: RegExp
  committed?: boolean
}

for (const [name, run, code, body, expected] of REFUSALS) {
  test(`${name} becomes ${expected.code}`, async () => {
    await using server = await ScriptedServer.start((_, response) => reply(response, code, body))
    using api = apiFor(fixedAccess(server.url))
    const calls = {
      read: () => api.read(LATER_MS),
      update: () => api.update(leaseAt('7'), LATER_MS),
      create: () => api.create(leaseAt('7'), LATER_MS),
    }
    const error = await failure(calls[run]())
    assert.equal(error.code, expected.code)
    assert.equal(error.status, code)
    assert.match(error.message, expected.message)
    assert.equal(error.mayHaveCommitted, expected.committed ?? false)
    assert.equal(server.requests.length, 1, 'no refusal is answered with a second attempt')
  })
}

test('429 says how long to wait', async () => {
  await using server = await ScriptedServer.start((_, response) =>
    reply(response, 429, status(429, 'TooManyRequests'), { 'retry-after': '3' }),
  )
  using api = apiFor(fixedAccess(server.url))
  const error = await failure(api.update(leaseAt('7'), LATER_MS))
  assert.equal(error.code, 'throttled')
  assert.equal(error.retryAfterMs, 3000)
  assert.equal(error.mayHaveCommitted, false)
})

test('a Lease that does not exist is null; a path that does not exist is an error', async () => {
  await using server = await ScriptedServer.start((_, response) =>
    reply(response, 404, status(404, 'NotFound')),
  )
  using api = apiFor(fixedAccess(server.url))
  assert.equal(await api.read(LATER_MS), null)
  server.script = (_, response) => reply(response, 404, 'not here')
  assert.equal((await failure(api.read(LATER_MS))).code, 'invalid')
})

for (const body of ['<html>login</html>', '', '[]', 'null', '{"metadata":{}}']) {
  test(`200 with ${body === '' ? 'nothing' : body} is no answer, and the write may have been applied`, async () => {
    await using server = await ScriptedServer.start((_, response) => reply(response, 200, body))
    using api = apiFor(fixedAccess(server.url))
    const error = await failure(api.update(leaseAt('7'), LATER_MS))
    assert.equal(error.code, 'network')
    assert.equal(error.mayHaveCommitted, true)
  })
}

test('a reply without end is cut off', async () => {
  await using server = await ScriptedServer.start((_, response) => {
    const flood = () => {
      while (response.write('x'.repeat(65_536)));
      response.once('drain', flood)
    }
    flood()
  })
  using api = apiFor(fixedAccess(server.url))
  assert.match((await failure(api.read(LATER_MS))).message, /the reply is too long/)
})

test('credentials that never come count against the deadline', async () => {
  using api = apiFor({ ...fixedAccess('http://127.0.0.1:1'), credentials: () => new Promise(() => {}) })
  const error = await failure(api.update(leaseAt('7'), SOON_MS))
  assert.equal(error.code, 'timeout')
  assert.equal(error.mayHaveCommitted, false)
})

test('closing ends what is in flight', async () => {
  await using server = await ScriptedServer.start(() => api.close())
  using api = apiFor(fixedAccess(server.url))
  const error = await failure(api.update(leaseAt('7'), LATER_MS))
  assert.equal(error.mayHaveCommitted, true)
  assert.equal((await failure(api.read(LATER_MS))).code, 'network')
})
