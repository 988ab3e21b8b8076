import type { Clock } from '../clock.ts'
import { ApiError, lateness } from '../kube/errors.ts'
import { type Kind, KubeObjects, type WrittenObject } from '../kube/objects.ts'
import type { KubeRequestsOptions } from '../kube/requests.ts'
import { hedged, lookedAfter } from './hedge.ts'
import type { Lease } from './lease.ts'
import type { LeaseApi, OpenWatch, WatchHandlers } from './lease-api.ts'

const LEASE: Kind = {
  kind: 'Lease',
  resource: 'leases.coordination.k8s.io',
  base: '/apis/coordination.k8s.io/v1',
}

export interface KubeLeaseApiOptions extends KubeRequestsOptions {
  readonly name: string
}

/** One Lease in a Kubernetes API server. */
export class KubeLeaseApi implements LeaseApi {
  private readonly name: string
  private readonly clock: Clock
  private readonly objects: KubeObjects

  constructor(options: KubeLeaseApiOptions) {
    this.name = options.name
    this.clock = options.clock
    this.objects = new KubeObjects(options)
  }

  read(deadlineMs: number): Promise<Lease | null> {
    return hedged(this.clock, deadlineMs, (leftMs) => this.readOnce(leftMs))
  }

  async update(lease: Lease, deadlineMs: number, seen: (lease: Lease) => void = () => {}): Promise<Lease> {
    return lookedAfter(this.clock, {
      lease,
      answer: this.objects.update(LEASE, this.updated(lease), deadlineMs).then(asLease),
      deadlineMs,
      read: (ms) => this.read(ms),
      seen,
      late: (afterMs) => lateness(this.objects.target('update', LEASE, this.name), afterMs, true),
    })
  }

  async create(lease: Lease, deadlineMs: number): Promise<Lease> {
    return asLease(await this.objects.create(LEASE, this.created(lease), deadlineMs))
  }

  async rehearse(lease: Lease | null, deadlineMs: number): Promise<void> {
    if (lease !== null) return this.objects.rehearse('update', LEASE, this.updated(lease), deadlineMs)
    return this.objects.rehearse('create', LEASE, this.created({ metadata: {}, spec: {} }), deadlineMs)
  }

  watch(
    resourceVersion: string | undefined,
    handlers: WatchHandlers,
    deadlineMs: number,
  ): Promise<OpenWatch> {
    return this.objects.watch(
      LEASE,
      this.name,
      resourceVersion,
      {
        event: (event) =>
          handlers.event(
            event.type === 'changed' ? { type: 'changed', lease: asLease(event.object) } : event,
          ),
        ended: (error) => handlers.ended(error),
      },
      deadlineMs,
    )
  }

  close(): void {
    this.objects.close()
  }

  private async readOnce(deadlineMs: number): Promise<Lease | null> {
    try {
      return asLease(await this.objects.get(LEASE, this.name, deadlineMs, 'a new connection'))
    } catch (error) {
      if (error instanceof ApiError && error.code === 'not_found') return null
      throw error
    }
  }

  private updated(lease: Lease): WrittenObject {
    // Without a version the API server overwrites whatever is there.
    if (!lease.metadata.resourceVersion) throw new ApiError('invalid', 'an update needs a resourceVersion')
    return this.named(lease, lease.metadata)
  }

  private created(lease: Lease): WrittenObject {
    // What the API server gives to an object is refused, or misleading, in one that does not exist yet.
    const {
      resourceVersion: _v,
      uid: _u,
      creationTimestamp: _t,
      managedFields: _f,
      ...metadata
    } = lease.metadata
    return this.named(lease, metadata)
  }

  private named(lease: Lease, metadata: Lease['metadata']): WrittenObject {
    return {
      ...lease,
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { ...metadata, name: this.name, namespace: this.objects.namespace },
    }
  }
}

function asLease(object: object): Lease {
  return object as Lease
}
