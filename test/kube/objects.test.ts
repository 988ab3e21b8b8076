import assert from 'node:assert/strict'
import { test } from 'node:test'
import { systemClock } from '../../agent/clock.ts'
import type { Verb } from '../../agent/kube/errors.ts'
import { ApiError } from '../../agent/kube/errors.ts'
import { ENDPOINT_SLICE, KubeObjects, POD } from '../../agent/kube/objects.ts'
import { fixedAccess, reply, ScriptedServer, status, within } from '../lease/fixtures/scripted-server.ts'

const LATER_MS = 5_000
const object = { metadata: { name: 'a', uid: 'u', resourceVersion: '7' }, unknown: { kept: true } }

function objectsFor(
  server: ScriptedServer,
  onRequest?: (verb: Verb, code: string) => void,
): KubeObjects & Disposable {
  const access = fixedAccess(`${server.url}/clients/a/`)
  const objects = new KubeObjects({
    access,
    namespace: 'ns',
    clock: systemClock,
    userAgent: 'test/1',
    onRequest,
  })
  return Object.assign(objects, { [Symbol.dispose]: () => objects.close() })
}

async function failure(promise: Promise<unknown>): Promise<ApiError> {
  const error = await within(promise).then(
    () => null,
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof ApiError, String(error))
  return error
}

test('objects are read, listed, patched and updated as the API expects', async () => {
  await using server = await ScriptedServer.start((request, response) =>
    reply(response, 200, request.url.search === '' ? object : { items: [object] }),
  )
  const seen: string[] = []
  using objects = objectsFor(server, (verb, code) => seen.push(`${verb} ${code}`))

  assert.deepEqual(await objects.get(POD, 'a', LATER_MS), object)
  assert.deepEqual(await objects.list(POD, { 'x/role': 'leader', 'x/lease': 'l' }, LATER_MS), [object])
  await objects.patch(
    POD,
    'a',
    { metadata: { uid: 'u', resourceVersion: '7', labels: { x: null } } },
    LATER_MS,
  )
  await objects.update(ENDPOINT_SLICE, object, LATER_MS)

  const pods = '/clients/a/api/v1/namespaces/ns/pods'
  assert.deepEqual(
    server.requests.map(
      ({ method, url }) => `${method} ${url.pathname} ${url.searchParams.get('labelSelector')}`,
    ),
    [
      `GET ${pods}/a null`,
      `GET ${pods} x/role=leader,x/lease=l`,
      `PATCH ${pods}/a null`,
      'PUT /clients/a/apis/discovery.k8s.io/v1/namespaces/ns/endpointslices/a null',
    ],
  )
  const [get, , patch, update] = server.requests
  assert.equal(get?.headers.authorization, 'Bearer secret-token')
  assert.equal(patch?.headers['content-type'], 'application/merge-patch+json')
  assert.deepEqual(JSON.parse(patch?.body ?? ''), {
    metadata: { uid: 'u', resourceVersion: '7', labels: { x: null } },
  })
  assert.equal(update?.headers['content-type'], 'application/json')
  assert.deepEqual(JSON.parse(update?.body ?? ''), object)
  assert.deepEqual(seen, ['get 200', 'list 200', 'patch 200', 'update 200'])
})

test('a refusal names the verb and the resource that the Role lacks', async () => {
  const refused = (what: string) =>
    `pods is forbidden: User "system:serviceaccount:ns:agent" cannot ${what} in the namespace "ns"`
  await using server = await ScriptedServer.start((_, response) =>
    reply(response, 403, status(403, 'Forbidden', refused('do that'))),
  )
  using objects = objectsFor(server)
  const patch = objects.patch(POD, 'a', { metadata: { uid: 'u', resourceVersion: '7' } }, LATER_MS)
  assert.equal(
    (await failure(patch)).message,
    'ServiceAccount "ns/agent" may not "patch" pods "a" in namespace "ns": add the verb to its Role',
  )
  assert.equal(
    (await failure(objects.list(POD, {}, LATER_MS))).message,
    'ServiceAccount "ns/agent" may not "list" pods in namespace "ns": add the verb to its Role',
  )
  assert.equal(
    (await failure(objects.get(ENDPOINT_SLICE, 's', LATER_MS))).message,
    'ServiceAccount "ns/agent" may not "get" endpointslices.discovery.k8s.io "s" in namespace "ns": add the verb to its Role',
  )
})

test('an absence, a conflict and a failure name the object', async () => {
  let answer: [number, object] = [404, status(404, 'NotFound')]
  await using server = await ScriptedServer.start((_, response) => reply(response, ...answer))
  using objects = objectsFor(server)
  const gone = await failure(objects.get(ENDPOINT_SLICE, 's', LATER_MS))
  assert.deepEqual(
    [gone.code, gone.message],
    ['not_found', 'there is no EndpointSlice "s" in namespace "ns"'],
  )
  answer = [409, status(409, 'Conflict')]
  const changed = await failure(objects.update(ENDPOINT_SLICE, object, LATER_MS))
  assert.deepEqual(
    [changed.code, changed.message],
    ['conflict', 'the EndpointSlice "a" has changed since it was read'],
  )
  answer = [500, status(500, 'InternalError', 'etcd is away')]
  const patch = objects.patch(POD, 'a', { metadata: { uid: 'u', resourceVersion: '7' } }, LATER_MS)
  const failed = await failure(patch)
  assert.match(failed.message, /answered 500 to "patch" of the Pod "a": etcd is away$/)
  assert.equal(failed.mayHaveCommitted, true)
})

test('an answer that is something else is told as that', async () => {
  let answer: object | string = 'welcome to the proxy'
  await using server = await ScriptedServer.start((_, response) => reply(response, 200, answer))
  using objects = objectsFor(server)
  const update = () => objects.update(ENDPOINT_SLICE, object, LATER_MS)
  assert.match((await failure(update())).message, /answered "update" with something that is no JSON$/)
  answer = { metadata: { name: 'a' } }
  const nameless = await failure(update())
  assert.match(nameless.message, /answered "update" with something that is no EndpointSlice$/)
  assert.equal(nameless.mayHaveCommitted, true)
  answer = { items: 3 }
  assert.match(
    (await failure(objects.list(POD, {}, LATER_MS))).message,
    /with something that is no list of pods$/,
  )
})
