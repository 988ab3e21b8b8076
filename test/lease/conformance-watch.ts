import assert from 'node:assert/strict'
import { isNewer } from '../../agent/lease/lease.ts'
import { type Case, spec, versionOf } from './conformance-case.ts'
import type { Seen } from './conformance-client.ts'

const only = (name: string) => ({ fieldSelector: `metadata.name=${name}` })
const seen = (event: Seen) => [event.type, event.object.spec?.holderIdentity]
const INITIAL_END = { 'k8s.io/initial-events-end': 'true' }

export const watchCases: Case[] = [
  {
    name: 'a watch from a version sees every later change in order, with the versions that writes were answered',
    async run(client, name) {
      const first = await client.made(name)
      const second = await client.wrote(first, spec('b'))
      const watch = await client.watch({ ...only(name), resourceVersion: versionOf(first) })
      const third = await client.wrote(second, spec('c'))
      const fourth = (await client.merge(name, { metadata: { annotations: { a: '1' } } })).json
      const events = await watch.changes(3)
      watch.close()
      assert.deepEqual(
        events.map((event) => event.type),
        ['MODIFIED', 'MODIFIED', 'MODIFIED'],
      )
      assert.deepEqual(
        events.map((event) => event.object),
        [second, third, fourth],
      )
    },
  },
  {
    name: 'a watch without a version, or from version 0, first gets the present state',
    async run(client, name) {
      const made = await client.made(name)
      for (const query of [{}, { resourceVersion: '' }, { resourceVersion: '0' }]) {
        const watch = await client.watch({ ...only(name), ...query })
        const [event] = await watch.changes(1)
        watch.close()
        assert.equal(event!.type, 'ADDED')
        assert.deepEqual(event!.object, made)
      }
    },
  },
  {
    name: 'a watch on a Lease that does not exist sees it appear, go, and come back as another',
    async run(client, name) {
      const watch = await client.watch({ ...only(name), watch: 'true' })
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
  },
  {
    name: 'a watch with a field selector sees one Lease only',
    async run(client, name) {
      const made = await client.made(name)
      const watch = await client.watch({ ...only(name), resourceVersion: versionOf(made) })
      await client.made(`${name}-other`)
      await client.wrote(made, spec('b'))
      const [event] = await watch.changes(1)
      watch.close()
      assert.deepEqual(seen(event!), ['MODIFIED', 'b'])
    },
  },
  {
    name: 'a watch without a field selector sees every Lease of its namespace',
    async run(client, name) {
      const made = await client.made(name)
      const watch = await client.watch({ resourceVersion: versionOf(made) })
      await client.made(`${name}-other`, spec('other'))
      await client.wrote(made, spec('b'))
      const events: Seen[] = []
      while (events.length < 2) {
        const [event] = await watch.changes(1)
        if (event!.object.metadata.name!.startsWith(name)) events.push(event!)
      }
      watch.close()
      assert.deepEqual(events.map(seen), [
        ['ADDED', 'other'],
        ['MODIFIED', 'b'],
      ])
    },
  },
  {
    name: 'an update that changes nothing is no event',
    async run(client, name) {
      const made = await client.made(name)
      const watch = await client.watch({ ...only(name), resourceVersion: versionOf(made) })
      await client.wrote(made, made.spec)
      await client.wrote(made, spec('b'))
      const [event] = await watch.changes(1)
      watch.close()
      assert.deepEqual(seen(event!), ['MODIFIED', 'b'])
    },
  },
  {
    name: 'timeoutSeconds ends a watch in order',
    async run(client, name) {
      const made = await client.made(name)
      const watch = await client.watch({
        ...only(name),
        resourceVersion: versionOf(made),
        timeoutSeconds: '1',
      })
      assert.deepEqual(await watch.rest(), [])
    },
  },
  {
    name: 'a watch that allows bookmarks gets one after the present state',
    async run(client, name) {
      const made = await client.made(name)
      const watch = await client.watch({ ...only(name), allowWatchBookmarks: 'true' })
      assert.deepEqual((await watch.next())?.object, made)
      const bookmark = await watch.next()
      watch.close()
      assert.equal(bookmark?.type, 'BOOKMARK')
      assert.equal(bookmark.object.kind, 'Lease')
      assert.deepEqual(bookmark.object.metadata.annotations, INITIAL_END)
      assert.ok(!isNewer(versionOf(made), versionOf(bookmark.object)))
    },
  },
  {
    name: 'a watch that allows bookmarks gets one shortly before its timeout, with a version to go on from',
    async run(client, name) {
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
  },
  {
    name: 'a watch that does not allow bookmarks gets none',
    async run(client, name) {
      const made = await client.made(name)
      const watch = await client.watch({
        ...only(name),
        resourceVersion: versionOf(made),
        timeoutSeconds: '3',
      })
      await client.made(`${name}-other`)
      assert.deepEqual(await watch.rest(), [])
    },
  },
  {
    name: 'a watch asked for nonsense is refused',
    async run(client) {
      const ask = async (query: string) =>
        (await client.send('GET', `${client.collection}?watch=1&${query}`)).json
      assert.deepEqual(
        [(await ask('resourceVersion=abc')).code, (await ask('resourceVersion=-1')).code],
        [500, 500],
      )
      assert.equal((await ask('timeoutSeconds=abc')).reason, 'BadRequest')
      assert.equal((await ask('fieldSelector=spec.holderIdentity%3Da')).reason, 'BadRequest')
    },
  },
]

/** Takes its history away from the server, so no other case may run at the same time. */
export const expiryCase: Case = {
  name: 'a watch from a version that is too old gets one ERROR event of code 410 and ends',
  async run(client, name, target) {
    const made = await client.made(name)
    await client.wrote(made, spec('b'))
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
    const list = await client.send('GET', client.collection)
    const fresh = await client.watch({ ...only(name), resourceVersion: versionOf(list.json) })
    await client.merge(name, { spec: { holderIdentity: 'c' } })
    assert.deepEqual(seen((await fresh.changes(1))[0]!), ['MODIFIED', 'c'])
    fresh.close()
  },
}
