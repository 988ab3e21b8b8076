import { addAbortListener } from 'node:events'
import type { Socket } from 'node:net'
import { buildConnector, Client, type Dispatcher, ProxyAgent } from 'undici'
import type { Clock } from '../clock.ts'
import { type KubeAccess, KubeConfigError, type KubeCredentials } from './kube-access.ts'
import type { ApiTarget, Verb } from './kube-errors.ts'
import {
  ApiError,
  connectionError,
  parseStatus,
  refusedRequest,
  timeoutError,
  unexpectedReply,
} from './kube-errors.ts'

/** Below the 90 s after which a Go server closes an idle connection, so that no request meets a closing connection. */
const IDLE_MS = 30_000
/** Idle time after which the kernel probes a silent peer. A dead one is noticed half a minute later. */
const KEEP_ALIVE_PROBE_MS = 15_000
/** Far above any Lease. It prevents a faulty server from filling the memory. */
const MAX_REPLY_BYTES = 4 * 1024 * 1024

export interface KubeRequestsOptions {
  readonly access: KubeAccess
  readonly namespace: string
  readonly clock: Clock
  /** Its part before the slash becomes the field manager in `metadata.managedFields`. */
  readonly userAgent: string
  readonly onRequest?: ((verb: Verb, code: string) => void) | undefined
}

export interface Call extends ApiTarget {
  readonly path: string
  readonly body?: string | undefined
  /** Of the body. By default JSON, or a JSON merge patch. */
  readonly contentType?: string
}

export type Over = 'any connection' | 'a new connection'

interface Reply {
  readonly status: number
  readonly body: string
}

export interface Stream {
  /** Resolves at its normal end. Rejects with `ApiError`, also after `cut()`. */
  readonly ended: Promise<void>
  cut(): void
}

interface StreamHandlers {
  opened(): void
  data(chunk: Buffer): void
}

interface Attempt {
  readonly call: Call
  readonly credentials: KubeCredentials
  readonly deadlineMs: number
  readonly passed: AbortSignal
}

const METHODS = {
  get: 'GET',
  list: 'GET',
  watch: 'GET',
  create: 'POST',
  update: 'PUT',
  patch: 'PATCH',
  delete: 'DELETE',
} as const satisfies Record<Verb, Dispatcher.HttpMethod>

/**
 * A request is sent once. Only after a 401, when nothing was done, it is sent again, with credentials that were read
 * again. If the connection that was answered last is busy, a request opens another one: none waits behind a hanging one.
 */
export class KubeRequests {
  private readonly options: KubeRequestsOptions
  private readonly connections = new Set<Connection>()
  private idle: Connection | undefined
  private key: string | undefined
  private closed = false

  constructor(options: KubeRequestsOptions) {
    this.options = options
  }

  send(call: Call, deadlineMs: number, over: Over = 'any connection'): Promise<Reply> {
    return this.authenticated(deadlineMs, (credentials, passed) =>
      this.exchange({ call, credentials, deadlineMs, passed }, this.take(credentials, over)),
    )
  }

  /** Resolves when the server has answered 200, which ends the deadline. `data` may be called before. */
  stream(call: Call, data: (chunk: Buffer) => void, deadlineMs: number): Promise<Stream> {
    return this.authenticated(deadlineMs, (credentials, passed) => {
      const { promise, resolve, reject } = Promise.withResolvers<Stream>()
      const connection = this.take(credentials, 'any connection')
      const opened = () => resolve({ ended, cut: () => this.destroy(connection) })
      const attempt = { call, credentials, deadlineMs, passed }
      const ended = this.exchange(attempt, connection, { opened, data }).then(({ status }) => {
        if (status !== 200) throw unexpectedReply(call, `status ${status}`, status)
      })
      ended.catch(reject)
      return promise
    })
  }

  close(): void {
    this.closed = true
    for (const connection of this.connections) this.destroy(connection)
  }

  private async authenticated<T>(
    ms: number,
    run: (credentials: KubeCredentials, passed: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const end = new AbortController()
    const timer = this.options.clock.after(ms, () => end.abort())
    const attempt = async () => run(await this.credentials(end.signal, ms), end.signal)
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error
      this.options.access.reload()
      return await attempt()
    } finally {
      timer.cancel()
    }
  }

  private async credentials(passed: AbortSignal, ms: number): Promise<KubeCredentials> {
    const { access } = this.options
    const late = Promise.withResolvers<never>()
    const message = `${access.source} provided no credentials within ${Math.round(ms)} ms`
    using _ = addAbortListener(passed, () => late.reject(new ApiError('timeout', message)))
    try {
      const credentials = await Promise.race([access.credentials(), late.promise])
      if (this.closed) throw new ApiError('network', 'the connection to the API server was closed')
      return credentials
    } catch (error) {
      throw error instanceof KubeConfigError ? new ApiError('unauthorized', error.message) : error
    }
  }

  /** One attempt. The connection is kept for the next one at the end of a reply, and destroyed after a failure. */
  private async exchange(
    { call, credentials, deadlineMs, passed }: Attempt,
    connection: Connection,
    stream?: StreamHandlers,
  ): Promise<Reply> {
    const report = (code: string) => this.options.onRequest?.(call.verb, code)
    using listener = addAbortListener(passed, () => this.destroy(connection))
    let isOpen = false
    const opened = () => {
      isOpen = true
      listener[Symbol.dispose]()
      report('200')
      stream?.opened()
    }
    let reply: Reply
    try {
      reply = await connection.exchange(this.wire(call, credentials), stream && { ...stream, opened })
    } catch (error) {
      this.destroy(connection)
      const failure = passed.aborted
        ? timeoutError(call, deadlineMs, connection.handedOver)
        : connectionError(call, error, connection.handedOver)
      if (!isOpen) report(failure.code)
      throw failure
    }
    if (stream === undefined) this.keep(connection)
    else this.destroy(connection)
    const { status, body } = reply
    if (!isOpen) report(String(status))
    if (status >= 200 && status < 300) return reply
    throw refusedRequest(call, status, parseStatus(body))
  }

  private wire(
    { verb, path, body, contentType }: Call,
    { server, headers }: KubeCredentials,
  ): Dispatcher.DispatchOptions {
    const type = contentType ?? (verb === 'patch' ? 'application/merge-patch+json' : 'application/json')
    return {
      origin: server.origin,
      path: basePath(server) + path,
      method: METHODS[verb],
      headers: {
        accept: 'application/json',
        'user-agent': this.options.userAgent,
        ...(body !== undefined && { 'content-type': type }),
        ...headers,
      },
      body: body ?? null,
    }
  }

  private take(credentials: KubeCredentials, over: Over): Connection {
    const key = JSON.stringify([credentials.server, credentials.tls, credentials.proxy])
    if (key !== this.key) {
      this.key = key
      if (this.idle !== undefined) this.destroy(this.idle)
    }
    const { idle } = this
    if (over === 'any connection' && idle !== undefined) {
      this.idle = undefined
      return idle
    }
    const connection = new Connection(key, credentials)
    this.connections.add(connection)
    return connection
  }

  private keep(connection: Connection): void {
    const isStale = connection.key !== this.key || !this.connections.has(connection)
    const spare = isStale ? connection : this.idle
    if (spare !== undefined) this.destroy(spare)
    if (!isStale) this.idle = connection
  }

  private destroy(connection: Connection): void {
    if (this.idle === connection) this.idle = undefined
    this.connections.delete(connection)
    connection.destroy()
  }
}

/** undici's own timers are off: `KubeRequests` destroys a late request's connection. */
const OPTIONS = {
  allowH2: false,
  pipelining: 1,
  keepAliveTimeout: IDLE_MS,
  keepAliveMaxTimeout: IDLE_MS,
  headersTimeout: 0,
  bodyTimeout: 0,
  connectTimeout: 0,
} as const
const CONNECT = {
  allowH2: false,
  timeout: 0,
  maxCachedSessions: 0,
  keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS,
}

class Connection {
  readonly key: string
  /** Whether the last request reached a connected socket, so that the server may have carried it out. */
  handedOver = false
  private readonly dispatcher: Dispatcher
  private socket: Socket | undefined

  constructor(key: string, { server, tls, proxy }: KubeCredentials) {
    this.key = key
    const connect = buildConnector({ ...tls, ...CONNECT })
    const connected: buildConnector.connector = (to, done) => {
      // The types omit that the connector returns its socket.
      this.socket = connect(to, done) as unknown as Socket
    }
    this.dispatcher =
      proxy === undefined
        ? new Client(server.origin, { ...OPTIONS, connect: connected })
        : new ProxyAgent({ ...OPTIONS, uri: proxy, requestTls: tls, connections: 1 })
  }

  /** Sends one request and resolves at the end of its reply. Rejects if no complete reply arrived. */
  exchange(request: Dispatcher.DispatchOptions, stream?: StreamHandlers): Promise<Reply> {
    this.handedOver = false
    const { promise, resolve, reject } = Promise.withResolvers<Reply>()
    let status = 0
    let size = 0
    const chunks: Buffer[] = []
    this.dispatcher.dispatch(request, {
      onRequestStart: () => {
        this.handedOver = true
      },
      onResponseStart: (_, code) => {
        status = code
        if (status === 200) stream?.opened()
      },
      onResponseData: (controller, chunk) => {
        if (status === 200 && stream !== undefined) return stream.data(chunk)
        size += chunk.length
        if (size > MAX_REPLY_BYTES) controller.abort(new Error('the reply is too long'))
        else chunks.push(chunk)
      },
      onResponseEnd: () => resolve({ status, body: Buffer.concat(chunks).toString() }),
      onResponseError: (_, error) => reject(error),
    })
    return promise
  }

  /** Closes the socket immediately. undici alone would let a connection attempt continue. */
  destroy(): void {
    this.socket?.destroy()
    this.dispatcher.destroy().catch(() => {})
  }
}

export function basePath(server: URL): string {
  return server.pathname.replace(/\/$/, '')
}
