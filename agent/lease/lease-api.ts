import type { Clock } from '../clock.ts'
import { findAccess, type KubeAccessOptions } from '../kube/kube-access.ts'
import { ApiError, type Kind, timeoutError } from '../kube/kube-errors.ts'
import type { ObjectEvent, ObjectWatch, ObjectWatchHandlers, WrittenObject } from '../kube/kube-objects.ts'
import { KubeObjects } from '../kube/kube-objects.ts'
import type { KubeRequestsOptions } from '../kube/kube-requests.ts'
import { type Lease, sameRecord } from './lease.ts'

/** Parts of a read's deadline after which another attempt starts. */
const FURTHER_ATTEMPTS = [1 / 4, 1 / 2]
/** The part of an update's deadline before the verifying read, and the part for that read. */
const LOOK_PART = 0.4

export const LEASE: Kind = {
  kind: 'Lease',
  resource: 'leases.coordination.k8s.io',
  base: '/apis/coordination.k8s.io/v1',
}

export type WatchEvent = ObjectEvent<Lease>
export type WatchHandlers = ObjectWatchHandlers<Lease>
export type OpenWatch = Pick<ObjectWatch, 'close'>

export type LeaseApi = Pick<KubeLeaseApi, keyof KubeLeaseApi>

/** One Lease. After a request's deadline, its promise rejects with code `timeout`. All rejections are `ApiError`. */
export class KubeLeaseApi {
  private readonly name: string
  private readonly clock: Clock
  private readonly objects: KubeObjects

  constructor(options: KubeRequestsOptions & { readonly name: string }) {
    this.name = options.name
    this.clock = options.clock
    this.objects = new KubeObjects(options)
  }

  /** A consistent (quorum) read over new connections, so it shows whether any way to an API server works. */
  read(deadlineMs: number): Promise<Lease | null> {
    return hedged(this.clock, deadlineMs, async (leftMs) => {
      try {
        return asLease(await this.objects.get(LEASE, this.name, leftMs, 'a new connection'))
      } catch (error) {
        if (error instanceof ApiError && error.code === 'not_found') return null
        throw error
      }
    })
  }

  /** Compare-and-swap on `lease.metadata.resourceVersion`. For `seen`, see `Update`. */
  async update(lease: Lease, deadlineMs: number, seen: (lease: Lease) => void = () => {}): Promise<Lease> {
    return verifiedUpdate(this.clock, {
      lease,
      answer: this.objects.write('update', LEASE, this.updated(lease), deadlineMs).then(asLease),
      deadlineMs,
      read: (ms) => this.read(ms),
      seen,
      late: (afterMs) => timeoutError(this.objects.call('update', LEASE, this.name), afterMs, true),
    })
  }

  /** @param lease without the fields that the API server sets */
  async create(lease: Lease, deadlineMs: number): Promise<Lease> {
    return asLease(await this.objects.write('create', LEASE, this.named(lease), deadlineMs))
  }

  /** A dry run of an update of this Lease, or of its creation. Rejects as the write itself would. */
  async rehearse(lease: Lease | null, deadlineMs: number): Promise<void> {
    if (lease !== null) return this.objects.rehearse('update', LEASE, this.updated(lease), deadlineMs)
    return this.objects.rehearse('create', LEASE, this.named({ metadata: {}, spec: {} }), deadlineMs)
  }

  watch(
    resourceVersion: string | undefined,
    handlers: WatchHandlers,
    deadlineMs: number,
  ): Promise<OpenWatch> {
    return this.objects.watch(LEASE, this.name, resourceVersion, handlers, deadlineMs)
  }

  close(): void {
    this.objects.close()
  }

  private updated(lease: Lease): WrittenObject {
    // Without a version, the API server would overwrite any state of the object.
    if (!lease.metadata.resourceVersion) throw new ApiError('invalid', 'an update needs a resourceVersion')
    return this.named(lease)
  }

  private named(lease: Lease): WrittenObject {
    return {
      ...lease,
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { ...lease.metadata, name: this.name, namespace: this.objects.namespace },
    }
  }
}

function asLease(object: object): Lease {
  return object as Lease
}

/** The first answer of up to three attempts. Rejects with the server's refusal, or with the first attempt's failure. */
export function hedged<T>(
  clock: Clock,
  deadlineMs: number,
  attempt: (deadlineMs: number) => Promise<T>,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  const failures: unknown[] = []
  let running = 0
  const begin = (index: number, leftMs: number) => {
    running++
    attempt(leftMs).then(resolve, (failure: unknown) => {
      running--
      failures[index] = failure
      const refused = failure instanceof ApiError && failure.status !== undefined
      if (refused || running === 0) reject(refused ? failure : failures.find(Boolean))
    })
  }
  const timers = FURTHER_ATTEMPTS.map((part, n) =>
    clock.after(part * deadlineMs, () => begin(n + 1, (1 - part) * deadlineMs)),
  )
  begin(0, deadlineMs)
  return promise.finally(() => {
    for (const timer of timers) timer.cancel()
  })
}

interface Update {
  readonly lease: Lease
  readonly answer: Promise<Lease>
  readonly deadlineMs: number
  read(deadlineMs: number): Promise<Lease | null>
  /** The error for an update that was not applied `afterMs` after it was sent, and may still be. */
  late(afterMs: number): ApiError
  /** Takes a Lease that does not decide the outcome: from the read, or from an answer that arrives after it. */
  seen(lease: Lease): void
}

/**
 * The connection of an update without an answer may be dead. A read over a new one shows the outcome, and this one
 * serves the next update. The update itself continues until its own deadline: a slow server may still apply it.
 */
export function verifiedUpdate(clock: Clock, update: Update): Promise<Lease> {
  const { lease, answer, deadlineMs, read, late, seen } = update
  const { promise, resolve, reject } = Promise.withResolvers<Lease>()
  let settled = false
  const look = async () => {
    const present = await read(LOOK_PART * deadlineMs).catch(() => undefined)
    if (present === undefined) return
    if (settled) {
      // The answer was faster, and the read may be newer.
      if (present !== null) seen(present)
      return
    }
    settled = true
    if (present?.metadata.resourceVersion === lease.metadata.resourceVersion)
      reject(late(LOOK_PART * deadlineMs))
    else if (present !== null && sameRecord(present, lease)) resolve(present)
    else {
      if (present !== null) seen(present)
      reject(new ApiError('conflict', 'the Lease has changed since it was read'))
    }
  }
  const timer = clock.after(LOOK_PART * deadlineMs, () => void look())
  answer
    .then((written) => (settled ? seen(written) : resolve(written)), reject)
    .finally(() => {
      settled = true
      timer.cancel()
    })
  return promise
}

export interface LeaseConnectionOptions
  extends KubeAccessOptions,
    Pick<KubeRequestsOptions, 'clock' | 'userAgent' | 'onRequest'> {
  readonly name: string
  readonly namespace?: string | undefined
}

/** Finds the API server and the credentials, without sending a request yet. Rejects with `KubeConfigError`. */
export async function connectLeaseApi(options: LeaseConnectionOptions) {
  const access = await findAccess(options)
  const namespace = options.namespace ?? access.namespace ?? 'default'
  const { name, clock, userAgent, onRequest } = options
  const common = { access, clock, userAgent, onRequest }
  return {
    api: new KubeLeaseApi({ ...common, namespace, name }),
    namespace,
    /** In this pod's own namespace. The caller closes them. */
    podObjects: () => new KubeObjects({ ...common, namespace: access.namespace ?? namespace }),
    server: access.server.origin + access.server.pathname,
    source: access.source,
  }
}
