import assert from 'node:assert/strict'
import { test } from 'node:test'
import { POD } from '../../agent/kube/kube-objects.ts'
import { LEASE } from '../../agent/lease/lease-api.ts'
import { failure, fixedAccess, leaseAt, objectsFor, reply, ScriptedServer } from './scripted-server.ts'

const LATER_MS = 5_000
const object = { metadata: { name: 'a', uid: 'u', resourceVersion: '7' }, unknown: { kept: true } }

test('each operation sends the request that the API server expects', async () => {
  await using server = await ScriptedServer.start(({ method, url }, response) =>
    reply(response, method === 'POST' ? 201 : 200, url.search === '' ? object : { items: [object] }),
  )
  const seen: string[] = []
  using objects = objectsFor(fixedAccess(`${server.url}/clients/a/`), {
    onRequest: (verb, code) => seen.push(`${verb} ${code}`),
  })
  const patch = { metadata: { name: 'a', uid: 'u', resourceVersion: '7', annotations: { x: null } } }
  assert.deepEqual(await objects.get(POD, 'a', LATER_MS), object)
  assert.deepEqual(await objects.list(POD, LATER_MS), [object])
  await objects.write('patch', POD, patch, LATER_MS)
  await objects.write('create', LEASE, object, LATER_MS)
  await objects.write('update', LEASE, object, LATER_MS)
  await objects.rehearse('update', POD, object, LATER_MS)
  await objects.patchStatus(POD, patch, LATER_MS)

  const root = '/clients/a/api/v1/namespaces/ns/pods'
  assert.deepEqual(
    server.requests.map(({ method, url, body }) => [method, url.pathname, url.searchParams.toString(), body]),
    [
      ['GET', `${root}/a`, '', ''],
      ['GET', root, 'limit=100', ''],
      ['PATCH', `${root}/a`, '', JSON.stringify(patch)],
      ['POST', '/clients/a/apis/coordination.k8s.io/v1/namespaces/ns/leases', '', JSON.stringify(object)],
      ['PUT', '/clients/a/apis/coordination.k8s.io/v1/namespaces/ns/leases/a', '', JSON.stringify(object)],
      ['PUT', `${root}/a`, 'dryRun=All', JSON.stringify(object)],
      ['PATCH', `${root}/a/status`, '', JSON.stringify(patch)],
    ],
  )
  const [get, , patched, created] = server.requests.map(({ headers }) => headers)
  assert.equal(get?.authorization, 'Bearer secret-token')
  assert.equal(get?.['user-agent'], 'test/1')
  assert.equal(patched?.['content-type'], 'application/merge-patch+json')
  assert.equal(created?.['content-type'], 'application/json')
  assert.equal(server.requests.at(-1)?.headers['content-type'], 'application/strategic-merge-patch+json')
  const verbs = ['get 200', 'list 200', 'patch 200', 'create 201', 'update 200', 'update 200', 'patch 200']
  assert.deepEqual(seen, verbs)
})

test('a long list is read page by page', async () => {
  const named = (name: string) => ({ metadata: { ...object.metadata, name } })
  await using server = await ScriptedServer.start(({ url }, response) => {
    const page = Number(url.searchParams.get('continue') ?? 1)
    const rest = page < 3 ? { continue: String(page + 1) } : {}
    reply(response, 200, { metadata: rest, items: [named(`p${page}`)] })
  })
  using objects = objectsFor(fixedAccess(server.url))
  assert.deepEqual(await objects.list(POD, LATER_MS), ['p1', 'p2', 'p3'].map(named))
})

test('a 200 without the expected object is an error', async () => {
  for (const body of ['<html>login</html>', '', '[]', 'null', '{"metadata":{}}']) {
    await using server = await ScriptedServer.start((_, response) => reply(response, 200, body))
    using objects = objectsFor(fixedAccess(server.url))
    assert.equal((await failure(objects.write('update', POD, object, LATER_MS))).code, 'network', body)
    assert.equal((await failure(objects.list(POD, LATER_MS))).code, 'network')
  }
})

const forbidden = (user: string) =>
  `403 Forbidden: leases.coordination.k8s.io "lock" is forbidden: User "${user}" cannot do that in the namespace "ns"`
const ACCOUNT = forbidden('system:serviceaccount:ns:agent')

/** The answer: its code, and the reason and message of its `Status`, if it has one. */
type Refused = 'get' | 'list' | 'update' | 'create' | 'patch'
const REFUSALS: [verb: Refused, answer: string, code: string, RegExp?][] = [
  ['update', '409 Conflict', 'conflict'],
  ['create', '409 AlreadyExists', 'already_exists'],
  ['update', '404 NotFound', 'not_found'],
  ['create', '404 NotFound', 'not_found', /namespace "ns"/],
  ['get', '404', 'invalid'],
  ['update', ACCOUNT, 'forbidden', /:ns:agent" may not "update" leases\S+ "lock" in namespace "ns"/],
  ['list', ACCOUNT, 'forbidden', /may not "list" leases\S+ in namespace/],
  ['create', forbidden('mia'), 'forbidden', /^user "mia"/],
  ['create', '403 Forbidden: ns is being terminated', 'forbidden', /being terminated$/],
  ['update', '422 Invalid: spec is bad', 'invalid', /: spec is bad$/],
  ['get', '302', 'invalid'],
  ['update', '429 TooManyRequests', 'throttled'],
  ['update', '500 InternalError', 'server'],
  ['patch', '500 InternalError: etcd is away', 'server', /etcd is away$/],
  ['get', '503', 'server'],
]
for (const [verb, answer, expected, message = /./] of REFUSALS) {
  test(`${answer} to "${verb}" becomes ${expected}`, async () => {
    const [, status = '', reason, said = reason] = /^(\d+)(?: (\w+))?(?:: (.*))?$/.exec(answer) ?? []
    const code = Number(status)
    const body = { kind: 'Status', status: 'Failure', code, reason, message: said }
    await using server = await ScriptedServer.start((_, response) =>
      reply(response, code, reason === undefined ? '<html>' : body),
    )
    using objects = objectsFor(fixedAccess(server.url))
    const calls = {
      get: () => objects.get(LEASE, 'lock', LATER_MS),
      list: () => objects.list(LEASE, LATER_MS),
      update: () => objects.write('update', LEASE, leaseAt('7') as never, LATER_MS),
      create: () => objects.write('create', LEASE, leaseAt('7') as never, LATER_MS),
      patch: () => objects.write('patch', LEASE, object, LATER_MS),
    }
    const error = await failure(calls[verb]())
    assert.deepEqual([error.code, error.status], [expected, code])
    assert.match(error.message, message)
    assert.equal(server.requests.length, 1, 'a refusal causes no second attempt')
  })
}

test('a deletion requires the UID that was seen, and shortens the grace period on request', async () => {
  await using server = await ScriptedServer.start((_, response) => reply(response, 200, {}))
  using objects = objectsFor(fixedAccess(server.url))
  await objects.delete(POD, object, LATER_MS, 0)
  await objects.delete(POD, object, LATER_MS)
  const options = { kind: 'DeleteOptions', apiVersion: 'v1', preconditions: { uid: 'u' } }
  assert.deepEqual(
    server.requests.map(({ method, url, body }) => [method, url.pathname + url.search, body]),
    [
      ['DELETE', '/api/v1/namespaces/ns/pods/a', JSON.stringify({ ...options, gracePeriodSeconds: 0 })],
      ['DELETE', '/api/v1/namespaces/ns/pods/a', JSON.stringify(options)],
    ],
  )
})
