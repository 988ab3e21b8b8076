import type { Clock } from '../clock.ts'
import type { Reply } from '../kube/connections.ts'
import { ApiError, lateness, nonsense, type Subject } from '../kube/errors.ts'
import { type Call, KubeRequests, type KubeRequestsOptions, type Stream } from '../kube/requests.ts'
import { cutShort, garbled, LineReader, parseWatchLine } from '../kube/watch-stream.ts'
import { hedged, lookedAfter } from './hedge.ts'
import type { Lease } from './lease.ts'
import type { LeaseApi, OpenWatch, WatchHandlers } from './lease-api.ts'

/** Seconds. As in client-go's reflector a random time from here to its double, so that not all watches end at once. */
const LEAST_WATCH_SECONDS = 300

export interface KubeLeaseApiOptions extends KubeRequestsOptions {
  readonly name: string
}

/** One Lease in a Kubernetes API server. */
export class KubeLeaseApi implements LeaseApi {
  private readonly namespace: string
  private readonly name: string
  private readonly clock: Clock
  private readonly collection: string
  private readonly object: string
  private readonly about: Subject
  private readonly requests: KubeRequests
  private readonly watches = new Set<{ close(): void; reopen(): void }>()

  constructor(options: KubeLeaseApiOptions) {
    this.namespace = options.namespace
    this.name = options.name
    this.clock = options.clock
    this.collection = `/apis/coordination.k8s.io/v1/namespaces/${encodeURIComponent(this.namespace)}/leases`
    this.object = `${this.collection}/${encodeURIComponent(this.name)}`
    this.about = { kind: 'Lease', resource: 'leases.coordination.k8s.io', name: this.name }
    // What was opened under the old CA ends in order, and whoever watches opens it again under the new one.
    this.requests = new KubeRequests(options, () => {
      for (const watch of this.watches) watch.reopen()
    })
  }

  read(deadlineMs: number): Promise<Lease | null> {
    return hedged(this.clock, deadlineMs, (leftMs) => this.readOnce(leftMs))
  }

  async update(lease: Lease, deadlineMs: number, seen: (lease: Lease) => void = () => {}): Promise<Lease> {
    const call = this.updating(lease)
    const answer = this.requests.send(call, deadlineMs).then((reply) => this.leaseIn(call, reply))
    return lookedAfter(this.clock, {
      lease,
      answer,
      deadlineMs,
      read: (ms) => this.read(ms),
      seen,
      late: (afterMs) => lateness(this.requests.target(call), afterMs, true),
    })
  }

  async create(lease: Lease, deadlineMs: number): Promise<Lease> {
    const call = this.creating(lease)
    return this.leaseIn(call, await this.requests.send(call, deadlineMs))
  }

  async rehearse(lease: Lease | null, deadlineMs: number): Promise<void> {
    const { body, path, ...call } =
      lease === null ? this.creating({ metadata: {}, spec: {} }) : this.updating(lease)
    await this.requests.send({ ...call, body, path: `${path}?dryRun=All` }, deadlineMs)
  }

  async watch(
    resourceVersion: string | undefined,
    handlers: WatchHandlers,
    deadlineMs: number,
  ): Promise<OpenWatch> {
    const query = new URLSearchParams({
      watch: '1',
      fieldSelector: `metadata.name=${this.name}`,
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(Math.round(LEAST_WATCH_SECONDS * (1 + Math.random()))),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    })
    const call: Call = {
      verb: 'watch',
      about: this.about,
      method: 'GET',
      path: `${this.collection}?${query}`,
    }
    const lines = new LineReader()
    let stream: Stream | undefined
    let over = false

    const end = (error?: ApiError) => {
      if (over) return
      over = true
      this.watches.delete(watch)
      stream?.cut()
      handlers.ended(error)
    }
    const watch = {
      reopen: () => end(),
      close: () => {
        over = true
        this.watches.delete(watch)
        stream?.cut()
      },
    }
    const data = (chunk: Buffer) => {
      const complete = lines.push(chunk)
      for (const line of complete ?? []) {
        if (over) return
        const event = parseWatchLine(line, this.requests.target(call))
        if (event instanceof ApiError) end(event)
        else if (event.type === 'changed')
          handlers.event({ type: 'changed', lease: event.object as unknown as Lease })
        else handlers.event(event)
      }
      if (complete === null) end(garbled(this.requests.target(call)))
    }

    stream = await this.requests.stream(call, unguarded(data), deadlineMs)
    if (over) stream.cut()
    else this.watches.add(watch)
    stream.ended.then(
      () => end(lines.complete ? undefined : cutShort(this.requests.target(call))),
      (error: ApiError) => end(error),
    )
    return watch
  }

  close(): void {
    for (const watch of this.watches) watch.close()
    this.requests.close()
  }

  private async readOnce(deadlineMs: number): Promise<Lease | null> {
    const call: Call = { verb: 'get', about: this.about, method: 'GET', path: this.object }
    try {
      return this.leaseIn(call, await this.requests.send(call, deadlineMs, 'a new connection'))
    } catch (error) {
      if (error instanceof ApiError && error.code === 'not_found') return null
      throw error
    }
  }

  private updating(lease: Lease) {
    // Without a version the API server overwrites whatever is there.
    if (!lease.metadata.resourceVersion) throw new ApiError('invalid', 'an update needs a resourceVersion')
    const body = this.bodyOf(lease, lease.metadata)
    return { verb: 'update', about: this.about, method: 'PUT', path: this.object, body } satisfies Call
  }

  private creating(lease: Lease) {
    // What the API server gives to an object is refused, or misleading, in one that does not exist yet.
    const {
      resourceVersion: _v,
      uid: _u,
      creationTimestamp: _t,
      managedFields: _f,
      ...metadata
    } = lease.metadata
    const body = this.bodyOf(lease, metadata)
    return { verb: 'create', about: this.about, method: 'POST', path: this.collection, body } satisfies Call
  }

  private bodyOf(lease: Lease, metadata: Lease['metadata']): string {
    return JSON.stringify({
      ...lease,
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { ...metadata, name: this.name, namespace: this.namespace },
    })
  }

  private leaseIn(call: Call, { status, body }: Reply): Lease {
    let value: { metadata?: { resourceVersion?: unknown } } | null
    try {
      value = JSON.parse(body)
    } catch {
      throw nonsense(this.requests.target(call), 'something that is no JSON', status)
    }
    if (typeof value?.metadata?.resourceVersion === 'string') return value as Lease
    throw nonsense(this.requests.target(call), 'something that is no Lease', status)
  }
}

/** The HTTP client takes an exception in its data handler for a broken stream; a defect of ours must not hide there. */
function unguarded(data: (chunk: Buffer) => void): (chunk: Buffer) => void {
  return (chunk) => {
    try {
      data(chunk)
    } catch (defect) {
      queueMicrotask(() => {
        throw defect
      })
    }
  }
}
