import { JsonLines } from '../json-lines.ts'
import type { ApiTarget, Kind, Verb } from './kube-errors.ts'
import { ApiError, parseStatus, refusedRequest, unexpectedReply } from './kube-errors.ts'
import type { Call, KubeRequestsOptions, Over, Stream } from './kube-requests.ts'
import { basePath, KubeRequests } from './kube-requests.ts'

/** Each watch lasts a random time from here to its double, so that not all watches end at the same time. */
const LEAST_WATCH_SECONDS = 300

/** In characters, far above any watched object. A longer line is not an event. */
const LONGEST_LINE = 4 * 1024 * 1024

export const POD: Kind = { kind: 'Pod', resource: 'pods', base: '/api/v1' }
export const NAMESPACE: Kind = { ...POD, kind: 'Namespace', resource: 'namespaces', isClusterWide: true }

/** An object as the API server sends it. Other fields are kept on every update. */
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

type WriteVerb = 'create' | 'update' | 'patch'

export interface WrittenObject {
  readonly metadata: { readonly name: string; readonly [field: string]: unknown }
  readonly [field: string]: unknown
}

/**
 * Objects of one namespace, over connections of their own: a renewal never waits for another kind of request. As in
 * client-go, the namespace '' is the whole cluster. All rejections are `ApiError`.
 */
export class KubeObjects {
  readonly namespace: string
  private readonly options: KubeRequestsOptions
  private readonly requests: KubeRequests
  private readonly watches = new Set<ObjectWatch>()

  constructor(options: KubeRequestsOptions) {
    this.namespace = options.namespace
    this.options = options
    this.requests = new KubeRequests(options)
  }

  get(kind: Kind, name: string, deadlineMs: number, over?: Over): Promise<KubeObject> {
    return this.one(this.call('get', kind, name), deadlineMs, over)
  }

  async list(kind: Kind, deadlineMs: number): Promise<KubeObject[]> {
    const all: KubeObject[] = []
    for (let next: string | undefined; ; ) {
      const query = { limit: '100', ...(next === undefined ? {} : { continue: next }) }
      const call = this.call('list', kind, null, undefined, query)
      const { value, status } = await this.json(call, deadlineMs)
      const { items, metadata } = value as { items?: unknown; metadata?: { continue?: string } }
      if (!Array.isArray(items) || !items.every(isObject))
        throw unexpectedReply(call, `no list of ${kind.resource}`, status)
      all.push(...items)
      next = metadata?.continue || undefined
      if (next === undefined) return all
    }
  }

  /**
   * An update is a compare-and-swap on `metadata.resourceVersion`. A patch is a JSON merge patch: `null` removes a field.
   * It rejects with 422 for another UID, and with 409 for another version than in `metadata`.
   */
  write(verb: WriteVerb, kind: Kind, object: WrittenObject, deadlineMs: number): Promise<KubeObject> {
    return this.one(this.call(verb, kind, object.metadata.name, object), deadlineMs)
  }

  /** A strategic merge patch: a condition replaces the one of its type. It rejects with 409 for another UID. */
  async patchStatus(kind: Kind, object: WrittenObject, deadlineMs: number): Promise<void> {
    const ofStatus = { ...kind, resource: `${kind.resource}/status` }
    const call = this.call('patch', ofStatus, object.metadata.name, object)
    const contentType = 'application/strategic-merge-patch+json'
    await this.requests.send({ ...call, path: `${call.path}/status`, contentType }, deadlineMs)
  }

  /** The same as a dry run. */
  async rehearse(verb: WriteVerb, kind: Kind, object: WrittenObject, deadlineMs: number): Promise<void> {
    const call = this.call(verb, kind, object.metadata.name, object, { dryRun: 'All' })
    await this.requests.send(call, deadlineMs)
  }

  /** 409 if another object has the name now. `graceSeconds` replaces its own termination grace period. */
  async delete(kind: Kind, object: KubeObject, deadlineMs: number, graceSeconds?: number): Promise<void> {
    const { name, uid } = object.metadata
    // The options are in the body: with a body, the API server ignores the query.
    const options = { preconditions: { uid }, gracePeriodSeconds: graceSeconds }
    const body = { kind: 'DeleteOptions', apiVersion: 'v1', ...options }
    await this.requests.send(this.call('delete', kind, name, body), deadlineMs)
  }

  /** Resolves when the server has answered 200. Without a version, it first sends the object's state, if any. */
  async watch<T extends object = KubeObject>(
    kind: Kind,
    name: string,
    resourceVersion: string | undefined,
    handlers: ObjectWatchHandlers<T>,
    deadlineMs: number,
  ): Promise<ObjectWatch> {
    const call = this.call('watch', kind, name, undefined, {
      watch: '1',
      fieldSelector: `metadata.name=${name}`,
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(Math.round(LEAST_WATCH_SECONDS * (1 + Math.random()))),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
    })
    const lines = new JsonLines(LONGEST_LINE)
    let stream: Stream | undefined
    let isOver = false
    const close = () => {
      isOver = true
      this.watches.delete(watch)
      stream?.cut()
    }
    const end = (error?: ApiError) => {
      if (isOver) return
      close()
      handlers.ended(error)
    }
    const watch: ObjectWatch = { close }
    const read = (chunk: Buffer) => {
      for (const line of lines.push(chunk)) {
        if (isOver) return
        const event = eventIn<T>(typeof line === 'object' ? line : {}, call)
        if (event instanceof ApiError) end(event)
        else handlers.event(event)
      }
    }
    // In a microtask, because the HTTP client treats an exception in its data handler as a broken stream. A defect of
    // this program must not be hidden by that.
    stream = await this.requests.stream(call, (chunk) => queueMicrotask(() => read(chunk)), deadlineMs)
    if (isOver) stream.cut()
    else this.watches.add(watch)
    const cutOff = () => broken(call, 'ended in the middle of an event')
    stream.ended.then(() => end(lines.complete ? undefined : cutOff()), end)
    return watch
  }

  async proxied(pod: string, port: number, path: string, deadlineMs: number): Promise<unknown> {
    const call = this.call('get', { ...POD, resource: 'pods/proxy' }, pod)
    return (await this.json({ ...call, path: `${call.path}:${port}/proxy${path}` }, deadlineMs)).value
  }

  /** The last lines of a container's log. `previous`: that of its last run, which has ended. */
  async logs(
    pod: string,
    { container, lines, previous }: { container: string; lines: number; previous: boolean },
    deadlineMs: number,
  ): Promise<string> {
    const query = new URLSearchParams({ container, tailLines: String(lines), previous: String(previous) })
    const call = this.call('get', { ...POD, resource: 'pods/log' }, pod)
    return (await this.requests.send({ ...call, path: `${call.path}/log?${query}` }, deadlineMs)).body
  }

  close(): void {
    for (const watch of this.watches) watch.close()
    this.requests.close()
  }

  call(
    verb: Verb,
    kind: Kind,
    name: string | null,
    body?: object,
    query: Readonly<Record<string, string>> = {},
  ): Call {
    const { namespace, access } = this.options
    const isEverywhere = kind.isClusterWide || namespace === ''
    const scope = isEverywhere ? '' : `/namespaces/${encodeURIComponent(namespace)}`
    const collection = `${kind.base}${scope}/${kind.resource.split(/[./]/, 1)[0]}`
    const ofCollection = name === null || verb === 'create' || verb === 'watch'
    const path = ofCollection ? collection : `${collection}/${encodeURIComponent(name)}`
    const search = Object.keys(query).length === 0 ? '' : `?${new URLSearchParams(query)}`
    const server = access.server.origin + basePath(access.server)
    const target = { verb, kind, name, namespace, server, source: access.source }
    return { ...target, path: path + search, body: body && JSON.stringify(body) }
  }

  private async one(call: Call, deadlineMs: number, over?: Over): Promise<KubeObject> {
    const { value, status } = await this.json(call, deadlineMs, over)
    if (isObject(value)) return value
    throw unexpectedReply(call, `no ${call.kind.kind}`, status)
  }

  private async json(call: Call, deadlineMs: number, over?: Over) {
    const { body, status } = await this.requests.send(call, deadlineMs, over)
    try {
      return { value: (JSON.parse(body) ?? {}) as unknown, status }
    } catch {
      throw unexpectedReply(call, 'no JSON', status)
    }
  }
}

function isObject(value: unknown): value is KubeObject {
  const { metadata } = (value ?? {}) as { metadata?: Partial<KubeObject['metadata']> }
  return typeof metadata?.resourceVersion === 'string' && typeof metadata.name === 'string'
}

export type ObjectEvent<T extends object = KubeObject> =
  | { type: 'changed'; object: T }
  | { type: 'deleted' | 'bookmark'; resourceVersion: string | undefined }

export interface ObjectWatchHandlers<T extends object = KubeObject> {
  event(event: ObjectEvent<T>): void
  /** Called exactly once, unless `close()` came first. A normal end by the server gives no error. */
  ended(error?: ApiError): void
}

export interface ObjectWatch {
  close(): void
}

function eventIn<T extends object>(message: object, target: ApiTarget): ObjectEvent<T> | ApiError {
  const noEvent = () => broken(target, 'contains something other than an event')
  const { type, object } = message as { type?: unknown; object?: Partial<KubeObject> | null }
  if (type === 'ERROR') {
    const status = parseStatus(JSON.stringify(object ?? null))
    return status?.code === undefined ? noEvent() : refusedRequest(target, status.code, status)
  }
  if (typeof object?.metadata !== 'object' || object.metadata === null) return noEvent()
  const { resourceVersion } = object.metadata
  if (type === 'ADDED' || type === 'MODIFIED') return { type: 'changed', object: object as T }
  if (type === 'DELETED') return { type: 'deleted', resourceVersion }
  if (type === 'BOOKMARK') return { type: 'bookmark', resourceVersion }
  return noEvent()
}

function broken({ server }: ApiTarget, how: string): ApiError {
  return new ApiError('network', `the watch from the API server at ${server} ${how}`)
}
