import assert from 'node:assert/strict'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { describe, test } from 'node:test'
import { Agent, type Dispatcher } from 'undici'
import { isNewer, type Lease } from '../../../agent/lease/lease.ts'

/** The server and an existing namespace on it, in which the cases run. */
export interface Target {
  readonly url: string
  readonly namespace: string
  readonly token?: string
  readonly ca?: string
  /** Makes the server discard its history. */
  readonly expireHistory?: () => Promise<void>
}

/** All fields of all answers. Which of them exist depends on the answer. */
interface ApiObject extends Lease {
  readonly items: readonly Lease[]
  readonly status: string
  readonly code: number
  readonly reason: string
  readonly message: string
}

interface Reply {
  readonly status: number
  readonly contentType: string
  readonly json: ApiObject
}

interface Seen {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR'
  readonly object: ApiObject
}

/** Limit of every wait, so that a case fails instead of hanging. */
const DEADLINE_MS = 20_000

/** Sends plain requests. It retries nothing and interprets nothing. */
class LeaseClient {
  readonly collection: string
  readonly #target: Target
  readonly #agent: Agent

  constructor(target: Target) {
    this.#target = target
    this.#agent = new Agent({ pipelining: 1, ...(target.ca ? { connect: { ca: target.ca } } : {}) })
    this.collection = `/apis/coordination.k8s.io/v1/namespaces/${target.namespace}/leases`
  }

  async send(
    method: Dispatcher.HttpMethod,
    path: string,
    body?: unknown,
    type = 'application/json',
  ): Promise<Reply> {
    const response = await this.#request(method, path, body, type)
    const contentType = String(response.headers['content-type'])
    return { status: response.statusCode, contentType, json: (await response.body.json()) as ApiObject }
  }

  one = (name: string) => `${this.collection}/${name}`
  get = (name: string) => this.send('GET', this.one(name))
  create = (lease: Lease) => this.send('POST', this.collection, lease)
  patch = (name: string, patch: unknown) =>
    this.send('PATCH', this.one(name), patch, 'application/merge-patch+json')
  update = (lease: Lease) => this.send('PUT', this.one(lease.metadata.name!), lease)
  delete = (name: string) => this.send('DELETE', this.one(name))

  async made(name: string, fields: Lease['spec'] = spec('a')): Promise<Lease> {
    const { status, json } = await this.create({ metadata: { name }, spec: fields ?? {} })
    assert.equal(status, 201, json.message)
    return json
  }

  /** Writes `fields` over this version of the Lease. */
  async wrote(lease: Lease, fields: Lease['spec']): Promise<Lease> {
    const { status, json } = await this.update({ ...lease, spec: fields ?? {} })
    assert.equal(status, 200, json.message)
    return json
  }

  async watch(name: string, query: Record<string, string> = {}): Promise<WatchReader> {
    const asked = new URLSearchParams({ watch: '1', fieldSelector: `metadata.name=${name}`, ...query })
    const { statusCode, body } = await this.#request('GET', `${this.collection}?${asked}`)
    assert.equal(statusCode, 200)
    return new WatchReader(body)
  }

  close(): Promise<void> {
    return this.#agent.destroy()
  }

  #request(method: Dispatcher.HttpMethod, path: string, body?: unknown, type = 'application/json') {
    const { url: origin, token } = this.#target
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    return this.#agent.request({
      origin,
      path,
      method,
      headers: { 'content-type': type, ...(token && { authorization: `Bearer ${token}` }) },
      body: text ?? null,
      headersTimeout: DEADLINE_MS,
      bodyTimeout: DEADLINE_MS,
    })
  }
}

class WatchReader {
  readonly #body: Readable
  readonly #lines: AsyncIterator<string>

  constructor(body: Readable) {
    this.#body = body.on('error', () => {})
    this.#lines = createInterface({ input: body })[Symbol.asyncIterator]()
  }

  /** The next event, or `undefined` if the server ended the watch in order. */
  async next(): Promise<Seen | undefined> {
    const { value, done } = await this.#lines.next()
    return done ? undefined : JSON.parse(value)
  }

  /** Reads the next `count` events other than bookmarks, then closes the watch. */
  async changes(count: number): Promise<Seen[]> {
    const found: Seen[] = []
    while (found.length < count) {
      const event = await this.next()
      assert.ok(event, `the watch ended after ${found.length} of ${count} events`)
      if (event.type !== 'BOOKMARK') found.push(event)
    }
    this.close()
    return found
  }

  async rest(): Promise<Seen[]> {
    const found: Seen[] = []
    for (let event = await this.next(); event; event = await this.next()) found.push(event)
    return found
  }

  close(): void {
    this.#body.destroy()
  }
}

const RENEWED = '2024-02-03T04:05:06.123456Z'
const spec = (holderIdentity: string) => ({ holderIdentity, leaseDurationSeconds: 15 })
const versionOf = (lease: Lease) => lease.metadata.resourceVersion!
const from = (lease: Lease) => ({ resourceVersion: versionOf(lease) })
const seen = (event: Seen | undefined) => [event?.type, event?.object.spec?.holderIdentity]

/** Asserts that a request failed, with the same code in its status and its body. */
function failed({ status: answered, contentType, json }: Reply, code: number, reason: string): void {
  assert.equal(answered, code, json.message)
  assert.equal(contentType, 'application/json')
  const { kind, apiVersion, status, message } = json
  assert.deepEqual({ kind, apiVersion, status }, { kind: 'Status', apiVersion: 'v1', status: 'Failure' })
  assert.deepEqual([json.code, json.reason], [code, reason])
  assert.equal(typeof message, 'string')
}

/**
 * Registers tests for the behaviour that elector and operators rely on. They run against the embedded Lease API and against
 * kube-apiserver; if the two differ, the embedded one is wrong. `forgets` adds the cases that the embedded one doesn't implement:
 * deletions, and a history that the server discards.
 */
export function conformance(target: () => Target, { forgets = false } = {}): void {
  let leases = 0
  /** `name`: the name of a Lease that no other case uses. */
  const check = (title: string, run: (client: LeaseClient, name: string) => Promise<void>) => {
    const name = `lease-${++leases}`
    test(title, async () => {
      const client = new LeaseClient(target())
      try {
        await run(client, name)
      } finally {
        await client.close()
      }
    })
  }

  describe('writes', { concurrency: true }, () => {
    check(
      'a created Lease gets a uid, a version and a time, and reads return it unchanged',
      async (client, name) => {
        const fields = { ...spec('a'), leaseTransitions: 0, renewTime: RENEWED }
        const made = await client.made(name, fields)
        const { kind, apiVersion, metadata } = made
        assert.deepEqual([kind, apiVersion], ['Lease', 'coordination.k8s.io/v1'])
        assert.equal(metadata.namespace, target().namespace)
        assert.match(metadata.uid!, /^[0-9a-f-]{36}$/)
        assert.match(versionOf(made), /^[1-9]\d*$/)
        assert.match(String(metadata.creationTimestamp), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
        assert.deepEqual(made.spec, fields)
        assert.deepEqual((await client.get(name)).json, made)
      },
    )

    check(
      'an update succeeds from the newest version, and fails with Conflict from an older one',
      async (client, name) => {
        const made = await client.made(name)
        const next = await client.wrote(made, spec('b'))
        assert.ok(isNewer(versionOf(next), versionOf(made)))
        assert.deepEqual([next.metadata.uid, next.spec?.holderIdentity], [made.metadata.uid, 'b'])
        assert.deepEqual((await client.get(name)).json, next)
        const reply = await client.update({ ...made, spec: spec('c') })
        failed(reply, 409, 'Conflict')
        assert.match(
          reply.json.message,
          /^Operation cannot be fulfilled on leases\.coordination\.k8s\.io .* modified; /,
        )
        assert.deepEqual((await client.get(name)).json, next)
      },
    )

    check('of two updates of the same version, exactly one is stored', async (client, name) => {
      const made = await client.made(name)
      const both = ['b', 'c'].map((holder) => client.update({ ...made, spec: spec(holder) }))
      assert.deepEqual((await Promise.all(both)).map(({ status }) => status).sort(), [200, 409])
    })

    check('an update that changes nothing keeps the version and sends no event', async (client, name) => {
      const made = await client.made(name)
      const watch = await client.watch(name, from(made))
      assert.deepEqual(await client.wrote(made, made.spec), made)
      await client.wrote(made, spec('b'))
      assert.deepEqual((await watch.changes(1)).map(seen), [['MODIFIED', 'b']])
    })

    check('a dry run gets the answer of the real write and changes nothing', async (client, name) => {
      const made = await client.made(name)
      const dry = (method: 'PUT' | 'POST', path: string, body: unknown) =>
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
    })
  })

  describe('merge patches', { concurrency: true }, () => {
    const annotations = { 'langflow-leader/paused': 'true' }

    check('a patch changes only the named fields, and sends an event', async (client, name) => {
      const made = await client.made(name)
      const watch = await client.watch(name, from(made))
      const { json: set } = await client.patch(name, { metadata: { annotations } })
      assert.deepEqual([set.metadata.annotations, set.spec], [annotations, made.spec])
      assert.ok(isNewer(versionOf(set), versionOf(made)))
      const nothing = { metadata: { annotations: { 'langflow-leader/paused': null } } }
      const { status, json: unset } = await client.patch(name, nothing)
      assert.deepEqual([status, unset.metadata.annotations, unset.spec], [200, undefined, made.spec])
      assert.deepEqual(
        (await watch.changes(2)).map(({ type, object }) => [type, versionOf(object)]),
        [set, unset].map((lease) => ['MODIFIED', versionOf(lease)]),
      )
      // Removing a missing annotation changes nothing.
      assert.equal(versionOf((await client.patch(name, nothing)).json), versionOf(unset))
    })
  })

  describe('lists', { concurrency: true }, () => {
    check('a list contains the selected Leases, and a version to watch from', async (client, name) => {
      const made = await client.made(name)
      await client.made(`${name}-other`)
      const all = (await client.send('GET', client.collection)).json
      assert.ok(all.items.some(({ metadata }) => metadata.name === `${name}-other`))
      const path = `${client.collection}?fieldSelector=metadata.name%3D${name}`
      const { status, json } = await client.send('GET', path)
      assert.deepEqual([status, json.kind, json.items.map(versionOf)], [200, 'LeaseList', [versionOf(made)]])
      const watch = await client.watch(name, from(json))
      const next = await client.wrote(made, spec('b'))
      assert.deepEqual(await watch.changes(1), [{ type: 'MODIFIED', object: next }])
    })
  })

  describe('watches', { concurrency: true }, () => {
    check('a watch from a version receives every later change in order', async (client, name) => {
      const first = await client.made(name)
      const second = await client.wrote(first, spec('b'))
      const watch = await client.watch(name, from(first))
      await client.made(`${name}-other`)
      const third = await client.wrote(second, spec('c'))
      assert.deepEqual(await watch.changes(2), [
        { type: 'MODIFIED', object: second },
        { type: 'MODIFIED', object: third },
      ])
    })

    check(
      'a watch without a version, or from version 0, starts with the present state',
      async (client, name) => {
        const made = await client.made(name)
        for (const query of [{}, { resourceVersion: '' }, { resourceVersion: '0' }]) {
          const watch = await client.watch(name, query)
          assert.deepEqual(await watch.changes(1), [{ type: 'ADDED', object: made }])
        }
      },
    )

    check('a watch that allows bookmarks receives one after the present state', async (client, name) => {
      const made = await client.made(name)
      const watch = await client.watch(name, { allowWatchBookmarks: 'true' })
      assert.deepEqual((await watch.next())?.object, made)
      const bookmark = await watch.next()
      watch.close()
      assert.equal(bookmark?.type, 'BOOKMARK')
      assert.equal(bookmark.object.kind, 'Lease')
      assert.deepEqual(bookmark.object.metadata.annotations, { 'k8s.io/initial-events-end': 'true' })
      assert.ok(!isNewer(versionOf(made), versionOf(bookmark.object)))
    })
  })

  if (!forgets) return
  describe('deletions', { concurrency: true }, () => {
    check(
      'an update with the uid of a deleted Lease fails, and an update without a uid creates the Lease',
      async (client, name) => {
        const made = await client.made(name)
        assert.equal((await client.delete(name)).status, 200)
        failed(await client.update(made), 409, 'Conflict')
        failed(await client.get(name), 404, 'NotFound')
        const reply = await client.update({ metadata: { name, ...from(made) }, spec: spec('b') })
        assert.equal(reply.status, 201)
        assert.notEqual(reply.json.metadata.uid, made.metadata.uid)
      },
    )

    check('a watch reports the deletion, and the new Lease with another uid', async (client, name) => {
      const made = await client.made(name)
      const watch = await client.watch(name, from(made))
      await client.delete(name)
      const again = await client.made(name)
      const [deleted, back] = await watch.changes(2)
      assert.deepEqual([deleted!.type, back!.type], ['DELETED', 'ADDED'])
      assert.equal(deleted!.object.metadata.uid, made.metadata.uid)
      assert.deepEqual(deleted!.object.spec, made.spec)
      assert.ok(
        isNewer(versionOf(deleted!.object), versionOf(made)),
        'the deletion has no version of its own',
      )
      assert.ok(isNewer(versionOf(again), versionOf(deleted!.object)))
      assert.equal(back!.object.metadata.uid, again.metadata.uid)
    })
  })

  // This case makes the server discard its history, so no other case may run at the same time.
  check(
    'a watch from a version that is too old gets one ERROR event of code 410 and ends',
    async (client, name) => {
      const made = await client.made(name)
      const next = await client.wrote(made, spec('b'))
      await target().expireHistory?.()
      const watch = await client.watch(name, from(made))
      const [error, ...rest] = await watch.rest()
      assert.deepEqual(rest, [])
      assert.equal(error?.type, 'ERROR')
      const { kind, apiVersion, status, code, reason, message } = error.object
      assert.deepEqual(
        { kind, apiVersion, status, code, reason },
        { kind: 'Status', apiVersion: 'v1', status: 'Failure', code: 410, reason: 'Expired' },
      )
      assert.match(message, /^too old resource version: \d+ \(\d+\)$/)
      const fresh = await client.watch(name)
      await client.wrote(next, spec('c'))
      assert.deepEqual((await fresh.changes(2)).map(seen), [
        ['ADDED', 'b'],
        ['MODIFIED', 'c'],
      ])
    },
  )
}
