import assert from 'node:assert/strict'
import { isNewer, type Lease } from '../../agent/lease/lease.ts'
import type { LeaseClient, Reply, Target } from './conformance-client.ts'

/** One thing that the elector or an operator relies on. `name` is a Lease name which nobody else uses. */
export interface Case {
  readonly name: string
  run(client: LeaseClient, name: string, target: Target): Promise<void>
}

/** A failed request: its status, and the same in its body. */
function failed(reply: Reply, code: number, reason: string | undefined): void {
  assert.equal(reply.status, code, reply.text)
  assert.equal(reply.contentType, 'application/json')
  const { kind, apiVersion, status, message } = reply.json
  assert.deepEqual({ kind, apiVersion, status }, { kind: 'Status', apiVersion: 'v1', status: 'Failure' })
  assert.equal(reply.json.code, code)
  assert.equal(reply.json.reason, reason)
  assert.equal(typeof message, 'string')
}

const versionOf = (lease: Lease) => lease.metadata.resourceVersion!
const spec = (holderIdentity: string) => ({ holderIdentity, leaseDurationSeconds: 15 })
const RENEWED = '2024-02-03T04:05:06.123456Z'

export const requestCases: Case[] = [
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
  {
    name: 'times have exactly six digits and are answered in UTC',
    async run(client, name) {
      const made = await client.made(name, {
        renewTime: '2024-02-03T05:05:06.000001+01:00',
        acquireTime: RENEWED,
      })
      assert.deepEqual(made.spec, { renewTime: '2024-02-03T04:05:06.000001Z', acquireTime: RENEWED })
      for (const renewTime of [
        '2024-02-03T04:05:06Z',
        '2024-02-03T04:05:06.123Z',
        '2024-02-03T04:05:06.123456789Z',
        'now',
      ])
        failed(await client.update({ ...made, spec: { renewTime } }), 400, 'BadRequest')
    },
  },
  {
    name: 'an empty holder is kept, null removes a field',
    async run(client, name) {
      const made = await client.made(name, { holderIdentity: '', leaseDurationSeconds: 1, acquireTime: null })
      assert.deepEqual(made.spec, { holderIdentity: '', leaseDurationSeconds: 1 })
      assert.deepEqual((await client.wrote(made, { holderIdentity: null })).spec, {})
    },
  },
  {
    name: 'fields that a Lease does not have are dropped',
    async run(client, name) {
      const made = await client.made(name, { ...spec('a'), favouriteColour: 'blue' })
      assert.deepEqual(made.spec, spec('a'))
    },
  },
  {
    name: 'values out of range are invalid, values of a wrong type are bad requests',
    async run(client, name) {
      const made = await client.made(name)
      for (const wrong of [
        { leaseDurationSeconds: 0 },
        { leaseDurationSeconds: -1 },
        { leaseTransitions: -1 },
      ]) {
        const reply = await client.update({ ...made, spec: wrong })
        failed(reply, 422, 'Invalid')
        assert.equal(reply.json.details.causes[0]?.field, `spec.${Object.keys(wrong)[0]}`)
        assert.match(reply.json.message, /^Lease\.coordination\.k8s\.io ".*" is invalid: spec\./)
      }
      const types = [
        { leaseDurationSeconds: 1.5 },
        { leaseDurationSeconds: '15' },
        { leaseTransitions: 2 ** 32 },
      ]
      for (const wrong of types)
        failed(await client.update({ ...made, spec: wrong as never }), 400, 'BadRequest')
      failed(await client.update({ ...made, spec: { holderIdentity: 5 as never } }), 400, 'BadRequest')
      assert.deepEqual((await client.get(name)).json, made)
    },
  },
  {
    name: 'a conflict comes before a value out of range',
    async run(client, name) {
      const made = await client.made(name)
      await client.wrote(made, spec('b'))
      failed(await client.update({ ...made, spec: { leaseDurationSeconds: 0 } }), 409, 'Conflict')
    },
  },
  {
    name: 'bodies that are no Lease are bad requests',
    async run(client, name) {
      const post = (body: string) => client.send('POST', client.collection, body)
      for (const body of ['{"metadata":', '', '[]']) failed(await post(body), 400, 'BadRequest')
      failed(await post(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"${name}"}}`), 400, 'BadRequest')
      failed(await post(`{"metadata":{"name":"${name}","namespace":"elsewhere"}}`), 400, 'BadRequest')
      failed(await post(`{"metadata":{"name":"${name}","resourceVersion":"5"}}`), 500, undefined)
      failed(await post('{"metadata":{}}'), 422, 'Invalid')
      failed(await post('{"metadata":{"name":"Bad_Name"}}'), 422, 'Invalid')
      failed(await client.send('POST', client.collection, '{}', 'text/plain'), 415, 'UnsupportedMediaType')
      failed(await client.get(name), 404, 'NotFound')
    },
  },
  {
    name: 'an update must name the Lease of its path',
    async run(client, name) {
      const made = await client.made(name)
      const as = (metadata: object) =>
        client.send('PUT', client.one(name), { ...made, metadata: { ...made.metadata, ...metadata } })
      failed(await as({ name: 'another' }), 400, 'BadRequest')
      failed(await as({ name: null }), 400, 'BadRequest')
      failed(await as({ namespace: 'elsewhere' }), 400, 'BadRequest')
      failed(await as({ resourceVersion: 'abc' }), 500, undefined)
    },
  },
  {
    name: 'a method that a path does not have is refused, an unknown path is not found',
    async run(client, name) {
      failed(await client.send('POST', client.one(name), {}), 405, 'MethodNotAllowed')
      failed(await client.send('PUT', client.collection, {}), 405, 'MethodNotAllowed')
      failed(await client.send('OPTIONS', client.one(name)), 405, 'MethodNotAllowed')
      failed(await client.send('GET', `${client.one(name)}/status`), 404, 'NotFound')
      failed(await client.send('GET', client.collection.replace('leases', 'treaties')), 404, 'NotFound')
      const nowhere = await client.send('GET', '/nowhere')
      assert.equal(nowhere.status, 404)
      assert.match(nowhere.contentType, /^text\/plain/)
    },
  },
  {
    name: 'a merge patch sets and removes an annotation and leaves the rest, as kubectl annotate does',
    async run(client, name) {
      const made = await client.made(name)
      const set = await client.merge(name, {
        metadata: { annotations: { 'langflow-leader/paused': 'true', b: '1' } },
      })
      assert.equal(set.status, 200, set.text)
      assert.deepEqual(set.json.metadata.annotations, { 'langflow-leader/paused': 'true', b: '1' })
      assert.deepEqual(set.json.spec, made.spec)
      assert.ok(isNewer(versionOf(set.json), versionOf(made)))
      const same = await client.merge(name, { metadata: { annotations: { b: '1' } } })
      assert.equal(versionOf(same.json), versionOf(set.json))
      const cleared = await client.merge(name, { metadata: { annotations: null } })
      assert.equal(cleared.json.metadata.annotations, undefined)
      failed(await client.update(made), 409, 'Conflict')
    },
  },
  {
    name: 'a patch may compare the version, and is validated',
    async run(client, name) {
      const made = await client.made(name)
      const stale = { metadata: { resourceVersion: '1' }, spec: { holderIdentity: 'b' } }
      failed(await client.merge(name, stale), 409, 'Conflict')
      failed(await client.merge(name, { spec: { leaseDurationSeconds: 0 } }), 422, 'Invalid')
      failed(await client.merge(name, { metadata: { annotations: { a: 1 } } }), 422, 'Invalid')
      failed(await client.merge(name, { metadata: { annotations: { 'a b': '1' } } }), 422, 'Invalid')
      failed(await client.merge(name, { metadata: { name: 'another' } }), 400, 'BadRequest')
      failed(await client.merge(name, { metadata: { uid: 'another' } }), 422, 'Invalid')
      failed(await client.merge(name, '{"metadata":'), 400, 'BadRequest')
      failed(await client.send('PATCH', client.one(name), {}), 415, 'UnsupportedMediaType')
      assert.deepEqual((await client.get(name)).json, made)
    },
  },
  {
    name: 'a JSON patch and a strategic merge patch work on a Lease',
    async run(client, name) {
      await client.made(name)
      const patch = (type: string, body: unknown) =>
        client.send('PATCH', client.one(name), body, `application/${type}`)
      await patch('strategic-merge-patch+json', { metadata: { annotations: { a: '1' } } })
      const path = '/metadata/annotations/x~1y'
      const added = await patch('json-patch+json', [{ op: 'add', path, value: '2' }])
      assert.deepEqual(added.json.metadata.annotations, { a: '1', 'x/y': '2' })
      failed(await patch('json-patch+json', [{ op: 'test', path, value: '3' }]), 422, 'Invalid')
      failed(
        await patch('json-patch+json', [{ op: 'remove', path: '/metadata/annotations/z' }]),
        422,
        'Invalid',
      )
      failed(await patch('json-patch+json', { op: 'add' }), 400, 'BadRequest')
    },
  },
]
