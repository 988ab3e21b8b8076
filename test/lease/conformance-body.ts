import assert from 'node:assert/strict'
import { isNewer } from '../../agent/lease/lease.ts'
import { type Case, failed, RENEWED, spec, versionOf } from './conformance-case.ts'

/** What a Lease may say, and how a request that may not is refused; patches. */
export const bodyCases: Case[] = [
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
