import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { LeaseClient, type WatchReader } from './conformance-client.ts'
import { type EmbeddedLeaseApi, startEmbeddedLeaseApi } from './embedded-lease-api.ts'
import type { Fault } from './faults.ts'

const NAME = 'lock'
const LOST = { code: 'UND_ERR_SOCKET' }

describe('a fault of the embedded Lease API', () => {
  let api: EmbeddedLeaseApi
  let clients: LeaseClient[]

  beforeEach(async () => {
    const lease = { metadata: { name: NAME }, spec: { holderIdentity: 'a' } }
    api = await startEmbeddedLeaseApi({ leases: [lease] })
    clients = []
  })
  afterEach(async () => {
    for (const client of clients) await client.close()
    await api.close()
  })

  const clientOf = (name: string) => {
    const target = { url: api.urlFor(name), namespace: 'default', expireHistory: async () => {} }
    const client = new LeaseClient(target)
    clients.push(client)
    return client
  }
  const holder = () => api.lease(NAME)?.spec?.holderIdentity
  const take = (client: LeaseClient, holderIdentity: string) =>
    client.update({ ...api.lease(NAME)!, spec: { holderIdentity } })
  const watch = (client: string) =>
    clientOf(client).watch({ resourceVersion: api.lease(NAME)!.metadata.resourceVersion! })
  const holders = async (watch: WatchReader, count: number) =>
    (await watch.changes(count)).map(({ object }) => object.spec?.holderIdentity)

  /** Throws where the promise has ended after one whole request of another client went through. */
  const stillOpen = async (promise: Promise<unknown>) => {
    const ended = promise.then(
      () => 'ended',
      () => 'ended',
    )
    await clientOf('bystander').get(NAME)
    assert.equal(await Promise.race([ended, Promise.resolve('open')]), 'open')
  }

  const answered: [fault: Fault, status: number, contentType: string, holder: string][] = [
    ...([401, 403, 409, 500, 503] as const).map((code): (typeof answered)[number] => [
      { kind: 'status', code },
      code,
      'application/json',
      'a',
    ]),
    [{ kind: 'status', code: 429 }, 429, 'text/plain', 'a'],
    [{ kind: 'status', code: 504 }, 504, 'text/plain', 'a'],
    [{ kind: 'status-after-commit', code: 409 }, 409, 'application/json', 'b'],
  ]
  for (const [fault, status, contentType, after] of answered)
    test(`${fault.kind} ${status} answers so the one update that it is meant for; the holder is then ${after}`, async () => {
      api.faults.add({ verb: 'update', client: 'x' }, fault, { times: 1 })
      assert.equal((await clientOf('x').get(NAME)).status, 200)
      const reply = await take(clientOf('x'), 'b')
      assert.deepEqual([reply.status, reply.contentType, holder()], [status, contentType, after])
      assert.equal((await take(clientOf('x'), 'c')).status, 200)
    })

  test('drop-reply commits and destroys the connection', async () => {
    api.faults.add({ verb: 'update' }, { kind: 'drop-reply' })
    await assert.rejects(take(clientOf('x'), 'b'), LOST)
    assert.equal(holder(), 'b')
  })

  test('delay-before commits and answers late, even when the client has gone', async () => {
    const slow = clientOf('slow')
    const fault = api.faults.add({ verb: 'update' }, { kind: 'delay-before', ms: 50 })
    const reply = take(slow, 'b')
    await fault.hit
    assert.equal(holder(), 'a')
    assert.equal((await reply).status, 200)
    const gone = take(slow, 'c')
    await api.requests.waitFor({ verb: 'update' }, { count: 2 })
    const changes = await watch('watcher')
    await Promise.all([slow.close(), assert.rejects(gone)])
    assert.deepEqual(await holders(changes, 1), ['c'])
    changes.close()
  })

  test('hang neither answers nor commits until it is removed, and not for a client that has gone', async () => {
    const [x, gone] = [clientOf('x'), clientOf('gone')]
    const fault = api.faults.add({ verb: ['update', 'get'] }, { kind: 'hang' })
    const left = take(gone, 'c')
    await fault.hit
    await Promise.all([gone.close(), assert.rejects(left)])
    const [update, get] = [take(x, 'b'), x.get(NAME)]
    await api.requests.waitFor({ client: 'x' }, { count: 2 })
    assert.deepEqual([holder(), fault.hits], ['a', 3])
    fault.remove()
    assert.deepEqual([(await update).status, (await get).status, holder()], [200, 200, 'b'])
  })

  test('a partition hides everything from one client, and heals with what it missed', async () => {
    const [watchX, watchY] = [await watch('x'), await watch('y')]
    const cut = api.faults.partition('x')
    const lost = take(clientOf('x'), 'x')
    const hidden = holders(watchX, 2)
    await cut.hit
    await take(clientOf('y'), 'b')
    await take(clientOf('y'), 'c')
    assert.deepEqual(await holders(watchY, 2), ['b', 'c'])
    await stillOpen(hidden)
    await stillOpen(lost)
    cut.remove()
    assert.deepEqual(await hidden, ['b', 'c'])
    // It was sent against a version that is gone by now.
    assert.equal((await lost).status, 409)
    watchX.close()
    watchY.close()
  })

  test('a refusing partition resets requests and open watches of one client', async () => {
    const [watchX, watchY] = [await watch('x'), await watch('y')]
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
    const other = await watch('y')

    let mine = await watch('x')
    assert.equal(api.faults.cutWatches({ client: 'x' }), 1)
    await assert.rejects(mine.next(), LOST)

    mine = await watch('x')
    api.faults.truncateWatches({ client: 'x' })
    await assert.rejects(mine.next(), SyntaxError)
    assert.equal(await mine.next(), null)

    mine = await watch('x')
    api.faults.garbleWatches({ client: 'x' })
    await assert.rejects(mine.next(), SyntaxError)
    await take(clientOf('z'), 'b')
    assert.deepEqual(await holders(mine, 1), ['b'])

    api.faults.expireWatches({ client: 'x' })
    const events = (await mine.rest()).map(({ type, object }) => [type, object.code, object.reason])
    assert.deepEqual(events, [['ERROR', 410, 'Expired']])

    mine = await watch('x')
    api.faults.endWatches({ client: 'x' })
    assert.equal(await mine.next(), null)
    assert.deepEqual(await holders(other, 1), ['b'])
    other.close()
  })

  test('close ends hung requests, watches and idle connections at once', async () => {
    api.faults.add({ verb: 'get' }, { kind: 'hang' })
    const open = await watch('x')
    const idle = connect(api.port, '127.0.0.1')
    await once(idle, 'connect')
    const ended = Promise.all([
      assert.rejects(clientOf('x').get(NAME)),
      assert.rejects(open.next()),
      once(idle, 'close'),
    ])
    idle.resume()
    await api.requests.waitFor({ client: 'x' }, { count: 2 })
    await api.close()
    await ended
  })
})
