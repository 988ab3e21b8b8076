import assert from 'node:assert/strict'
import { Agent, type Dispatcher } from 'undici'
import type { Lease } from '../../../agent/lease/lease.ts'

/** What a server may answer, all in one: which fields there are depends on the answer. */
export interface ApiObject extends Lease {
  readonly status: string
  readonly code: number
  readonly reason: string
  readonly message: string
}

export interface Reply {
  readonly status: number
  readonly contentType: string
  readonly text: string
  /** The body; there is none where it is no JSON. */
  readonly json: ApiObject
}

export interface Seen {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR'
  readonly object: ApiObject
}

/** Where the cases run: a server, and a namespace that exists there. */
export interface Target {
  readonly url: string
  readonly namespace: string
  readonly token?: string
  readonly ca?: string
  /** Makes the server forget its history, so that a watch from an older version gets 410. */
  expireHistory(): Promise<void>
}

/** Bounds every wait, so that a case which hangs fails instead. */
const DEADLINE_MS = 20_000

/** Plain requests, nothing retried and nothing interpreted. */
export class LeaseClient {
  readonly #target: Target
  readonly #agent: Agent
  readonly collection: string

  constructor(target: Target) {
    this.#target = target
    this.#agent = new Agent({ pipelining: 1, ...(target.ca ? { connect: { ca: target.ca } } : {}) })
    this.collection = `/apis/coordination.k8s.io/v1/namespaces/${target.namespace}/leases`
  }

  async send(method: string, path: string, body?: unknown): Promise<Reply> {
    const response = await this.#request(method as Dispatcher.HttpMethod, path, body)
    const text = await response.body.text()
    const type = String(response.headers['content-type'] ?? '')
    const json = type.startsWith('application/json') ? JSON.parse(text) : undefined
    return { status: response.statusCode, contentType: type, text, json }
  }

  one = (name: string) => `${this.collection}/${name}`
  get = (name: string) => this.send('GET', this.one(name))
  create = (lease: Lease) => this.send('POST', this.collection, lease)
  update = (lease: Lease) => this.send('PUT', this.one(lease.metadata.name!), lease)
  delete = (name: string) => this.send('DELETE', this.one(name))

  /** Creates a Lease of the given spec, and returns it as stored. */
  async made(
    name: string,
    spec: Lease['spec'] = { holderIdentity: 'a', leaseDurationSeconds: 15 },
  ): Promise<Lease> {
    const reply = await this.create({ metadata: { name }, spec: spec ?? {} })
    assert.equal(reply.status, 201, reply.text)
    return reply.json
  }

  /** Writes `spec` over the newest version. */
  async wrote(lease: Lease, spec: Lease['spec']): Promise<Lease> {
    const reply = await this.update({ ...lease, spec: spec ?? {} })
    assert.equal(reply.status, 200, reply.text)
    return reply.json
  }

  async watch(query: Record<string, string>): Promise<WatchReader> {
    const path = `${this.collection}?${new URLSearchParams({ watch: '1', ...query })}`
    const response = await this.#request('GET', path)
    assert.equal(response.statusCode, 200)
    return new WatchReader(response.body)
  }

  close(): Promise<void> {
    return this.#agent.destroy()
  }

  #request(method: Dispatcher.HttpMethod, path: string, body?: unknown) {
    const { url, token } = this.#target
    const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {}
    if (body !== undefined) headers['content-type'] = 'application/json'
    return this.#agent.request({
      origin: new URL(url).origin,
      path: `${new URL(url).pathname.replace(/\/$/, '')}${path}`,
      method,
      headers,
      body: body === undefined ? null : typeof body === 'string' ? body : JSON.stringify(body),
      headersTimeout: DEADLINE_MS,
      bodyTimeout: DEADLINE_MS,
    })
  }
}

/** Reads one watch, line by line. */
export class WatchReader {
  readonly #body: Dispatcher.ResponseData['body']
  readonly #lines: AsyncGenerator<string>

  constructor(body: Dispatcher.ResponseData['body']) {
    this.#body = body
    body.on('error', () => {})
    this.#lines = lines(body)
  }

  /** The next event; `null` when the server has ended the watch in order. Rejects when it was cut. */
  async next(): Promise<Seen | null> {
    const { value, done } = await this.#lines.next()
    return done ? null : JSON.parse(value)
  }

  /** The next `count` events that are no bookmarks. */
  async changes(count: number): Promise<Seen[]> {
    const found: Seen[] = []
    while (found.length < count) {
      const event = await this.next()
      assert.ok(event, `the watch ended after ${found.length} of ${count} events`)
      if (event.type !== 'BOOKMARK') found.push(event)
    }
    return found
  }

  /** Everything up to the end. */
  async rest(): Promise<Seen[]> {
    const found: Seen[] = []
    for (let event = await this.next(); event; event = await this.next()) found.push(event)
    return found
  }

  close(): void {
    this.#body.destroy()
  }
}

async function* lines(body: AsyncIterable<Buffer>): AsyncGenerator<string> {
  let rest = ''
  for await (const chunk of body) {
    const parts = (rest + chunk.toString('utf8')).split('\n')
    rest = parts.pop()!
    for (const line of parts) if (line !== '') yield line
  }
  if (rest !== '') yield rest
}
