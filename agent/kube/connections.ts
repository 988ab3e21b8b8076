import { isIP, connect as netConnect, type Socket } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import { Client, type Dispatcher, ProxyAgent } from 'undici'
import type { KubeCredentials } from './access.ts'

/** Below the 90 s after which a Go server closes an idle connection, so that no request meets one just closed. */
const IDLE_MS = 30_000
/** The kernel asks after a silent peer from here on; one that is gone is noticed half a minute later. */
const KEEP_ALIVE_PROBE_MS = 15_000
/** Far above any Lease; keeps a confused server from filling the memory. */
const MAX_REPLY_BYTES = 4 * 1024 * 1024

/** One connection, for one request at a time. */
export interface Lane {
  readonly dispatcher: Dispatcher
  /** Which server and TLS identity it was opened for. */
  readonly key: string
  /** Closes the socket at once, also in the middle of connecting. */
  destroy(): void
}

/**
 * The connections to the API server. Requests that follow each other share the one that was answered last; a request
 * that finds it busy gets another, so that nothing ever waits behind a request that hangs. No timer of undici's takes
 * part: whoever takes a lane destroys it when it is late.
 */
export class KubeConnections {
  private readonly replaced: () => void
  private readonly lanes = new Set<Lane>()
  private idle: Lane | undefined
  private key: string | undefined

  /** @param replaced called when server, CA or client certificate are not those of the connections before */
  constructor(replaced: () => void) {
    this.replaced = replaced
  }

  /** The idle connection, or a new one. Give it back, or destroy it. */
  take(credentials: KubeCredentials): Lane {
    this.meet(credentials)
    const idle = this.idle
    this.idle = undefined
    return idle ?? this.open(credentials)
  }

  /** A new connection in any case. Give it back, or destroy it. */
  takeNew(credentials: KubeCredentials): Lane {
    this.meet(credentials)
    return this.open(credentials)
  }

  /** After a reply that was read to its end: whatever lay idle before is less sure to lead to a server. */
  give(lane: Lane): void {
    if (lane.key !== this.key || !this.lanes.has(lane)) {
      lane.destroy()
      return
    }
    this.idle?.destroy()
    this.idle = lane
  }

  close(): void {
    for (const lane of this.lanes) lane.destroy()
    this.idle = undefined
  }

  private meet({ server, tls, proxy }: KubeCredentials): void {
    const key = JSON.stringify([server, tls, proxy])
    if (key === this.key) return
    const first = this.key === undefined
    this.key = key
    this.idle?.destroy()
    this.idle = undefined
    if (!first) this.replaced()
  }

  private open(credentials: KubeCredentials): Lane {
    const key = this.key as string
    const { dispatcher, cut } = credentials.proxy === undefined ? direct(credentials) : viaProxy(credentials)
    const lane: Lane = {
      dispatcher,
      key,
      destroy: () => {
        this.lanes.delete(lane)
        cut()
        dispatcher.destroy().catch(() => {})
      },
    }
    this.lanes.add(lane)
    return lane
  }
}

const OPTIONS = {
  allowH2: false,
  pipelining: 1,
  keepAliveTimeout: IDLE_MS,
  keepAliveMaxTimeout: IDLE_MS,
  headersTimeout: 0,
  bodyTimeout: 0,
  connectTimeout: 0,
} as const

function direct({ server, tls }: KubeCredentials): { dispatcher: Dispatcher; cut: () => void } {
  const secure = server.protocol === 'https:'
  const host = server.hostname.replace(/^\[|\]$/g, '')
  const address = { host, port: Number(server.port || (secure ? 443 : 80)) }
  const secured = { ...(isIP(host) ? {} : { servername: host }), ...tls, ALPNProtocols: ['http/1.1'] }
  let socket: Socket | undefined
  const dispatcher = new Client(server.origin, {
    ...OPTIONS,
    connect(_, done) {
      const connecting = secure ? tlsConnect({ ...address, ...secured }) : netConnect(address)
      connecting.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_PROBE_MS)
      const failed = (error: Error) => done(error, null)
      connecting.once('error', failed).once(secure ? 'secureConnect' : 'connect', () => {
        connecting.off('error', failed)
        done(null, connecting)
      })
      socket = connecting
      // Not in the types: undici cancels a connection attempt through the socket that its connector returns.
      return connecting as unknown as undefined
    },
  })
  return { dispatcher, cut: () => socket?.destroy() }
}

function viaProxy({ proxy, tls }: KubeCredentials): { dispatcher: Dispatcher; cut: () => void } {
  const dispatcher = new ProxyAgent({ ...OPTIONS, uri: proxy as string, requestTls: tls, connections: 1 })
  return { dispatcher, cut: () => {} }
}

export interface Reply {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  /** Empty where the reply was streamed. */
  readonly body: string
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

export interface StreamHandlers {
  /** The server answered 200; data follows. */
  opened(): void
  data(chunk: Buffer): void
}

/**
 * Sends one request and resolves at the end of its reply; a reply of status 200 is streamed instead of collected where
 * there are `stream` handlers. Rejects with `ExchangeError`.
 */
export function exchange(
  lane: Lane,
  request: Dispatcher.DispatchOptions,
  stream?: StreamHandlers,
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    let handedOver = false
    let status = 0
    let headers: Reply['headers'] = {}
    let size = 0
    const chunks: Buffer[] = []
    const streamed = () => stream !== undefined && status === 200
    lane.dispatcher.dispatch(request, {
      onRequestStart: () => {
        handedOver = true
      },
      onResponseStart: (_, code, replyHeaders) => {
        status = code
        headers = replyHeaders
        if (streamed()) stream?.opened()
      },
      onResponseData: (controller, chunk) => {
        if (streamed()) return stream?.data(chunk)
        size += chunk.length
        if (size > MAX_REPLY_BYTES) controller.abort(new Error('the reply is too long'))
        else chunks.push(chunk)
      },
      onResponseEnd: () => resolve({ status, headers, body: Buffer.concat(chunks).toString() }),
      onResponseError: (_, error) => reject(new ExchangeError(error, handedOver)),
    })
  })
}
