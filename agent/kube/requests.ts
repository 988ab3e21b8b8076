import type { Dispatcher } from 'undici'
import type { Clock } from '../clock.ts'
import { type KubeAccess, KubeConfigError, type KubeCredentials } from './access.ts'
import { ExchangeError, exchange, KubeConnections, type Lane, type Reply } from './connections.ts'
import { Deadline } from './deadline.ts'
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

const CONTENT_TYPES = {
  GET: 'application/json',
  PUT: 'application/json',
  POST: 'application/json',
  PATCH: 'application/merge-patch+json',
} as const

/** A reply that goes on. */
export interface Stream {
  /** Resolves at its end in order; rejects with `ApiError`, also after `cut()`. */
  readonly ended: Promise<void>
  cut(): void
}

/**
 * Requests to the API server, each with a deadline, after which its connection is destroyed. A request is sent once; only
 * after a 401, which says that nothing was done, a second time with credentials read anew.
 */
export class KubeRequests {
  private readonly options: KubeRequestsOptions
  private readonly connections: KubeConnections
  private closed = false

  /** @param replaced called when the server, its CA or the client certificate have changed */
  constructor(options: KubeRequestsOptions, replaced: () => void) {
    this.options = options
    this.connections = new KubeConnections(replaced)
  }

  /** Resolves with a reply of success; rejects with `ApiError`. `by`: over the connection that was answered last. */
  send(
    call: Call,
    deadlineMs: number,
    by: 'any connection' | 'a new connection' = 'any connection',
  ): Promise<Reply> {
    return this.authenticated(call, deadlineMs, async (credentials, deadline) => {
      const { connections } = this
      const lane = by === 'any connection' ? connections.take(credentials) : connections.takeNew(credentials)
      const off = deadline.onPassed(() => lane.destroy())
      try {
        const reply = await exchange(lane, this.wire(call, credentials))
        this.connections.give(lane)
        this.report(call, String(reply.status))
        return this.accepted(call, reply)
      } catch (error) {
        const failure = this.failed(call, lane, error, deadline)
        if (failure.status === undefined) this.report(call, failure.code)
        throw failure
      } finally {
        off()
      }
    })
  }

  /** Resolves when the server has answered 200; the deadline ends there. `data` may be called before. */
  stream(call: Call, data: (chunk: Buffer) => void, deadlineMs: number): Promise<Stream> {
    return this.authenticated(call, deadlineMs, (credentials, deadline) => {
      const lane = this.connections.take(credentials)
      const off = deadline.onPassed(() => lane.destroy())
      return new Promise<Stream>((resolve, reject) => {
        let open = false
        const opened = () => {
          off()
          open = true
          this.report(call, '200')
          resolve({ ended, cut: () => lane.destroy() })
        }
        const ended = exchange(lane, this.wire(call, credentials), { opened, data }).then(
          (reply) => {
            lane.destroy()
            if (reply.status === 200) return
            this.report(call, String(reply.status))
            this.accepted(call, reply)
            throw nonsense(this.target(call), `status ${reply.status}`, reply.status)
          },
          (error: unknown) => {
            const failure = this.failed(call, lane, error, deadline)
            if (!open) this.report(call, failure.code)
            throw failure
          },
        )
        ended.catch(reject).finally(off)
      })
    })
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
    deadlineMs: number,
    run: (credentials: KubeCredentials, deadline: Deadline) => Promise<T>,
  ): Promise<T> {
    const deadline = new Deadline(this.options.clock, deadlineMs)
    try {
      return await run(await this.credentials(call, deadline), deadline)
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error
      this.options.access.reload()
      return await run(await this.credentials(call, deadline), deadline)
    } finally {
      deadline.cancel()
    }
  }

  private async credentials(call: Call, deadline: Deadline): Promise<KubeCredentials> {
    const late = () => lateness(this.target(call), deadline.ms, false)
    try {
      const credentials = await deadline.race(this.options.access.credentials(), late)
      if (this.closed) throw new ApiError('network', 'the connection to the API server was closed')
      return credentials
    } catch (error) {
      throw error instanceof KubeConfigError ? new ApiError('unauthorized', error.message) : error
    }
  }

  private wire(
    { method, path, body }: Call,
    { server, headers }: KubeCredentials,
  ): Dispatcher.DispatchOptions {
    return {
      origin: server.origin,
      path: server.pathname.replace(/\/$/, '') + path,
      method,
      headers: {
        accept: 'application/json',
        'user-agent': this.options.userAgent,
        ...(body === undefined ? {} : { 'content-type': CONTENT_TYPES[method] }),
        ...headers,
      },
      body: body ?? null,
    }
  }

  private accepted(call: Call, reply: Reply): Reply {
    if (reply.status >= 200 && reply.status < 300) return reply
    throw refusal(this.target(call), reply.status, parseStatus(reply.body), reply.headers['retry-after'])
  }

  private failed(call: Call, lane: Lane, error: unknown, deadline: Deadline): ApiError {
    if (error instanceof ApiError) return error
    lane.destroy()
    const { cause, handedOver } = error instanceof ExchangeError ? error : { cause: error, handedOver: true }
    if (deadline.passed) return lateness(this.target(call), deadline.ms, handedOver)
    return breakdown(this.target(call), cause, handedOver)
  }

  private report({ verb }: Call, code: string): void {
    this.options.onRequest?.(verb, code)
  }
}
