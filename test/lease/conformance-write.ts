import assert from 'node:assert/strict'
import { isNewer, type Lease } from '../../agent/lease/lease.ts'
import { type Case, failed, RENEWED, spec, versionOf } from './conformance-case.ts'

/** What is stored when, and who wins. */
export const writeCases: Case[] = [
  {
    name: 'a Lease is created with a uid, a version and a time, and read back the same',
    async run(client, name, target) {
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
  },
  {
    name: 'a Lease that exists is not created again',
    async run(client, name) {
      const made = await client.made(name)
      const reply = await client.create({ metadata: { name }, spec: spec('b') })
      failed(reply, 409, 'AlreadyExists')
      assert.equal(reply.json.message, `leases.coordination.k8s.io "${name}" already exists`)
      assert.deepEqual(reply.json.details, { name, group: 'coordination.k8s.io', kind: 'leases' })
      assert.deepEqual((await client.get(name)).json, made)
    },
  },
  {
    name: 'a Lease that does not exist is not found',
    async run(client, name) {
      const reply = await client.get(name)
      failed(reply, 404, 'NotFound')
      assert.equal(reply.json.message, `leases.coordination.k8s.io "${name}" not found`)
      failed(await client.delete(name), 404, 'NotFound')
      failed(await client.merge(name, {}), 404, 'NotFound')
    },
  },
  {
    name: 'an update of the version last read is stored under a newer version and the same uid',
    async run(client, name) {
      const made = await client.made(name)
      const next = await client.wrote(made, spec('b'))
      assert.ok(isNewer(versionOf(next), versionOf(made)))
      assert.equal(next.metadata.uid, made.metadata.uid)
      assert.equal(next.spec?.holderIdentity, 'b')
      assert.deepEqual((await client.get(name)).json, next)
    },
  },
  {
    name: 'an update of an older version is a conflict and changes nothing',
    async run(client, name) {
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
  },
  {
    name: 'of two updates of one version exactly one is stored',
    async run(client, name) {
      const made = await client.made(name)
      const replies = await Promise.all(
        ['b', 'c'].map((holder) => client.update({ ...made, spec: spec(holder) })),
      )
      assert.deepEqual(replies.map((reply) => reply.status).sort(), [200, 409])
    },
  },
  {
    name: 'an update without a version is refused',
    async run(client, name) {
      await client.made(name)
      const reply = await client.update({ metadata: { name }, spec: spec('b') })
      failed(reply, 422, 'Invalid')
      assert.match(reply.json.message, /must be specified for an update/)
    },
  },
  {
    name: 'an update that changes nothing keeps the version',
    async run(client, name) {
      const made = await client.made(name)
      assert.deepEqual(await client.wrote(made, made.spec), made)
    },
  },
  {
    name: 'an update of a deleted Lease is a conflict if it names the uid',
    async run(client, name) {
      const made = await client.made(name)
      assert.equal((await client.delete(name)).status, 200)
      failed(await client.update(made), 409, 'Conflict')
      failed(await client.get(name), 404, 'NotFound')
    },
  },
  {
    name: 'an update of a deleted Lease creates it again if it names no uid, whatever version it names',
    async run(client, name) {
      const made = await client.made(name)
      await client.delete(name)
      const reply = await client.update({
        metadata: { name, resourceVersion: versionOf(made) },
        spec: spec('b'),
      })
      assert.equal(reply.status, 201)
      assert.notEqual(reply.json.metadata.uid, made.metadata.uid)
    },
  },
  {
    name: 'a Lease created again has another uid and a newer version, and an update by the old uid is a conflict',
    async run(client, name) {
      const made = await client.made(name)
      const reply = await client.delete(name)
      assert.equal(reply.json.status, 'Success')
      assert.equal(reply.json.details.uid, made.metadata.uid)
      const again = await client.made(name)
      assert.notEqual(again.metadata.uid, made.metadata.uid)
      assert.ok(isNewer(versionOf(again), versionOf(made)))
      failed(await client.update(made), 409, 'Conflict')
      const posing = { ...made, metadata: { ...made.metadata, resourceVersion: versionOf(again) } }
      failed(await client.update(posing), 409, 'Conflict')
    },
  },
  {
    name: 'a deletion with preconditions that do not hold is a conflict',
    async run(client, name) {
      const made = await client.made(name)
      await client.wrote(made, spec('b'))
      const deleteIf = (preconditions: unknown) => client.send('DELETE', client.one(name), { preconditions })
      failed(await deleteIf({ uid: 'another' }), 409, 'Conflict')
      failed(await deleteIf({ resourceVersion: versionOf(made) }), 409, 'Conflict')
      assert.equal((await deleteIf({ uid: made.metadata.uid })).status, 200)
    },
  },
  {
    name: 'one counter gives the versions of all Leases',
    async run(client, name) {
      const first = await client.made(`${name}-1`)
      const second = await client.made(`${name}-2`)
      const third = await client.wrote(first, spec('b'))
      assert.ok(isNewer(versionOf(second), versionOf(first)))
      assert.ok(isNewer(versionOf(third), versionOf(second)))
    },
  },
  {
    name: 'a dry run is answered as the write would be, and changes nothing',
    async run(client, name) {
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
      failed(await client.send('PUT', `${client.one(name)}?dryRun=some`, next), 422, 'Invalid')
      assert.deepEqual((await client.get(name)).json, made)
    },
  },
  {
    name: 'a list has a version of its own, and a field selector picks one Lease',
    async run(client, name) {
      const made = await client.made(`${name}-1`)
      await client.made(`${name}-2`)
      const reply = await client.send('GET', `${client.collection}?fieldSelector=metadata.name%3D${name}-1`)
      assert.equal(reply.status, 200)
      assert.equal(reply.json.kind, 'LeaseList')
      assert.deepEqual(
        reply.json.items.map((lease: Lease) => lease.metadata),
        [made.metadata],
      )
      assert.ok(!isNewer(versionOf(made), reply.json.metadata.resourceVersion))
      const unknown = await client.send('GET', `${client.collection}?fieldSelector=spec.holderIdentity%3Da`)
      failed(unknown, 400, 'BadRequest')
    },
  },
]
