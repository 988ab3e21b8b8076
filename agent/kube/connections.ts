import type { Socket } from 'node:net'
import { buildConnector, Client, type Dispatcher, ProxyAgent } from 'undici'
import type { KubeCredentials } from './access.ts'

/** Below the 90 s after which a Go server closes an idle connection, so that no request meets one just closed. */
const IDLE_MS = 30_000
/** The kernel asks after a silent peer from here on; one that is gone is noticed half a minute later. */
const KEEP_ALIVE_PROBE_MS = 15_000
/** Far above any Lease; keeps a confused server from filling the memory. */
const MAX_REPLY_BYTES = 4 * 1024 * 1024

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Empty where the reply was streamed. */
  readonly body: string
}

export interface StreamHandlers {
  /** The server answered 200; data follows. */
  opened(): void
  data(chunk: Buffer): void
}

/** A request that got no complete reply. */
export class ExchangeError extends Error {
  /** Whether the request had been handed to a connected socket, so that the server may have carried it out. */
  readonly handedOver: boolean
  constructor(cause: unknown, handedOver: boolean) {
    super('no complete reply', { cause })
    this.handedOver = handedOver
  }
}

/** No timer of undici's takes part: whoever sends a request destroys its connection when it is late. */
const OPTIONS = {
  allowH2: false,
  pipelining: 1,
  keepAliveTimeout: IDLE_MS,
  keepAliveMaxTimeout: IDLE_MS,
  headersTimeout: 0,
  bodyTimeout: 0,
  connectTimeout: 0,
} as const

/** One connection, for one request at a time. */
export class Connection {
  /** Which server and TLS identity it was opened for. */
  readonly key: string
  private readonly dispatcher: Dispatcher
  private socket: Socket | undefined

  constructor(key: string, { server, tls, proxy }: KubeCredentials) {
    this.key = key
    if (proxy !== undefined) {
      this.dispatcher = new ProxyAgent({ ...OPTIONS, uri: proxy, requestTls: tls, connections: 1 })
      return
    }
    const connect = buildConnector({
      ...tls,
      allowH2: false,
      timeout: 0,
      maxCachedSessions: 0,
      keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS,
    })
    this.dispatcher = new Client(server.origin, {
      ...OPTIONS,
      connect: (to, done) => {
        // Not in the types: the connector returns its socket.
        this.socket = connect(to, done) as unknown as Socket
      },
    })
  }

  /**
   * Sends one request and resolves at the end of its reply; a reply of status 200 is streamed instead of collected where
   * there are `stream` handlers. Rejects with `ExchangeError`.
   */
  exchange(request: Dispatcher.DispatchOptions, stream?: StreamHandlers): Promise<Reply> {
    return new Promise((resolve, reject) => {
      let handedOver = false
      let status = 0
      let headers: Reply['headers'] = {}
      let size = 0
      const chunks: Buffer[] = []
      this.dispatcher.dispatch(request, {
        onRequestStart: () => {
          handedOver = true
        },
        onResponseStart: (_, code, replyHeaders) => {
          status = code
          headers = replyHeaders
          if (status === 200) stream?.opened()
        },
        onResponseData: (controller, chunk) => {
          if (status === 200 && stream !== undefined) return stream.data(chunk)
          size += chunk.length
          if (size > MAX_REPLY_BYTES) controller.abort(new Error('the reply is too long'))
          else chunks.push(chunk)
        },
        onResponseEnd: () => resolve({ status, headers, body: Buffer.concat(chunks).toString() }),
        onResponseError: (_, error) => reject(new ExchangeError(error, handedOver)),
      })
    })
  }

  /** Closes the socket at once. undici alone would let one that is still connecting go on. */
  destroy(): void {
    this.socket?.destroy()
    this.dispatcher.destroy().catch(() => {})
  }
}

/**
 * The connections to the API server. Requests that follow each other share the one that was answered last; a request
 * that finds it busy gets another, so that nothing ever waits behind a request that hangs.
 */
export class Connections {
  private readonly replaced: () => void
  private readonly all = new Set<Connection>()
  private idle: Connection | undefined
  private key: string | undefined

  /** @param replaced called when server, CA or client certificate are not those of the connections before */
  constructor(replaced: () => void) {
    this.replaced = replaced
  }

  /** Give it back, or destroy it. */
  take(credentials: KubeCredentials, which: 'any connection' | 'a new connection'): Connection {
    const { server, tls, proxy } = credentials
    const key = JSON.stringify([server, tls, proxy])
    if (key !== this.key) {
      const first = this.key === undefined
      this.key = key
      if (this.idle !== undefined) this.destroy(this.idle)
      if (!first) this.replaced()
    }
    const { idle } = this
    if (which === 'any connection' && idle !== undefined) {
      this.idle = undefined
      return idle
    }
    const connection = new Connection(key, credentials)
    this.all.add(connection)
    return connection
  }

  /** After a reply that was read to its end: whatever lay idle before is less sure to lead to a server. */
  give(connection: Connection): void {
    const stale = connection.key !== this.key || !this.all.has(connection)
    const spare = stale ? connection : this.idle
    if (spare !== undefined) this.destroy(spare)
    if (!stale) this.idle = connection
  }

  destroy(connection: Connection): void {
    if (this.idle === connection) this.idle = undefined
    this.all.delete(connection)
    connection.destroy()
  }

  close(): void {
    for (const connection of this.all) this.destroy(connection)
  }
}
