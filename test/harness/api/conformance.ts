import assert from 'node:assert/strict'
import { createInterface } from 'node:readline'
import { after, test } from 'node:test'
import { Agent, type Dispatcher } from 'undici'
import { isNewer, type Lease } from '../../../agent/lease/lease.ts'

export interface Target {
  readonly url: string
  readonly namespace: string
  readonly token?: string
  readonly ca?: string
  /** Makes the server discard its history. */
  readonly expireHistory?: () => Promise<void>
}

interface ApiObject extends Lease {
  readonly items: readonly Lease[]
  readonly code: number
  readonly reason: string
  readonly message: string
}

interface Seen {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR'
  readonly object: ApiObject
}

/** Limit of every wait, so that a case fails instead of hanging. */
const DEADLINE_MS = 60_000
const RENEWED = '2024-02-03T04:05:06.123456Z'
const spec = (holderIdentity: string) => ({ holderIdentity, leaseDurationSeconds: 15 })
const from = ({ metadata }: Lease) => ({ resourceVersion: metadata.resourceVersion! })
const follows = (next: Lease, { metadata }: Lease) =>
  isNewer(next.metadata.resourceVersion!, metadata.resourceVersion!)

/** Sends plain requests about one Lease. It retries nothing and interprets nothing. */
class LeaseClient {
  readonly name: string
  readonly #target: Target
  readonly #agent: Agent
  readonly #collection: string

  constructor(target: Target, name: string) {
    this.name = name
    this.#target = target
    this.#agent = new Agent(target.ca ? { connect: { ca: target.ca } } : {})
    this.#collection = `/apis/coordination.k8s.io/v1/namespaces/${target.namespace}/leases`
  }

  request(method: Dispatcher.HttpMethod, path: string, body?: object, type = 'application/json') {
    const { url: origin, token } = this.#target
    return this.#agent.request({
      origin,
      path: this.#collection + path,
      method,
      headers: { 'content-type': type, ...(token && { authorization: `Bearer ${token}` }) },
      body: body === undefined ? null : JSON.stringify(body),
      headersTimeout: DEADLINE_MS,
      bodyTimeout: DEADLINE_MS,
    })
  }

  async gets(code: number, method: Dispatcher.HttpMethod, path: string, body?: object, reason?: string) {
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
    const answer = await this.request(method, path, body, type)
    const json = (await answer.body.json()) as ApiObject
    assert.equal(answer.statusCode, code, json.message)
    if (reason !== undefined) assert.deepEqual([json.kind, json.code, json.reason], ['Status', code, reason])
    return json
  }

  get = () => this.gets(200, 'GET', `/${this.name}`)
  made = (holder = 'a') =>
    this.gets(201, 'POST', '', {
      metadata: { name: this.name },
      spec: { ...spec(holder), renewTime: RENEWED },
    })
  wrote = (lease: Lease, holder: string) =>
    this.gets(200, 'PUT', `/${this.name}`, { ...lease, spec: spec(holder) })
  conflicts = (lease: Lease, query = '') =>
    this.gets(409, 'PUT', `/${this.name}${query}`, { ...lease, spec: spec('late') }, 'Conflict')

  async watch(query: Record<string, string> = {}) {
    const selected = new URLSearchParams({
      watch: '1',
      fieldSelector: `metadata.name=${this.name}`,
      ...query,
    })
    const { statusCode, body } = await this.request('GET', `?${selected}`)
    assert.equal(statusCode, 200)
    body.on('error', () => {})
    const lines = createInterface({ input: body })[Symbol.asyncIterator]()
    return async (count = Number.POSITIVE_INFINITY): Promise<Seen[]> => {
      const found: Seen[] = []
      while (found.length < count) {
        const { value, done } = await lines.next()
        if (done) break
        found.push(JSON.parse(value))
      }
      if (found.length === count) body.destroy()
      return found
    }
  }

  close(): Promise<void> {
    return this.#agent.destroy()
  }
}

const seen = (events: readonly Seen[]) =>
  events.map(({ type, object }) => [type, object.spec?.holderIdentity, object.metadata.resourceVersion])
const change = (type: Seen['type'], lease: Lease) => [
  type,
  lease.spec?.holderIdentity,
  lease.metadata.resourceVersion,
]

/**
 * Registers tests for the behaviour that elector and operators rely on. They run against the embedded Lease API and against
 * kube-apiserver; if the two differ, the embedded one is wrong. `forgets` adds the cases that the embedded one doesn't implement:
 * deletions, and a history that the server discards.
 */
export function conformance(target: () => Target, { forgets = false } = {}): void {
  const clients: LeaseClient[] = []
  after(() => Promise.all(clients.map((client) => client.close())))
  const check = (title: string, run: (client: LeaseClient) => Promise<void>) =>
    test(title, async () => {
      const client = new LeaseClient(target(), `lease-${clients.length}`)
      clients.push(client)
      await run(client)
    })

  check('a created Lease gets a uid, a version and a time, and exists once', async (client) => {
    await client.gets(404, 'GET', `/${client.name}`, undefined, 'NotFound')
    const made = await client.made()
    assert.match(made.metadata.uid!, /^[0-9a-f-]{36}$/)
    assert.match(String(made.metadata.creationTimestamp), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
    assert.deepEqual(made.spec, { ...spec('a'), renewTime: RENEWED })
    await client.gets(409, 'POST', '', { metadata: { name: client.name }, spec: {} }, 'AlreadyExists')
    assert.deepEqual(await client.get(), made)
  })

  check('an update succeeds only from the newest version, and only one of two', async (client) => {
    const made = await client.made()
    const next = await client.wrote(made, 'b')
    assert.ok(follows(next, made))
    await client.conflicts(made)
    const both = ['c', 'd'].map((holder) =>
      client.request('PUT', `/${client.name}`, { ...next, spec: spec(holder) }),
    )
    assert.deepEqual((await Promise.all(both)).map(({ statusCode }) => statusCode).sort(), [200, 409])
  })

  check('a dry run gets the answer of the real write and changes nothing', async (client) => {
    const made = await client.made()
    await client.gets(200, 'PUT', `/${client.name}?dryRun=All`, { ...made, spec: spec('b') })
    await client.conflicts({ ...made, metadata: { ...made.metadata, resourceVersion: '1' } }, '?dryRun=All')
    assert.deepEqual(await client.get(), made)
  })

  check(
    'a merge patch changes only the named fields; a write without a change sends no event',
    async (client) => {
      const made = await client.made()
      const watch = await client.watch(from(made))
      const paused = (value: string | null) =>
        client.gets(200, 'PATCH', `/${client.name}`, { metadata: { annotations: { paused: value } } })
      const set = await paused('true')
      assert.deepEqual([set.metadata.annotations, set.spec], [{ paused: 'true' }, made.spec])
      const unset = await paused(null)
      assert.equal(unset.metadata.annotations, undefined)
      assert.deepEqual(await paused(null), unset)
      assert.deepEqual(await client.gets(200, 'PUT', `/${client.name}`, unset), unset)
      const last = await client.wrote(unset, 'b')
      const changes = [set, unset, last].map((lease) => change('MODIFIED', lease))
      assert.deepEqual(seen(await watch(3)), changes)
    },
  )

  check('a watch continues from the version of a list, or begins with the present state', async (client) => {
    const made = await client.made()
    const list = await client.gets(200, 'GET', `?fieldSelector=metadata.name%3D${client.name}`)
    assert.deepEqual(list.items.map(from), [from(made)])
    const next = await client.wrote(made, 'b')
    const onward = await client.watch(from(list))
    assert.deepEqual(seen(await onward(1)), [change('MODIFIED', next)])
    const [added, bookmark] = await (await client.watch({ allowWatchBookmarks: 'true' }))(2)
    assert.deepEqual(seen([added!]), [change('ADDED', next)])
    assert.deepEqual(bookmark?.object.metadata.annotations, { 'k8s.io/initial-events-end': 'true' })
    const ending = await client.watch({ ...from(next), timeoutSeconds: '1' })
    assert.deepEqual(await ending(), [])
  })

  if (!forgets) return
  check('a deleted Lease is reported, and can be created again but not updated', async (client) => {
    const made = await client.made()
    const watch = await client.watch(from(made))
    await client.gets(200, 'DELETE', `/${client.name}`)
    await client.conflicts(made)
    const again = await client.made('b')
    assert.notEqual(again.metadata.uid, made.metadata.uid)
    const [deleted, back] = await watch(2)
    assert.deepEqual([deleted!.type, deleted!.object.metadata.uid], ['DELETED', made.metadata.uid])
    assert.ok(follows(deleted!.object, made) && follows(again, deleted!.object))
    assert.deepEqual(seen([back!]), [change('ADDED', again)])
  })

  check('a watch from a version that is too old gets one ERROR of code 410 and ends', async (client) => {
    const made = await client.made()
    await client.wrote(made, 'b')
    await target().expireHistory?.()
    const [error, ...rest] = await (await client.watch(from(made)))()
    assert.deepEqual(
      [error?.type, error?.object.code, error?.object.reason, rest],
      ['ERROR', 410, 'Expired', []],
    )
  })
}
