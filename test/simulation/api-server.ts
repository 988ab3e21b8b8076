import type { ApiErrorCode } from '../../agent/kube/kube-errors.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import type { WatchEvent } from '../../agent/lease/lease-api.ts'
import type { Timeline } from './timeline.ts'

export type Reply = { lease: Lease | null } | { error: ApiErrorCode }

/** One watch as the server sees it. */
export interface Watcher {
  push(event: WatchEvent): void
  /** Without a code: the server ends it in order. */
  end(code?: ApiErrorCode): void
}

export interface Commit {
  readonly before: Lease | null
  readonly after: Lease | null
  /** The instance that wrote, or `null`: a person. */
  readonly writer: string | null
}

/** The API server with its one Lease: resource versions, compare-and-swap, watches. */
export class ApiServer {
  private readonly timeline: Timeline
  private readonly committed: (commit: Commit) => void
  private version = 100
  private history: { version: number; event: WatchEvent }[] = []
  private compactedTo = 0
  private readonly watchers = new Set<Watcher>()
  private waiting: (() => void)[] = []
  lease: Lease | null = null
  up = true
  hangs = false

  constructor(timeline: Timeline, committed: (commit: Commit) => void) {
    this.timeline = timeline
    this.committed = committed
  }

  /** Takes a request in once the server does its work; `refused` where nobody listens. */
  receive(handle: () => void, refused: () => void): void {
    if (!this.up) refused()
    else if (this.hangs) this.waiting.push(handle)
    else handle()
  }

  read(): Reply {
    return { lease: this.lease }
  }

  update(lease: Lease, writer: string): Reply {
    if (this.lease === null) return { error: 'not_found' }
    if (lease.metadata.resourceVersion !== this.lease.metadata.resourceVersion) return { error: 'conflict' }
    return this.commit({ ...lease, metadata: { ...this.lease.metadata, ...lease.metadata } }, writer)
  }

  /** A dry run. */
  rehearse(lease: Lease | null): Reply {
    if (lease?.metadata.resourceVersion !== this.lease?.metadata.resourceVersion) return { error: 'conflict' }
    return { lease: null }
  }

  create(lease: Lease, writer: string | null): Reply {
    if (this.lease !== null) return { error: 'already_exists' }
    const metadata = { ...lease.metadata, name: 'lock', namespace: 'ns', uid: `uid-${this.version}` }
    return this.commit({ ...lease, metadata }, writer)
  }

  /** What a person does with kubectl. */
  edit(change: (lease: Lease) => Lease): void {
    if (this.lease !== null) this.commit(change(this.lease), null)
  }

  delete(): void {
    if (this.lease === null) return
    const before = this.lease
    this.lease = null
    this.publish({ type: 'deleted', resourceVersion: String(++this.version) })
    this.committed({ before, after: null, writer: null })
  }

  /** `kubectl apply -f deploy/base/lease.yaml` */
  apply(): void {
    this.create({ metadata: {}, spec: {} }, null)
  }

  /** Sends what is newer than `from` and goes on from there. */
  watch(from: string | undefined, watcher: Watcher): ApiErrorCode | null {
    if (from === undefined) {
      if (this.lease !== null) watcher.push({ type: 'changed', object: this.lease })
    } else {
      if (Number(from) < this.compactedTo) return 'gone'
      for (const { version, event } of this.history) if (version > Number(from)) watcher.push(event)
    }
    this.watchers.add(watcher)
    return null
  }

  unwatch(watcher: Watcher): void {
    this.watchers.delete(watcher)
  }

  /** Watches end; those that come back with an old version must read. */
  compact(): void {
    this.compactedTo = this.version
    this.history = []
    this.endWatches('gone')
  }

  endWatches(code?: ApiErrorCode): void {
    for (const watcher of [...this.watchers]) watcher.end(code)
    this.watchers.clear()
  }

  stop(): void {
    this.up = false
    this.waiting = []
    this.endWatches('network')
  }

  start(): void {
    this.up = true
    this.resume()
  }

  /** What waited is handled now, also what nobody waits for any more. */
  resume(): void {
    this.hangs = false
    for (const handle of this.waiting.splice(0)) this.timeline.in(0, handle)
  }

  private commit(lease: Lease, writer: string | null): Reply {
    const { leaseTransitions = 0 } = lease.spec ?? {}
    // It is an int32.
    if ((Number(leaseTransitions) | 0) !== Number(leaseTransitions)) return { error: 'invalid' }
    const before = this.lease
    const resourceVersion = String(++this.version)
    this.lease = { ...lease, metadata: { ...lease.metadata, resourceVersion } }
    this.publish({ type: 'changed', object: this.lease })
    this.committed({ before, after: this.lease, writer })
    return { lease: this.lease }
  }

  private publish(event: WatchEvent): void {
    this.history.push({ version: this.version, event })
    for (const watcher of [...this.watchers]) watcher.push(event)
  }
}
