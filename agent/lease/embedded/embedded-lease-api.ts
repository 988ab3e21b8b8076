import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Clock, systemClock, type Timer } from '../../clock.ts'
import type { Lease } from '../lease.ts'
import { decodeLease } from './decode.ts'
import { discover } from './discovery.ts'
import { Faults, type Hit } from './faults.ts'
import { type Answer, answerLeases, statusOf } from './lease-routes.ts'
import { sendFault, sendJson, sendText } from './reply.ts'
import { type ApiRequest, readRequest, selectorOf } from './request.ts'
import { RequestLog } from './request-log.ts'
import { ApiStatus, badRequest, badVersion, unknownPath } from './status.ts'
import { type Change, LeaseStore } from './store.ts'
import { tableOf, wantsTable } from './table.ts'
import { WatchSet } from './watch.ts'

export interface EmbeddedOptions {
  /** Default 127.0.0.1. */
  host?: string
  /** Default 0: a free one. */
  port?: number
  /** Leases that exist from the start; without a namespace they are in `default`. */
  leases?: readonly Lease[]
  clock?: Clock
}

const BODY_LIMIT = 3 * 1024 * 1024
const KEEP_ALIVE_MS = 180_000

/**
 * `coordination.k8s.io/v1` leases over plain HTTP, in memory: a stand-in for kube-apiserver in the demo and in
 * tests, which can fail on purpose. The same cases run against both, see test/lease/conformance.ts.
 *
 * A client may be told apart by a base path: `/clients/NAME/apis/…` is the same API, and faults can mean NAME.
 */
export class EmbeddedLeaseApi {
  readonly faults: Faults
  readonly requests = new RequestLog()
  readonly #clock: Clock
  readonly #store: LeaseStore
  readonly #watches: WatchSet
  readonly #delays = new Set<Timer>()
  readonly #host: string
  readonly #server = createServer((incoming, response) => {
    this.#handle(incoming, response).catch((error) => response.destroy(error))
  })

  constructor(options: EmbeddedOptions) {
    this.#clock = options.clock ?? systemClock
    this.#host = options.host ?? '127.0.0.1'
    this.#store = new LeaseStore(this.#clock, (change) => this.#watches.tell(change))
    this.#watches = new WatchSet(this.#clock, () => this.#store.version)
    this.faults = new Faults(this.#watches, () => this.#store.compact())
    this.#watches.silences = (request) => this.faults.silences(request)
    for (const lease of options.leases ?? []) this.put(lease)
    // Never closed under a client that is about to use it again.
    this.#server.keepAliveTimeout = KEEP_ALIVE_MS
    this.#server.requestTimeout = 0
  }

  /** @internal */
  async listen(port: number): Promise<void> {
    this.#server.listen(port, this.#host)
    await once(this.#server, 'listening')
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return this.urlFor()
  }

  /** The base URL, or the one by which `client` is known. */
  urlFor(client?: string): string {
    const host = this.#host.includes(':') ? `[${this.#host}]` : this.#host
    return `http://${host}:${this.port}${client === undefined ? '' : `/clients/${encodeURIComponent(client)}`}`
  }

  /** A kubeconfig without credentials, as JSON (which is YAML). */
  kubeconfig(client?: string, namespace = 'default'): string {
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'embedded', cluster: { server: this.urlFor(client) } }],
      users: [{ name: client ?? 'anyone', user: {} }],
      contexts: [{ name: 'embedded', context: { cluster: 'embedded', user: client ?? 'anyone', namespace } }],
      'current-context': 'embedded',
    }
    return `${JSON.stringify(config, null, 2)}\n`
  }

  leases(): Lease[] {
    return this.#store.list()
  }

  lease(name: string, namespace = 'default'): Lease | undefined {
    return this.#store.find(namespace, name)
  }

  /** Writes a Lease whatever was there, as someone with `kubectl edit` does. Throws what a client would be told. */
  put(lease: Lease): Lease {
    const decoded = decodeLease(lease as unknown as Record<string, unknown>)
    return this.#store.put(lease.metadata.namespace ?? 'default', decoded)
  }

  delete(name: string, namespace = 'default'): Lease {
    return this.#store.delete(namespace, name)
  }

  /** Ends every connection at once, also those that hang. */
  async close(): Promise<void> {
    for (const timer of this.#delays) timer.cancel()
    const closed = new Promise((resolve) => this.#server.close(resolve))
    this.#server.closeAllConnections()
    await closed
  }

  async #handle(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const request = readRequest(incoming)
    const entry = this.requests.add(request, this.#clock.mono())
    response.on('finish', () => this.requests.answered(entry, response.statusCode))
    const hits = this.faults.take(request)
    const body = await readBody(incoming)
    if (!(await this.#before(hits, request, response))) return
    if (request.verb === 'watch') {
      this.#watch(request, response)
      if (response.headersSent) this.requests.answered(entry, response.statusCode)
      return
    }
    const answer = this.#answer(request, body)
    if (!(await this.#after(hits, request, response))) return
    if (answer instanceof ApiStatus) sendJson(response, answer.code, answer.body())
    else if (typeof answer.body === 'string') sendText(response, answer.code, answer.body)
    else sendJson(response, answer.code, this.#shape(request, answer.body))
  }

  /** False: the request ends here, and nothing was committed. */
  async #before(hits: readonly Hit[], request: ApiRequest, response: ServerResponse): Promise<boolean> {
    for (const { fault, removed } of hits) {
      if (fault.kind === 'delay-before') await this.#delay(fault.ms)
      if (fault.kind === 'hang') {
        await removed
        if (response.destroyed) return false
      }
      if (fault.kind === 'refuse') {
        response.socket?.destroy()
        return false
      }
      if (fault.kind === 'status') {
        sendFault(response, request, fault.code, fault.retryAfterSeconds)
        return false
      }
    }
    return true
  }

  /** False: the answer is not to be sent any more. */
  async #after(hits: readonly Hit[], request: ApiRequest, response: ServerResponse): Promise<boolean> {
    for (const { fault } of hits) {
      if (fault.kind === 'delay-after') await this.#delay(fault.ms)
      if (fault.kind === 'drop-reply') {
        response.socket?.destroy()
        return false
      }
      if (fault.kind === 'status-after-commit') {
        sendFault(response, request, fault.code, fault.retryAfterSeconds)
        return false
      }
    }
    return true
  }

  #answer(request: ApiRequest, body: string): Answer | ApiStatus {
    try {
      if (request.target) return answerLeases(this.#store, request, body)
      const found = discover(request)
      if (found) return { code: 200, body: 'text' in found ? found.text : found.json }
      if (request.path.startsWith('/apis/coordination.k8s.io/v1/')) throw unknownPath()
      return { code: 404, body: '404 page not found\n' }
    } catch (error) {
      return statusOf(error)
    }
  }

  #watch(request: ApiRequest, response: ServerResponse): void {
    try {
      const selects = selectorOf(request)
      const timeoutMs = timeoutOf(request)
      const asked = request.query.get('resourceVersion') ?? ''
      if (!/^\d*$/.test(asked)) throw badVersion(asked)
      const fromNow = asked === '' || BigInt(asked) === 0n
      response.writeHead(200, { 'cache-control': 'no-cache, private', 'content-type': 'application/json' })
      response.flushHeaders()
      const shape = (lease: Lease) => this.#shape(request, lease)
      const watch = this.#watches.open({ request, response, selects, shape, timeoutMs })
      try {
        const changes = fromNow ? this.#present() : this.#store.since(BigInt(asked))
        for (const change of changes) watch.change(change)
        if (fromNow && watch.wantsBookmarks) watch.bookmark(true)
      } catch (error) {
        watch.expire(statusOf(error))
      }
    } catch (error) {
      const status = statusOf(error)
      sendJson(response, status.code, status.body())
    }
  }

  #present(): Change[] {
    return this.#store.list().map((lease) => ({ type: 'ADDED', version: 0n, lease }))
  }

  #shape(request: ApiRequest, body: unknown): unknown {
    if (!wantsTable(request.accept)) return body
    const { kind, metadata } = body as Lease
    const version = metadata?.resourceVersion
    if (kind === 'Lease') return tableOf([body as Lease], version, this.#clock)
    return kind === 'LeaseList' ? tableOf((body as { items: Lease[] }).items, version, this.#clock) : body
  }

  #delay(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.after(ms, () => {
        this.#delays.delete(timer)
        resolve()
      })
      this.#delays.add(timer)
    })
  }
}

/** Milliseconds; `undefined` where the watch names none. Throws 400. */
function timeoutOf(request: ApiRequest): number | undefined {
  const text = request.query.get('timeoutSeconds')
  if (text === null || text === '0') return undefined
  if (!/^-?\d+$/.test(text))
    throw badRequest(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`)
  return Math.max(0, Number(text)) * 1000
}

async function readBody(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of incoming) {
    size += chunk.length
    if (size > BODY_LIMIT) throw new Error('the request body is larger than 3 MiB')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** Starts the API on one port. */
export async function startEmbeddedLeaseApi(options: EmbeddedOptions = {}): Promise<EmbeddedLeaseApi> {
  const api = new EmbeddedLeaseApi(options)
  await api.listen(options.port ?? 0)
  return api
}
