import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '../../../agent/clock.ts'
import type { Lease } from '../../../agent/lease/lease.ts'

type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'other'

export interface ApiRequest {
  readonly method: string
  readonly verb: Verb
  /** The whole path. A prefix before `/apis` is ignored, as behind a proxy that serves several clusters. */
  readonly path: string
  readonly query: URLSearchParams
  readonly namespace: string
  /** The name of the Lease. For a watch, the name in its field selector. */
  readonly name: string | undefined
  readonly body: string
}

export interface Answer {
  readonly code: number
  readonly body: object | string
  readonly contentType?: string
}

type OtherHandler = (request: ApiRequest) => Answer | Promise<Answer>

interface Change {
  readonly type: 'ADDED' | 'MODIFIED'
  readonly version: number
  readonly lease: Lease
}

interface Watch {
  readonly request: ApiRequest
  readonly response: ServerResponse
}

/** A failed request. Its messages are those of kube-apiserver, because clients recognise errors by the message. */
export class Failure extends Error {
  readonly code: number
  readonly reason: string
  constructor(code: number, reason: string, message: string) {
    super(message)
    this.code = code
    this.reason = reason
  }

  get body(): object {
    const { code, reason, message } = this
    return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code }
  }
}

const LEASE_RESOURCE = 'leases.coordination.k8s.io'

export const notFound = (resource: string, name: string) =>
  new Failure(404, 'NotFound', `${resource} "${name}" not found`)

export const notServed = () =>
  new Failure(404, 'NotFound', 'the server could not find the requested resource')

export const notAllowed = () =>
  new Failure(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource')

const alreadyExists = (name: string) =>
  new Failure(409, 'AlreadyExists', `${LEASE_RESOURCE} "${name}" already exists`)

const conflict = (name: string) =>
  new Failure(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${LEASE_RESOURCE} "${name}": the object has been modified; please ` +
      'apply your changes to the latest version and try again',
  )

const TYPE = { kind: 'Lease', apiVersion: 'coordination.k8s.io/v1' } as const
const LEASES = /\/apis\/coordination\.k8s\.io\/v1\/namespaces\/([^/]+)\/leases(?:\/([^/]+))?$/
/** Kubernetes Events. The server accepts them, and stores nothing. */
const EVENTS = /\/apis\/events\.k8s\.io\/v1\/namespaces\/[^/]+\/events(?:\/([^/]+))?$/
const VERBS: Readonly<Record<string, Verb>> = {
  GET: 'get',
  POST: 'create',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
}
/** Lifetime of a watch without a timeout, in seconds: the lower limit of kube-apiserver's default. */
const WATCH_SECONDS = 1_800
/** So long that the server never closes a connection which a client is about to use again. */
const KEEP_ALIVE_MS = 180_000

/**
 * `coordination.k8s.io/v1` leases over plain HTTP, in memory. The server implements what the elector and the operating commands
 * need of kube-apiserver: get, list, create, update, merge patch (each also as a dry run) and watch.
 * test/harness/api/conformance.ts compares it with the real one. Every namespace exists, and every client may do everything.
 */
export class LeaseServer {
  readonly #clock: Clock
  readonly #other: OtherHandler
  readonly #watches = new Set<Watch>()
  readonly #leases = new Map<string, Lease>()
  readonly #history: Change[] = []
  readonly #server = createServer((incoming, response) => {
    this.#serve(incoming, response).catch((error) => response.destroy(error))
  })
  /** One counter for all objects, as in etcd. */
  #version = 1

  constructor(clock: Clock, other: OtherHandler = refuseOther) {
    this.#clock = clock
    this.#other = other
    this.#server.keepAliveTimeout = KEEP_ALIVE_MS
    this.#server.requestTimeout = 0
  }

  async listen(): Promise<void> {
    this.#server.listen(0, '127.0.0.1')
    await once(this.#server, 'listening')
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }

  lease(name: string, namespace = 'default'): Lease | undefined {
    return this.#leases.get(`${namespace}/${name}`)
  }

  put(lease: Lease): Lease {
    const { name = '', namespace = 'default' } = lease.metadata
    const stored = this.lease(name, namespace)
    return stored
      ? this.commit('MODIFIED', successorOf(stored, lease))
      : this.commit('ADDED', this.#stamped(namespace, lease))
  }

  async #answer(request: ApiRequest): Promise<Answer> {
    try {
      if (EVENTS.test(request.path) && (request.method === 'POST' || request.method === 'PATCH'))
        return acceptEvent(request)
      if (request.verb === 'other') return await this.#other(request)
      if (request.verb === 'list') return { code: 200, body: this.#list(request) }
      const { type, lease } = this.#plan(request)
      const dryRun = request.query.get('dryRun') === 'All'
      const written = type === null || dryRun ? lease : this.commit(type, lease)
      return { code: type === 'ADDED' ? 201 : 200, body: written }
    } catch (error) {
      if (!(error instanceof Failure)) throw error
      return error
    }
  }

  #list({ namespace, name }: ApiRequest): object {
    const items = [...this.#leases.values()].filter(({ metadata }) => isOf(metadata, namespace, name))
    const metadata = { resourceVersion: String(this.#version) }
    return { ...TYPE, kind: 'LeaseList', metadata, items }
  }

  /**
   * Starts a watch. Without a version, it first sends the present state; with one, it first sends the changes after that
   * version. Then it sends each change.
   */
  #watch(request: ApiRequest, response: ServerResponse): void {
    const { query } = request
    const from = Number(query.get('resourceVersion') ?? 0)
    const timeoutMs = 1_000 * Number(query.get('timeoutSeconds') ?? WATCH_SECONDS)
    const bookmarks = query.get('allowWatchBookmarks') === 'true'
    const watch: Watch = { request, response }
    response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders()
    this.#watches.add(watch)
    const timer = this.#clock.after(timeoutMs, () => response.end())
    response.on('close', () => {
      this.#watches.delete(watch)
      timer.cancel()
    })
    if (from > 0) {
      for (const change of this.#history) if (change.version > from) this.#notify(watch, change)
    } else {
      for (const lease of this.#leases.values()) this.#notify(watch, { type: 'ADDED', version: 0, lease })
      if (bookmarks) this.#endInitialEvents(watch)
    }
  }

  protected commit(type: Change['type'], { metadata, spec }: Lease): Lease {
    const version = ++this.#version
    const lease = { ...TYPE, metadata: { ...metadata, resourceVersion: String(version) }, spec: spec ?? {} }
    const key = `${metadata.namespace}/${metadata.name}`
    this.#leases.set(key, lease)
    const change = { type, version, lease }
    this.#history.push(change)
    for (const watch of this.#watches) this.#notify(watch, change)
    return lease
  }

  async #serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const request = readRequest(incoming, await text(incoming))
    if (request.verb === 'watch') return this.#watch(request, response)
    const { code, body, contentType = 'application/json' } = await this.#answer(request)
    const written = typeof body === 'string' ? body : JSON.stringify(body)
    response.writeHead(code, { 'content-type': contentType }).end(written)
  }

  /** The answer to a request about a Lease. `type` is `null` if nothing is written. Throws `Failure`. */
  #plan(request: ApiRequest): { type: 'ADDED' | 'MODIFIED' | null; lease: Lease } {
    const { verb, namespace, name } = request
    if (verb === 'create') {
      const lease = decode(JSON.parse(request.body))
      if (this.lease(lease.metadata.name ?? '', namespace)) throw alreadyExists(lease.metadata.name ?? '')
      return { type: 'ADDED', lease: this.#stamped(namespace, lease) }
    }
    if (name === undefined || verb === 'delete') throw notAllowed()
    const stored = this.lease(name, namespace)
    if (verb === 'get') {
      if (stored === undefined) throw notFound(LEASE_RESOURCE, name)
      return { type: null, lease: stored }
    }
    const lease = verb === 'patch' ? patched(request, stored) : decode(JSON.parse(request.body))
    const { uid, resourceVersion } = lease.metadata
    // As on the real server, an update of a missing Lease creates it, unless the update has a uid.
    if (uid !== undefined && uid !== stored?.metadata.uid) throw conflict(name)
    if (stored === undefined) return { type: 'ADDED', lease: this.#stamped(namespace, lease) }
    if (resourceVersion !== stored.metadata.resourceVersion) throw conflict(name)
    const next = successorOf(stored, lease)
    return isDeepStrictEqual(next, stored) ? { type: null, lease: stored } : { type: 'MODIFIED', lease: next }
  }

  #stamped(namespace: string, { metadata, spec }: Lease): Lease {
    const creationTimestamp = `${new Date(this.#clock.now().wall).toISOString().slice(0, 19)}Z`
    const own = { namespace, uid: randomUUID(), creationTimestamp }
    return { ...TYPE, metadata: { ...metadata, ...own }, spec: spec ?? {} }
  }

  #notify(watch: Watch, { type, lease }: Change): void {
    const { namespace, name } = watch.request
    if (isOf(lease.metadata, namespace, name)) send(watch, type, lease)
  }

  #endInitialEvents(watch: Watch): void {
    const annotations = { 'k8s.io/initial-events-end': 'true' }
    const metadata = { resourceVersion: String(this.#version), annotations }
    send(watch, 'BOOKMARK', { ...TYPE, metadata, spec: {} })
  }
}

export function kubeconfigFor(url: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'leases', cluster: { server: url } }],
    users: [{ name: 'anyone', user: {} }],
    contexts: [{ name: 'leases', context: { cluster: 'leases', user: 'anyone', namespace: 'default' } }],
    'current-context': 'leases',
  })
}

function acceptEvent({ method, body }: ApiRequest): Answer {
  const event = JSON.parse(body) as { metadata?: object } | null
  const metadata = { name: 'event', ...event?.metadata, resourceVersion: '1' }
  return { code: method === 'POST' ? 201 : 200, body: { ...event, metadata } }
}

function send({ response }: Watch, type: Change['type'] | 'BOOKMARK', object: object): void {
  response.write(`${JSON.stringify({ type, object })}\n`)
}

function refuseOther(): never {
  throw notServed()
}

function isOf(metadata: Lease['metadata'], namespace: string, name: string | undefined): boolean {
  return metadata.namespace === namespace && (name === undefined || name === metadata.name)
}

function readRequest({ method = '', url = '/' }: IncomingMessage, body: string): ApiRequest {
  const { pathname: path, searchParams: query } = new URL(url, 'http://leases')
  const [leases, namespace = '', name] = LEASES.exec(path) ?? []
  const selected = /^metadata\.name=(.+)$/.exec(query.get('fieldSelector') ?? '')?.[1]
  const reads = query.has('watch') ? 'watch' : 'list'
  const verb = method === 'GET' && name === undefined ? reads : (VERBS[method] ?? 'other')
  return {
    method,
    verb: leases ? verb : 'other',
    path,
    query,
    namespace,
    name: name ?? selected,
    body,
  }
}

/** The Lease in a client's request, without fields that have no value. It isn't validated, unlike by the real server. */
function decode(written: unknown): Lease {
  const { metadata, spec } = written as { metadata: Lease['metadata']; spec?: object }
  const { annotations, ...own } = metadata
  const noted = Object.keys(annotations ?? {}).length === 0 ? own : metadata
  return { metadata: present(noted), spec: present(spec ?? {}) } as Lease
}

function patched({ name = '', body }: ApiRequest, stored: Lease | undefined): Lease {
  if (stored === undefined) throw notFound(LEASE_RESOURCE, name)
  return decode(merged(stored, JSON.parse(body)))
}

/** RFC 7386: `null` removes a field. */
function merged(target: unknown, patch: unknown): unknown {
  if (!isRecord(patch)) return patch
  const result = new Map(isRecord(target) ? Object.entries(target) : [])
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) result.delete(field)
    else result.set(field, merged(result.get(field), value))
  }
  return Object.fromEntries(result)
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function present(fields: object): object {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== null),
  )
}

function successorOf({ metadata: stored }: Lease, { metadata, spec }: Lease): Lease {
  const { name, namespace, uid, creationTimestamp, resourceVersion } = stored
  const own = { name, namespace, uid, creationTimestamp, resourceVersion } as Lease['metadata']
  return { ...TYPE, metadata: { ...metadata, ...own }, spec: spec ?? {} }
}
