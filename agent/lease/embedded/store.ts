import { randomBytes, randomUUID } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '../../clock.ts'
import type { Lease } from '../lease.ts'
import { validateLease } from './decode.ts'
import {
  ApiStatus,
  alreadyExists,
  badVersion,
  conflict,
  expired,
  invalid,
  notFound,
  wrongUid,
} from './status.ts'

export interface Change {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'
  readonly version: bigint
  readonly lease: Lease
}

/**
 * Leases with etcd's one counter over all objects: every change takes the next resourceVersion. Objects are never
 * altered once stored, so they may be handed out as they are.
 *
 * Every namespace exists. There are no finalizers, no managedFields and no access control.
 */
export class LeaseStore {
  readonly #clock: Clock
  readonly #historyLimit: number
  readonly #changed: (change: Change) => void
  readonly #leases = new Map<string, Lease>()
  #history: Change[] = []
  #version = 1n
  /** A watch from before this version cannot be served any more. */
  #oldest = 1n
  #dry = false

  constructor(clock: Clock, changed: (change: Change) => void, historyLimit = 1000) {
    this.#clock = clock
    this.#changed = changed
    this.#historyLimit = historyLimit
  }

  get version(): bigint {
    return this.#version
  }

  /** What `work` does is answered as if it had been done. */
  dryRun<T>(work: () => T): T {
    this.#dry = true
    try {
      return work()
    } finally {
      this.#dry = false
    }
  }

  list(matches: (lease: Lease) => boolean = () => true): Lease[] {
    const keys = [...this.#leases.keys()].sort()
    return keys.map((key) => this.#leases.get(key)!).filter(matches)
  }

  find(namespace: string, name: string): Lease | undefined {
    return this.#leases.get(`${namespace}/${name}`)
  }

  get(namespace: string, name: string): Lease {
    const lease = this.find(namespace, name)
    if (!lease) throw notFound(name)
    return lease
  }

  create(namespace: string, lease: Lease): Lease {
    const { generateName } = lease.metadata
    const name =
      lease.metadata.name || (generateName ? `${generateName}${randomBytes(3).toString('hex').slice(1)}` : '')
    const { resourceVersion, ...metadata } = lease.metadata
    if (resourceVersion) throw versionOnCreate()
    const created = this.#stamp({ ...lease, metadata: { ...metadata, namespace, name } })
    validateLease(created)
    if (this.find(namespace, name)) throw alreadyExists(name)
    return this.#commit('ADDED', created)
  }

  /**
   * Compare-and-swap. As on the real server, a Lease that does not exist is created, whatever resourceVersion the
   * update names, unless it names a uid as well: only the uid makes a conflict of it. An update that changes
   * nothing keeps the version and tells no watch.
   */
  update(namespace: string, name: string, lease: Lease): { lease: Lease; created: boolean } {
    const { uid, resourceVersion, ...metadata } = lease.metadata
    const stored = this.find(namespace, name)
    if (uid && uid !== stored?.metadata.uid) throw wrongUid(namespace, name, uid, stored?.metadata.uid ?? '')
    if (!stored) return { lease: this.create(namespace, { ...lease, metadata }), created: true }
    if (!resourceVersion || resourceVersion === '0') throw invalid(name, [MUST_BE_SPECIFIED], 'leases')
    if (!/^\d+$/.test(resourceVersion)) throw badVersion(resourceVersion)
    if (resourceVersion !== stored.metadata.resourceVersion) throw conflict(name)
    return { lease: this.#replace(stored, lease), created: false }
  }

  /** Writes `lease` over whatever there is; for tests and for the seed, not for clients. */
  put(namespace: string, lease: Lease): Lease {
    const stored = this.find(namespace, lease.metadata.name ?? '')
    const { resourceVersion: _, ...metadata } = lease.metadata
    return stored ? this.#replace(stored, lease) : this.create(namespace, { ...lease, metadata })
  }

  delete(
    namespace: string,
    name: string,
    preconditions: { uid?: string; resourceVersion?: string } = {},
  ): Lease {
    const stored = this.get(namespace, name)
    const { uid, resourceVersion } = stored.metadata
    if (preconditions.uid !== undefined && preconditions.uid !== uid)
      throw conflict(
        name,
        `the UID in the precondition (${preconditions.uid}) does not match the UID in record (${uid})`,
      )
    if (preconditions.resourceVersion !== undefined && preconditions.resourceVersion !== resourceVersion)
      throw conflict(
        name,
        `the ResourceVersion in the precondition (${preconditions.resourceVersion}) does not match the ResourceVersion in record (${resourceVersion})`,
      )
    return this.#commit('DELETED', stored)
  }

  /** What happened after `version`, in order. Throws 410 where that is no longer known. */
  since(version: bigint): Change[] {
    if (version < this.#oldest) throw expired(version, this.#oldest)
    return this.#history.filter((change) => change.version > version)
  }

  /** Forgets the history: a watch from before now gets 410. */
  compact(): void {
    this.#history = []
    this.#oldest = this.#version
  }

  #replace(stored: Lease, lease: Lease): Lease {
    const { name, namespace, uid, creationTimestamp, resourceVersion } = stored.metadata
    const metadata = {
      ...lease.metadata,
      name,
      namespace,
      uid,
      creationTimestamp,
      resourceVersion,
    } as Lease['metadata']
    const next: Lease = {
      kind: 'Lease',
      apiVersion: 'coordination.k8s.io/v1',
      metadata,
      spec: lease.spec ?? {},
    }
    validateLease(next)
    return isDeepStrictEqual(next, stored) ? stored : this.#commit('MODIFIED', next)
  }

  #stamp(lease: Lease): Lease {
    const creationTimestamp = `${new Date(this.#clock.now().wall).toISOString().slice(0, 19)}Z`
    const metadata = { ...lease.metadata, uid: randomUUID(), creationTimestamp } as Lease['metadata']
    return { kind: 'Lease', apiVersion: 'coordination.k8s.io/v1', metadata, spec: lease.spec ?? {} }
  }

  #commit(type: Change['type'], lease: Lease): Lease {
    if (this.#dry) return lease
    this.#version += 1n
    const stored = { ...lease, metadata: { ...lease.metadata, resourceVersion: `${this.#version}` } }
    const key = `${stored.metadata.namespace}/${stored.metadata.name}`
    if (type === 'DELETED') this.#leases.delete(key)
    else this.#leases.set(key, stored)
    const change = { type, version: this.#version, lease: stored }
    this.#history.push(change)
    if (this.#history.length > this.#historyLimit) this.#oldest = this.#history.shift()!.version
    this.#changed(change)
    return stored
  }
}

const MUST_BE_SPECIFIED = {
  field: 'metadata.resourceVersion',
  message: 'Invalid value: 0: must be specified for an update',
}

const versionOnCreate = () =>
  new ApiStatus(500, undefined, 'resourceVersion should not be set on objects to be created')
