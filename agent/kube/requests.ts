import { addAbortListener } from 'node:events'
import type { Dispatcher } from 'undici'
import type { Clock } from '../clock.ts'
import { type KubeAccess, KubeConfigError, type KubeCredentials } from './access.ts'
import {
  type Connection,
  Connections,
  ExchangeError,
  type Reply,
  type StreamHandlers,
} from './connections.ts'
import {
  ApiError,
  breakdown,
  lateness,
  nonsense,
  parseStatus,
  refusal,
  type Subject,
  type Target,
  type Verb,
} from './errors.ts'

export interface KubeRequestsOptions {
  readonly access: KubeAccess
  readonly namespace: string
  readonly clock: Clock
  /** Its part before the slash becomes the field manager in `metadata.managedFields`. */
  readonly userAgent: string
  /** Called for each request sent, with its HTTP status, or `timeout`, or `network`. */
  readonly onRequest?: ((verb: Verb, code: string) => void) | undefined
}

export interface Call {
  readonly verb: Verb
  readonly about: Subject
  readonly method: 'GET' | 'PUT' | 'POST' | 'PATCH'
  /** Below the server's own base path. */
  readonly path: string
  readonly body?: string
}

/** A reply that goes on. */
export interface Stream {
  /** Resolves at its end in order; rejects with `ApiError`, also after `cut()`. */
  readonly ended: Promise<void>
  cut(): void
}

/** The end of one request's time, on the program's clock. */
interface Deadline {
  readonly ms: number
  readonly passed: AbortSignal
}

/**
 * Requests to the API server, each with a deadline, after which its connection is destroyed. A request is sent once; only
 * after a 401, which says that nothing was done, a second time with credentials read anew.
 */
export class KubeRequests {
  private readonly options: KubeRequestsOptions
  private readonly connections: Connections
  private closed = false

  /** @param replaced called when the server, its CA or the client certificate have changed */
  constructor(options: KubeRequestsOptions, replaced: () => void = () => {}) {
    this.options = options
    this.connections = new Connections(replaced)
  }

  /** Resolves with a reply of success; rejects with `ApiError`. */
  send(
    call: Call,
    deadlineMs: number,
    over: 'any connection' | 'a new connection' = 'any connection',
  ): Promise<Reply> {
    return this.authenticated(call, deadlineMs, (credentials, deadline) =>
      this.exchange(call, credentials, deadline, this.connections.take(credentials, over)),
    )
  }

  /** Resolves when the server has answered 200; the deadline ends there. `data` may be called before. */
  stream(call: Call, data: (chunk: Buffer) => void, deadlineMs: number): Promise<Stream> {
    return this.authenticated(
      call,
      deadlineMs,
      (credentials, deadline) =>
        new Promise<Stream>((resolve, reject) => {
          const connection = this.connections.take(credentials, 'any connection')
          const cut = () => this.connections.destroy(connection)
          const ended: Promise<void> = this.exchange(call, credentials, deadline, connection, {
            opened: () => resolve({ ended, cut }),
            data,
          }).then(({ status }) => {
            if (status !== 200) throw nonsense(this.target(call), `status ${status}`, status)
          })
          ended.catch(reject)
        }),
    )
  }

  target({ verb, about }: Call): Target {
    const { namespace, access } = this.options
    const { origin, pathname } = access.server
    return { ...about, verb, namespace, server: origin + pathname.replace(/\/$/, ''), source: access.source }
  }

  close(): void {
    this.closed = true
    this.connections.close()
  }

  private async authenticated<T>(
    call: Call,
    ms: number,
    run: (credentials: KubeCredentials, deadline: Deadline) => Promise<T>,
  ): Promise<T> {
    const end = new AbortController()
    const timer = this.options.clock.after(ms, () => end.abort())
    const deadline = { ms, passed: end.signal }
    try {
      return await run(await this.credentials(call, deadline), deadline)
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error
      this.options.access.reload()
      return await run(await this.credentials(call, deadline), deadline)
    } finally {
      timer.cancel()
    }
  }

  private async credentials(call: Call, { ms, passed }: Deadline): Promise<KubeCredentials> {
    const late = Promise.withResolvers<never>()
    const listener = addAbortListener(passed, () => late.reject(lateness(this.target(call), ms, false)))
    try {
      const credentials = await Promise.race([this.options.access.credentials(), late.promise])
      if (this.closed) throw new ApiError('network', 'the connection to the API server was closed')
      return credentials
    } catch (error) {
      throw error instanceof KubeConfigError ? new ApiError('unauthorized', error.message) : error
    } finally {
      listener[Symbol.dispose]()
    }
  }

  /** One attempt. The connection is given back at the end of a reply, and destroyed otherwise. */
  private async exchange(
    call: Call,
    credentials: KubeCredentials,
    { ms, passed }: Deadline,
    connection: Connection,
    stream?: StreamHandlers,
  ): Promise<Reply> {
    const report = (code: string) => this.options.onRequest?.(call.verb, code)
    const listener = addAbortListener(passed, () => this.connections.destroy(connection))
    let opened = false
    const streamed = stream && {
      ...stream,
      opened: () => {
        opened = true
        listener[Symbol.dispose]()
        report('200')
        stream.opened()
      },
    }
    let reply: Reply
    try {
      reply = await connection.exchange(this.wire(call, credentials), streamed)
    } catch (error) {
      this.connections.destroy(connection)
      const { cause, handedOver } =
        error instanceof ExchangeError ? error : { cause: error, handedOver: true }
      const failure = passed.aborted
        ? lateness(this.target(call), ms, handedOver)
        : breakdown(this.target(call), cause, handedOver)
      if (!opened) report(failure.code)
      throw failure
    } finally {
      listener[Symbol.dispose]()
    }
    if (stream === undefined) this.connections.give(connection)
    else this.connections.destroy(connection)
    const { status, body, headers } = reply
    if (!opened) report(String(status))
    if (status >= 200 && status < 300) return reply
    throw refusal(this.target(call), status, parseStatus(body), headers['retry-after'])
  }

  private wire(
    { method, path, body }: Call,
    { server, headers }: KubeCredentials,
  ): Dispatcher.DispatchOptions {
    const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json'
    return {
      origin: server.origin,
      path: server.pathname.replace(/\/$/, '') + path,
      method,
      headers: {
        accept: 'application/json',
        'user-agent': this.options.userAgent,
        ...(body === undefined ? {} : { 'content-type': type }),
        ...headers,
      },
      body: body ?? null,
    }
  }
}

/** Major and minor version of the API server, such as `1.37`; `null` where it says none. Rejects with `ApiError`. */
export async function askVersion(options: KubeRequestsOptions): Promise<string | null> {
  const requests = new KubeRequests(options)
  const about = { kind: 'version', resource: 'version', name: null }
  try {
    const { body } = await requests.send({ verb: 'get', about, method: 'GET', path: '/version' }, 5_000)
    // Providers write things such as `28+`.
    const [major, minor] = ['major', 'minor'].map(
      (part) => new RegExp(`"${part}":\\s*"(\\d+)`).exec(body)?.[1],
    )
    return major === undefined || minor === undefined ? null : `${major}.${minor}`
  } finally {
    requests.close()
  }
}
