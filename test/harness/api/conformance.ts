import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { isNewer, type Lease } from '../../../agent/lease/lease.ts'
import { LeaseClient, type Reply, type Seen, type Target } from './conformance-client.ts'

/** One thing that the elector relies on. `name` is a Lease name which nobody else uses. */
type Case = (client: LeaseClient, name: string, target: Target) => Promise<void>

const RENEWED = '2024-02-03T04:05:06.123456Z'
const spec = (holderIdentity: string) => ({ holderIdentity, leaseDurationSeconds: 15 })
const versionOf = (lease: Lease) => lease.metadata.resourceVersion!
const only = (name: string) => ({ fieldSelector: `metadata.name=${name}` })
const seen = (event: Seen | undefined) => [event?.type, event?.object.spec?.holderIdentity]

/** A failed request: its status, and the same in its body. */
function failed(reply: Reply, code: number, reason: string): void {
  assert.equal(reply.status, code, reply.text)
  assert.equal(reply.contentType, 'application/json')
  const { kind, apiVersion, status, message } = reply.json
  assert.deepEqual({ kind, apiVersion, status }, { kind: 'Status', apiVersion: 'v1', status: 'Failure' })
  assert.deepEqual([reply.json.code, reply.json.reason], [code, reason])
  assert.equal(typeof message, 'string')
}

const writes: Record<string, Case> = {
  'a Lease is created with a uid, a version and a time, and read back the same': async (
    client,
    name,
    target,
  ) => {
    const made = await client.made(name, { ...spec('a'), leaseTransitions: 0, renewTime: RENEWED })
    assert.equal(made.kind, 'Lease')
    assert.equal(made.apiVersion, 'coordination.k8s.io/v1')
    assert.equal(made.metadata.namespace, target.namespace)
    assert.match(made.metadata.uid!, /^[0-9a-f-]{36}$/)
    assert.match(versionOf(made), /^[1-9]\d*$/)
    assert.match(String(made.metadata.creationTimestamp), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    assert.deepEqual(made.spec, { ...spec('a'), leaseTransitions: 0, renewTime: RENEWED })
    assert.deepEqual((await client.get(name)).json, made)
  },
  'a Lease that exists is not created again': async (client, name) => {
    const made = await client.made(name)
    const reply = await client.create({ metadata: { name }, spec: spec('b') })
    failed(reply, 409, 'AlreadyExists')
    assert.equal(reply.json.message, `leases.coordination.k8s.io "${name}" already exists`)
    assert.deepEqual((await client.get(name)).json, made)
  },
  'a Lease that does not exist is not found': async (client, name) => {
    const reply = await client.get(name)
    failed(reply, 404, 'NotFound')
    assert.equal(reply.json.message, `leases.coordination.k8s.io "${name}" not found`)
  },
  'an update of the version last read is stored under a newer version and the same uid': async (
    client,
    name,
  ) => {
    const made = await client.made(name)
    const next = await client.wrote(made, spec('b'))
    assert.ok(isNewer(versionOf(next), versionOf(made)))
    assert.equal(next.metadata.uid, made.metadata.uid)
    assert.equal(next.spec?.holderIdentity, 'b')
    assert.deepEqual((await client.get(name)).json, next)
  },
  'an update of an older version is a conflict and changes nothing': async (client, name) => {
    const made = await client.made(name)
    const next = await client.wrote(made, spec('b'))
    const reply = await client.update({ ...made, spec: spec('c') })
    failed(reply, 409, 'Conflict')
    assert.match(
      reply.json.message,
      /^Operation cannot be fulfilled on leases\.coordination\.k8s\.io .* modified; /,
    )
    assert.deepEqual((await client.get(name)).json, next)
  },
  'of two updates of one version exactly one is stored': async (client, name) => {
    const made = await client.made(name)
    const replies = await Promise.all(
      ['b', 'c'].map((holder) => client.update({ ...made, spec: spec(holder) })),
    )
    assert.deepEqual(replies.map((reply) => reply.status).sort(), [200, 409])
  },
  'an update that changes nothing keeps the version': async (client, name) => {
    const made = await client.made(name)
    assert.deepEqual(await client.wrote(made, made.spec), made)
  },
  'an update of a deleted Lease is a conflict if it names the uid, else it creates it': async (
    client,
    name,
  ) => {
    const made = await client.made(name)
    assert.equal((await client.delete(name)).status, 200)
    failed(await client.update(made), 409, 'Conflict')
    failed(await client.get(name), 404, 'NotFound')
    const metadata = { name, resourceVersion: versionOf(made) }
    const reply = await client.update({ metadata, spec: spec('b') })
    assert.equal(reply.status, 201)
    assert.notEqual(reply.json.metadata.uid, made.metadata.uid)
  },
  'a Lease created again has another uid and a newer version, and an update by the old uid is a conflict':
    async (client, name) => {
      const made = await client.made(name)
      await client.delete(name)
      const again = await client.made(name)
      assert.notEqual(again.metadata.uid, made.metadata.uid)
      assert.ok(isNewer(versionOf(again), versionOf(made)))
      failed(await client.update(made), 409, 'Conflict')
      const posing = { ...made, metadata: { ...made.metadata, resourceVersion: versionOf(again) } }
      failed(await client.update(posing), 409, 'Conflict')
    },
  'one counter gives the versions of all Leases': async (client, name) => {
    const first = await client.made(`${name}-1`)
    const second = await client.made(`${name}-2`)
    const third = await client.wrote(first, spec('b'))
    assert.ok(isNewer(versionOf(second), versionOf(first)))
    assert.ok(isNewer(versionOf(third), versionOf(second)))
  },
  'a dry run is answered as the write would be, and changes nothing': async (client, name) => {
    const made = await client.made(name)
    const dry = (method: string, path: string, body: unknown) =>
      client.send(method, `${path}?dryRun=All`, body)
    const next = { ...made, spec: spec('b') }
    assert.equal((await dry('PUT', client.one(name), next)).status, 200)
    const old = { ...next, metadata: { ...made.metadata, resourceVersion: '1' } }
    failed(await dry('PUT', client.one(name), old), 409, 'Conflict')
    failed(await dry('POST', client.collection, { metadata: { name }, spec: {} }), 409, 'AlreadyExists')
    const other = { metadata: { name: `${name}-2` }, spec: {} }
    assert.equal((await dry('POST', client.collection, other)).status, 201)
    failed(await client.get(`${name}-2`), 404, 'NotFound')
    assert.deepEqual((await client.get(name)).json, made)
  },
  'an annotation and an owner are kept, and removed by an update without them': async (client, name) => {
    const { metadata, ...made } = await client.made(name)
    const annotations = { 'langflow-leader/owner': 'Deployment/langflow' }
    const set = await client.wrote({ ...made, metadata: { ...metadata, annotations } }, spec('a'))
    assert.deepEqual(set.metadata.annotations, annotations)
    const bare = { ...metadata, resourceVersion: versionOf(set) }
    assert.equal((await client.wrote({ ...made, metadata: bare }, spec('a'))).metadata.annotations, undefined)
  },
  'times have exactly six digits': async (client, name) => {
    const made = await client.made(name, { renewTime: RENEWED, acquireTime: RENEWED })
    assert.deepEqual(made.spec, { renewTime: RENEWED, acquireTime: RENEWED })
    for (const time of ['04:05:06Z', '04:05:06.123Z', '04:05:06.123456789Z'])
      failed(await client.update({ ...made, spec: { renewTime: `2024-02-03T${time}` } }), 400, 'BadRequest')
  },
  'an empty holder is kept, null removes a field, and one that a Lease does not have is dropped': async (
    client,
    name,
  ) => {
    const made = await client.made(name, { holderIdentity: '', acquireTime: null, favouriteColour: 'blue' })
    assert.deepEqual(made.spec, { holderIdentity: '' })
    assert.deepEqual((await client.wrote(made, { holderIdentity: null })).spec, {})
  },
  'values out of range are invalid, values of a wrong type and other bodies are bad requests': async (
    client,
    name,
  ) => {
    const made = await client.made(name)
    const write = (fields: object) => client.update({ ...made, spec: { ...fields } })
    for (const wrong of [{ leaseDurationSeconds: 0 }, { leaseTransitions: -1 }])
      failed(await write(wrong), 422, 'Invalid')
    for (const wrong of [{ leaseDurationSeconds: 1.5 }, { leaseTransitions: 2 ** 31 }, { holderIdentity: 5 }])
      failed(await write(wrong), 400, 'BadRequest')
    for (const body of ['{"metadata":', '', '[]'])
      failed(await client.send('POST', client.collection, body), 400, 'BadRequest')
    failed(await client.send('PUT', client.one(`${name}-2`), made), 400, 'BadRequest')
    assert.deepEqual((await client.get(name)).json, made)
  },
}

const watches: Record<string, Case> = {
  'a watch from a version sees every later change in order, with the versions that writes were answered':
    async (client, name) => {
      const first = await client.made(name)
      const second = await client.wrote(first, spec('b'))
      const watch = await client.watch({ ...only(name), resourceVersion: versionOf(first) })
      await client.made(`${name}-other`)
      const third = await client.wrote(second, spec('c'))
      const events = await watch.changes(2)
      watch.close()
      assert.deepEqual(events, [
        { type: 'MODIFIED', object: second },
        { type: 'MODIFIED', object: third },
      ])
    },
  'a watch without a version, or from version 0, first gets the present state': async (client, name) => {
    const made = await client.made(name)
    for (const query of [{}, { resourceVersion: '' }, { resourceVersion: '0' }]) {
      const watch = await client.watch({ ...only(name), ...query })
      const events = await watch.changes(1)
      watch.close()
      assert.deepEqual(events, [{ type: 'ADDED', object: made }])
    }
  },
  'a watch on a Lease that does not exist sees it appear, go, and come back as another': async (
    client,
    name,
  ) => {
    const watch = await client.watch(only(name))
    const made = await client.made(name)
    await client.delete(name)
    const again = await client.made(name)
    const [added, deleted, back] = await watch.changes(3)
    watch.close()
    assert.deepEqual([added!.type, deleted!.type, back!.type], ['ADDED', 'DELETED', 'ADDED'])
    assert.equal(deleted!.object.metadata.uid, made.metadata.uid)
    assert.deepEqual(deleted!.object.spec, made.spec)
    assert.ok(isNewer(versionOf(deleted!.object), versionOf(made)), 'a deletion has a version of its own')
    assert.ok(isNewer(versionOf(again), versionOf(deleted!.object)))
    assert.equal(back!.object.metadata.uid, again.metadata.uid)
  },
  'an update that changes nothing is no event': async (client, name) => {
    const made = await client.made(name)
    const watch = await client.watch({ ...only(name), resourceVersion: versionOf(made) })
    await client.wrote(made, made.spec)
    await client.wrote(made, spec('b'))
    const [event] = await watch.changes(1)
    watch.close()
    assert.deepEqual(seen(event), ['MODIFIED', 'b'])
  },
  'timeoutSeconds ends a watch in order, without bookmarks where it allows none': async (client, name) => {
    const from = { resourceVersion: versionOf(await client.made(name)) }
    const watch = await client.watch({ ...only(name), ...from, timeoutSeconds: '3' })
    await client.made(`${name}-other`)
    assert.deepEqual(await watch.rest(), [])
  },
  'a watch that allows bookmarks gets one after the present state': async (client, name) => {
    const made = await client.made(name)
    const watch = await client.watch({ ...only(name), allowWatchBookmarks: 'true' })
    assert.deepEqual((await watch.next())?.object, made)
    const bookmark = await watch.next()
    watch.close()
    assert.equal(bookmark?.type, 'BOOKMARK')
    assert.equal(bookmark.object.kind, 'Lease')
    assert.deepEqual(bookmark.object.metadata.annotations, { 'k8s.io/initial-events-end': 'true' })
    assert.ok(!isNewer(versionOf(made), versionOf(bookmark.object)))
  },
  'a watch that allows bookmarks gets one shortly before its timeout, with a version to go on from': async (
    client,
    name,
  ) => {
    const made = await client.made(name)
    const query = { ...only(name), allowWatchBookmarks: 'true', resourceVersion: versionOf(made) }
    const watch = await client.watch({ ...query, timeoutSeconds: '4' })
    const other = await client.made(`${name}-other`)
    const events = await watch.rest()
    assert.ok(events.length > 0, 'no bookmark came')
    for (const { type, object } of events) {
      assert.equal(type, 'BOOKMARK')
      assert.deepEqual(object.metadata, { resourceVersion: versionOf(object) })
      assert.ok(!isNewer(versionOf(other), versionOf(object)), 'the bookmark is of before the last change')
    }
    const next = await client.wrote(made, spec('b'))
    const onward = await client.watch({ ...only(name), resourceVersion: versionOf(events.at(-1)!.object) })
    assert.deepEqual((await onward.changes(1))[0]!.object, next)
    onward.close()
  },
}

/** Takes its history away from the server, so no other case may run at the same time. */
const expiry: Case = async (client, name, target) => {
  const made = await client.made(name)
  const next = await client.wrote(made, spec('b'))
  await target.expireHistory()
  const watch = await client.watch({ ...only(name), resourceVersion: versionOf(made) })
  const [error, ...rest] = await watch.rest()
  assert.deepEqual(rest, [])
  assert.equal(error?.type, 'ERROR')
  const { kind, apiVersion, status, code, reason, message } = error.object
  assert.deepEqual(
    { kind, apiVersion, status, code, reason },
    { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: 410, reason: 'Expired' },
  )
  assert.match(message, /^too old resource version: \d+ \(\d+\)$/)
  const fresh = await client.watch(only(name))
  await client.wrote(next, spec('c'))
  assert.deepEqual((await fresh.changes(2)).map(seen), [
    ['ADDED', 'b'],
    ['MODIFIED', 'c'],
  ])
  fresh.close()
}

/**
 * Registers as tests what the elector relies on, of the embedded Lease API and of kube-apiserver: where the two differ, the
 * embedded one is wrong.
 */
export function conformance(target: () => Target): void {
  const register = (title: string, run: Case, lease: string) =>
    test(title, async () => {
      const client = new LeaseClient(target())
      try {
        await run(client, lease, target())
      } finally {
        await client.close()
      }
    })
  describe('answers', { concurrency: true }, () => {
    for (const [n, [title, run]] of Object.entries({ ...writes, ...watches }).entries())
      register(title, run, `lease-${n}`)
  })
  register(
    'a watch from a version that is too old gets one ERROR event of code 410 and ends',
    expiry,
    'expiring',
  )
}
