import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, beforeEach, describe, test } from 'node:test'
import {
  type EmbeddedLeaseApi,
  startEmbeddedLeaseApi,
} from '../../agent/lease/embedded/embedded-lease-api.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import { LeaseClient, type WatchReader } from './conformance-client.ts'

const NAME = 'lock'
const LOST = { code: 'UND_ERR_SOCKET' }

describe('a fault of the embedded Lease API', () => {
  let api: EmbeddedLeaseApi
  let clients: LeaseClient[]

  beforeEach(async () => {
    api = await startEmbeddedLeaseApi({
      leases: [{ metadata: { name: NAME }, spec: { holderIdentity: 'a' } }],
    })
    clients = []
  })
  afterEach(async () => {
    for (const client of clients) await client.close()
    await api.close()
  })

  const clientOf = (name: string) => {
    const client = new LeaseClient({
      url: api.urlFor(name),
      namespace: 'default',
      expireHistory: async () => {},
    })
    clients.push(client)
    return client
  }
  const stored = () => api.lease(NAME)!
  const held = (lease: Lease | undefined) => lease?.spec?.holderIdentity
  const take = (client: LeaseClient, holderIdentity: string) =>
    client.update({ ...stored(), spec: { holderIdentity } })
  const holders = async (watch: WatchReader, count: number) =>
    (await watch.changes(count)).map((one) => held(one.object))

  /** Whether the promise is still open after one whole request of another client went through. */
  const stillOpen = async (promise: Promise<unknown>) => {
    const ended = promise.then(
      () => 'ended',
      () => 'ended',
    )
    await clientOf('bystander').get(NAME)
    assert.equal(await Promise.race([ended, Promise.resolve('open')]), 'open')
  }

  test('delay-before commits and answers late, even when the client has gone', async () => {
    const slow = clientOf('slow')
    const fault = api.faults.add({ verb: 'update' }, { kind: 'delay-before', ms: 50 })
    const reply = take(slow, 'b')
    await fault.hit
    assert.equal(held(stored()), 'a')
    assert.equal((await reply).status, 200)
    const gone = take(slow, 'c')
    await api.requests.waitFor({ verb: 'update' }, { count: 2 })
    const watch = await clientOf('watcher').watch({ resourceVersion: stored().metadata.resourceVersion! })
    await Promise.all([slow.close(), assert.rejects(gone)])
    assert.deepEqual(await holders(watch, 1), ['c'])
    watch.close()
  })

  test('delay-after commits at once and answers late', async () => {
    const watch = await clientOf('watcher').watch({ resourceVersion: stored().metadata.resourceVersion! })
    api.faults.add({ verb: 'update' }, { kind: 'delay-after', ms: 100 })
    const reply = take(clientOf('slow'), 'b')
    assert.deepEqual(await holders(watch, 1), ['b'])
    assert.equal(api.requests.list({ verb: 'update' })[0]!.status, null)
    assert.equal((await reply).status, 200)
    watch.close()
  })

  test('drop-reply commits and destroys the connection', async () => {
    api.faults.add({ verb: 'update' }, { kind: 'drop-reply' }, { times: 1 })
    await assert.rejects(take(clientOf('x'), 'b'), LOST)
    assert.equal(held(stored()), 'b')
    assert.equal((await take(clientOf('x'), 'c')).status, 200)
  })

  test('hang neither answers nor commits until it is removed', async () => {
    const fault = api.faults.add({ verb: ['update', 'get'], client: 'x' }, { kind: 'hang' })
    const update = take(clientOf('x'), 'b')
    const get = clientOf('x').get(NAME)
    await api.requests.waitFor({ client: 'x' }, { count: 2 })
    await stillOpen(update)
    await stillOpen(get)
    assert.equal(held(stored()), 'a')
    assert.equal(fault.hits, 2)
    fault.remove()
    assert.equal((await update).status, 200)
    assert.equal((await get).status, 200)
    assert.equal(held(stored()), 'b')
  })

  test('a hung request of a client that has gone is not committed afterwards', async () => {
    const x = clientOf('x')
    const fault = api.faults.add({ client: 'x' }, { kind: 'hang' })
    const update = take(x, 'b')
    await fault.hit
    await Promise.all([x.close(), assert.rejects(update)])
    // The server has seen the end of that connection once it serves another one.
    await clientOf('bystander').get(NAME)
    fault.remove()
    await clientOf('bystander').get(NAME)
    assert.equal(held(stored()), 'a')
  })

  for (const code of [401, 403, 409, 500, 503] as const)
    test(`status ${code} is answered with a Status body and nothing is committed`, async () => {
      api.faults.add({ verb: 'update' }, { kind: 'status', code }, { times: 1 })
      const reply = await take(clientOf('x'), 'b')
      assert.equal(reply.status, code)
      assert.equal(reply.json.kind, 'Status')
      assert.equal(reply.json.code, code)
      assert.equal(held(stored()), 'a')
      assert.equal((await take(clientOf('x'), 'b')).status, 200)
    })

  test('status 403 names who may not do what, as RBAC does', async () => {
    api.faults.add({ client: 'pod-a' }, { kind: 'status', code: 403 })
    const ask = (path: string) => clientOf('pod-a').send('GET', path)
    const watch =
      '/apis/coordination.k8s.io/v1/namespaces/default/leases?watch=1&fieldSelector=metadata.name%3Dlock'
    assert.equal(
      (await ask(watch)).json.message,
      'leases.coordination.k8s.io "lock" is forbidden: User "pod-a" cannot watch resource "leases" in API group ' +
        '"coordination.k8s.io" in the namespace "default"',
    )
  })

  test('status 409 on a create says that the Lease exists', async () => {
    api.faults.add({ verb: 'create' }, { kind: 'status', code: 409 })
    const reply = await clientOf('x').create({ metadata: { name: 'new' } })
    assert.equal(reply.json.reason, 'AlreadyExists')
    assert.equal(api.lease('new'), undefined)
  })

  test('status 429 is plain text with Retry-After, 504 is a Status sent as text', async () => {
    api.faults.add({ verb: 'get' }, { kind: 'status', code: 429, retryAfterSeconds: 7 }, { times: 1 })
    const limited = await fetch(`${api.url}/apis/coordination.k8s.io/v1/namespaces/default/leases/${NAME}`)
    assert.equal(limited.status, 429)
    assert.equal(limited.headers.get('retry-after'), '7')
    assert.equal(await limited.text(), 'Too many requests, please try again later.\n')
    api.faults.add({ verb: 'get' }, { kind: 'status', code: 504 })
    const late = await clientOf('x').get(NAME)
    assert.match(late.contentType, /^text\/plain/)
    assert.equal(JSON.parse(late.text).reason, 'Timeout')
  })

  test('status-after-commit answers 409 to a write that had succeeded', async () => {
    api.faults.add({ verb: 'update' }, { kind: 'status-after-commit', code: 409 }, { times: 1 })
    const reply = await take(clientOf('x'), 'b')
    assert.equal(reply.json.reason, 'Conflict')
    assert.equal(held(stored()), 'b')
  })

  test('times, client, verb, name and user agent narrow what is hit', async () => {
    const fault = api.faults.add(
      { verb: 'get', client: 'x', name: NAME },
      { kind: 'status', code: 500 },
      { times: 2 },
    )
    const status = async (client: string, name: string) => (await clientOf(client).get(name)).status
    assert.equal(await status('y', NAME), 200)
    assert.equal(await status('x', 'other'), 404)
    assert.equal((await take(clientOf('x'), 'b')).status, 200)
    assert.deepEqual(
      [await status('x', NAME), await status('x', NAME), await status('x', NAME)],
      [500, 500, 200],
    )
    assert.equal(fault.hits, 2)
    api.faults.add({ userAgent: 'curl' }, { kind: 'status', code: 503 })
    assert.equal(await status('x', NAME), 200)
    const headers = { 'user-agent': 'curl/8' }
    const url = `${api.url}/apis/coordination.k8s.io/v1/namespaces/default/leases/${NAME}`
    assert.equal((await fetch(url, { headers })).status, 503)
    api.faults.clear()
    assert.equal((await fetch(url, { headers })).status, 200)
  })

  test('a partition hides everything from one client, and heals with what it missed', async () => {
    const [x, y] = [clientOf('x'), clientOf('y')]
    const from = { resourceVersion: stored().metadata.resourceVersion! }
    const [watchX, watchY] = [await x.watch(from), await y.watch(from)]
    const cut = api.faults.partition('x')
    const lost = take(clientOf('x'), 'x')
    const hidden = watchX.changes(2)
    await cut.hit
    await take(y, 'b')
    await take(y, 'c')
    assert.deepEqual(await holders(watchY, 2), ['b', 'c'])
    await stillOpen(hidden)
    await stillOpen(lost)
    cut.remove()
    assert.deepEqual(
      (await hidden).map((event) => held(event.object)),
      ['b', 'c'],
    )
    // It was sent against a version that is gone by now.
    assert.equal((await lost).status, 409)
    watchX.close()
    watchY.close()
  })

  test('a refusing partition resets requests and open watches of one client', async () => {
    const from = { resourceVersion: stored().metadata.resourceVersion! }
    const [watchX, watchY] = [await clientOf('x').watch(from), await clientOf('y').watch(from)]
    const cut = api.faults.partition('x', 'refuse')
    await assert.rejects(watchX.next(), LOST)
    await assert.rejects(take(clientOf('x'), 'x'), LOST)
    assert.equal((await take(clientOf('y'), 'b')).status, 200)
    assert.deepEqual(await holders(watchY, 1), ['b'])
    cut.remove()
    assert.equal((await take(clientOf('x'), 'x')).status, 200)
    watchY.close()
  })

  test('open watches can be cut, truncated, garbled, expired and ended', async () => {
    const open = () => clientOf('x').watch({ resourceVersion: stored().metadata.resourceVersion! })
    const other = await clientOf('y').watch({ resourceVersion: stored().metadata.resourceVersion! })

    let watch = await open()
    assert.equal(api.faults.cutWatches({ client: 'x' }), 1)
    await assert.rejects(watch.next(), LOST)

    watch = await open()
    api.faults.truncateWatches({ client: 'x' })
    await assert.rejects(watch.next(), SyntaxError)
    assert.equal(await watch.next(), null)

    watch = await open()
    api.faults.garbleWatches({ client: 'x' })
    await assert.rejects(watch.next(), SyntaxError)
    await take(clientOf('z'), 'b')
    assert.deepEqual(await holders(watch, 1), ['b'])

    api.faults.expireWatches({ client: 'x' })
    const [error, ...rest] = await watch.rest()
    assert.deepEqual([error?.type, error?.object.code, error?.object.reason], ['ERROR', 410, 'Expired'])
    assert.deepEqual(rest, [])

    watch = await open()
    api.faults.endWatches({ client: 'x' })
    assert.equal(await watch.next(), null)
    assert.deepEqual(await holders(other, 1), ['b'])
    other.close()
  })

  test('a bookmark goes to the watches that asked for them', async () => {
    const from = { resourceVersion: stored().metadata.resourceVersion! }
    const watch = await clientOf('x').watch({ ...from, allowWatchBookmarks: 'true' })
    const plain = await clientOf('y').watch(from)
    assert.equal(api.faults.bookmark(), 1)
    assert.deepEqual((await watch.next())?.object.metadata, from)
    watch.close()
    plain.close()
  })

  test('compaction makes older versions too old, and spares the present one', async () => {
    const old = stored().metadata.resourceVersion!
    await take(clientOf('x'), 'b')
    api.faults.compact()
    const [error] = await (await clientOf('x').watch({ resourceVersion: old })).rest()
    assert.equal(error?.object.code, 410)
    const watch = await clientOf('x').watch({ resourceVersion: stored().metadata.resourceVersion! })
    await take(clientOf('x'), 'c')
    assert.deepEqual(await holders(watch, 1), ['c'])
    watch.close()
  })

  test('close ends hung requests, delays, watches and idle connections at once', async () => {
    api.faults.add({ verb: 'get' }, { kind: 'hang' })
    api.faults.add({ verb: 'update' }, { kind: 'delay-after', ms: 60_000 })
    const watch = await clientOf('x').watch({ resourceVersion: stored().metadata.resourceVersion! })
    const idle = connect(api.port, '127.0.0.1')
    await once(idle, 'connect')
    const broken = [clientOf('x').get(NAME), take(clientOf('x'), 'b'), watch.next()]
    const ended = Promise.all([...broken.map((one) => assert.rejects(one)), once(idle, 'close')])
    idle.resume()
    await api.requests.waitFor({ client: 'x' }, { count: 3 })
    await api.close()
    await ended
  })
})
