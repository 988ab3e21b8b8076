import type { ApiErrorCode } from '../../agent/kube/kube-errors.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import type { WatchEvent } from '../../agent/lease/lease-api.ts'
import type { Timeline } from './timeline.ts'

export type Reply = { lease: Lease | null } | { error: ApiErrorCode }

export interface Watcher {
  push(event: WatchEvent): void
  /** Ends the watch, with an error if there is a code. */
  end(code?: ApiErrorCode): void
}

export interface Commit {
  readonly before: Lease | null
  readonly after: Lease | null
  /** The instance that wrote. `null`: a person did. */
  readonly writer: string | null
}

/** The model of the API server with one Lease, resource versions, compare-and-swap and watches. */
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

  /** Handles a request when the server works. If it is down, calls `refused`. */
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

  rehearse(lease: Lease | null): Reply {
    if (lease?.metadata.resourceVersion !== this.lease?.metadata.resourceVersion) return { error: 'conflict' }
    return { lease: null }
  }

  create(lease: Lease, writer: string | null): Reply {
    if (this.lease !== null) return { error: 'already_exists' }
    const metadata = { ...lease.metadata, name: 'lock', namespace: 'ns', uid: `uid-${this.version}` }
    return this.commit({ ...lease, metadata }, writer)
  }

  /** A person edits the Lease with kubectl. */
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

  /** A person runs `kubectl apply -f deploy/langflow.yaml`. */
  apply(): void {
    this.create({ metadata: {}, spec: {} }, null)
  }

  /** Sends all events after `from`, and then each new one. */
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

  /** Compacts the history and ends all watches. A new watch from an old version gets 410. */
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

  /** Handles the requests that waited, including those whose sender has given up. */
  resume(): void {
    this.hangs = false
    for (const handle of this.waiting.splice(0)) this.timeline.in(0, handle)
  }

  private commit(lease: Lease, writer: string | null): Reply {
    const { leaseTransitions = 0 } = lease.spec ?? {}
    // leaseTransitions is an int32.
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
