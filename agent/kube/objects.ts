import type { Reply } from './connections.ts'
import { nonsense } from './errors.ts'
import { type Call, KubeRequests, type KubeRequestsOptions } from './requests.ts'

/** A kind of namespaced object. */
export interface Kind {
  readonly kind: string
  /** As RBAC names it, e.g. `pods`. */
  readonly resource: string
  /** What its paths begin with, e.g. `/api/v1`. */
  readonly base: string
}

export const POD: Kind = { kind: 'Pod', resource: 'pods', base: '/api/v1' }
export const ENDPOINT_SLICE: Kind = {
  kind: 'EndpointSlice',
  resource: 'endpointslices.discovery.k8s.io',
  base: '/apis/discovery.k8s.io/v1',
}

/** An object as the API server sends it. What is not named here is kept on every update. */
export interface KubeObject {
  readonly metadata: {
    readonly name: string
    readonly uid: string
    readonly resourceVersion: string
    readonly labels?: Readonly<Record<string, string>> | null
    readonly annotations?: Readonly<Record<string, string>> | null
    readonly [field: string]: unknown
  }
  readonly [field: string]: unknown
}

/** A JSON merge patch: `null` removes. */
export interface MergePatch {
  readonly metadata: {
    /** What must still be so: 422 where the UID is another, 409 where the version is. */
    readonly uid: string
    readonly resourceVersion: string
    readonly labels?: Readonly<Record<string, string | null>>
    readonly annotations?: Readonly<Record<string, string | null>>
  }
}

/** Objects of one namespace. Each request has a deadline, in milliseconds; all rejections are `ApiError`. */
export interface ObjectsApi {
  readonly namespace: string
  get(kind: Kind, name: string, deadlineMs: number): Promise<KubeObject>
  list(kind: Kind, labels: Readonly<Record<string, string>>, deadlineMs: number): Promise<KubeObject[]>
  patch(kind: Kind, name: string, patch: MergePatch, deadlineMs: number): Promise<KubeObject>
  /** Compare-and-swap on `metadata.resourceVersion`. */
  update(kind: Kind, object: KubeObject, deadlineMs: number): Promise<KubeObject>
  close(): void
}

/** Objects in a Kubernetes API server, over connections of their own: a renewal never waits for one of these. */
export class KubeObjects implements ObjectsApi {
  readonly namespace: string
  private readonly requests: KubeRequests

  constructor(options: KubeRequestsOptions) {
    this.namespace = options.namespace
    this.requests = new KubeRequests(options, () => {})
  }

  get(kind: Kind, name: string, deadlineMs: number): Promise<KubeObject> {
    return this.one(
      { verb: 'get', about: { ...kind, name }, method: 'GET', path: this.path(kind, name) },
      deadlineMs,
    )
  }

  async list(
    kind: Kind,
    labels: Readonly<Record<string, string>>,
    deadlineMs: number,
  ): Promise<KubeObject[]> {
    const labelSelector = Object.entries(labels)
      .map(([name, value]) => `${name}=${value}`)
      .join(',')
    const path = `${this.path(kind)}?${new URLSearchParams({ labelSelector })}`
    const call: Call = { verb: 'list', about: { ...kind, name: null }, method: 'GET', path }
    const reply = await this.requests.send(call, deadlineMs)
    const { items } = this.parsed(call, reply) as { items?: unknown }
    if (Array.isArray(items) && items.every(isObject)) return items
    throw nonsense(this.requests.target(call), `something that is no list of ${kind.resource}`, reply.status)
  }

  patch(kind: Kind, name: string, patch: MergePatch, deadlineMs: number): Promise<KubeObject> {
    const call = { verb: 'patch', about: { ...kind, name }, method: 'PATCH' } as const
    return this.one({ ...call, path: this.path(kind, name), body: JSON.stringify(patch) }, deadlineMs)
  }

  update(kind: Kind, object: KubeObject, deadlineMs: number): Promise<KubeObject> {
    const { name } = object.metadata
    const call = { verb: 'update', about: { ...kind, name }, method: 'PUT' } as const
    return this.one({ ...call, path: this.path(kind, name), body: JSON.stringify(object) }, deadlineMs)
  }

  close(): void {
    this.requests.close()
  }

  private path({ base, resource }: Kind, name?: string): string {
    const collection = `${base}/namespaces/${encodeURIComponent(this.namespace)}/${resource.split('.', 1)[0]}`
    return name === undefined ? collection : `${collection}/${encodeURIComponent(name)}`
  }

  private async one(call: Call, deadlineMs: number): Promise<KubeObject> {
    const reply = await this.requests.send(call, deadlineMs)
    const value = this.parsed(call, reply)
    if (isObject(value)) return value
    throw nonsense(this.requests.target(call), `something that is no ${call.about.kind}`, reply.status)
  }

  private parsed(call: Call, { status, body }: Reply): object {
    try {
      const value: unknown = JSON.parse(body)
      if (typeof value === 'object' && value !== null) return value
    } catch {
      // Told below.
    }
    throw nonsense(this.requests.target(call), 'something that is no JSON', status)
  }
}

function isObject(value: unknown): value is KubeObject {
  const { metadata } = (value ?? {}) as { metadata?: Partial<KubeObject['metadata']> }
  return typeof metadata?.resourceVersion === 'string' && typeof metadata.name === 'string'
}
