import { Agent, type ClientRequestArgs } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Pool } from 'undici'
import type { Clock, Timer } from '../clock.ts'
import { MAX_HEADER_BYTES } from './headers.ts'
import type { Hop } from './hop.ts'

/** How long a connection may take to be there. */
const CONNECT_TIMEOUT_MS = 1_000
/** How long after a request that did not get there the next one is tried. */
const TRY_AGAIN_MS = 100
/**
 * Well below the 2 s of gunicorn and the 5 s of uvicorn: a request on a connection that the other end closes at the same moment may
 * or may not have been read.
 */
const IDLE_MS = 1_000

interface UpstreamOptions {
  readonly to: 'langflow' | 'leader'
  /** As in a route. */
  readonly hop: Hop
  /** `host:port`, with IPv6 in brackets. */
  readonly address: string
  /** The local address of each connection; `null`: any. */
  readonly from: string | null
  readonly clock: Clock
  /** It may take requests again, or more of them. */
  readonly ready: () => void
}

/** Keeps connections for as long as the pool does. */
class DialingAgent extends Agent {
  readonly #dial: () => Promise<Socket>

  constructor(dial: () => Promise<Socket>) {
    super({ keepAlive: true, timeout: IDLE_MS })
    this.#dial = dial
  }

  override createConnection(
    _: ClientRequestArgs,
    done?: (error: Error | null, socket: Duplex) => void,
  ): undefined {
    this.#dial().then(
      (socket) => done?.(null, socket),
      (error: Error) => done?.(error, undefined as unknown as Socket),
    )
  }
}

/** Where requests are sent, and the connections to it: LangFlow, or the leader's front, in one term. */
export class Upstream {
  readonly options: UpstreamOptions
  readonly pool: Pool
  /** Of requests that `pool` cannot send. */
  readonly agent: Agent
  readonly #where: { readonly host: string; readonly port: number }
  readonly #connecting = new Set<Socket>()
  /** What ends each websocket that is relayed to it, and each body that streams. */
  readonly #relays = new Set<() => void>()
  #relaysOver: (() => void) | null = null
  /** After one that did not get there requests are tried one at a time, until one gets there. */
  #doubtful = false
  #trying = false
  #resting: Timer | null = null
  #closed = false

  constructor(options: UpstreamOptions) {
    this.options = options
    const { hostname, port } = new URL(`http://${options.address}`)
    this.#where = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80) }
    this.agent = new DialingAgent(() => this.dial())
    this.pool = new Pool(`http://${options.address}`, {
      pipelining: 1,
      headersTimeout: 0,
      bodyTimeout: 0,
      keepAliveTimeout: IDLE_MS,
      keepAliveMaxTimeout: IDLE_MS,
      maxHeaderSize: MAX_HEADER_BYTES,
      connect: (_, done) => {
        this.dial().then(
          (socket) => done(null, socket),
          (error: Error) => done(error, null),
        )
      },
    })
  }

  get available(): boolean {
    return !this.#closed && this.#resting === null && !(this.#doubtful && this.#trying)
  }

  /** Whether nothing is sent to it any more: another leads, or nobody. */
  get closed(): boolean {
    return this.#closed
  }

  /** A request is sent to it. */
  taken(): void {
    this.#trying = true
  }

  /** It was not sent after all. */
  givenBack(): void {
    this.#trying = false
    if (this.#doubtful) this.options.ready()
  }

  reached(): void {
    if (!this.#doubtful) return
    this.#doubtful = false
    this.options.ready()
  }

  /** A request did not get there. */
  missed(): void {
    this.#doubtful = true
    this.#trying = false
    if (this.#closed) return
    this.#resting ??= this.options.clock.after(TRY_AGAIN_MS, () => {
      this.#resting = null
      this.options.ready()
    })
  }

  /** @param epoch what the other front knows: a later one, if another leads */
  refused(epoch: number): void {
    if (epoch > this.options.hop.epoch) this.superseded()
    else this.missed()
  }

  /** Takes no request any more: somebody else leads. */
  superseded(): void {
    this.#closed = true
    this.#resting?.cancel()
  }

  /** A connection of its own. Rejects where there is none in time. */
  dial(): Promise<Socket> {
    const { from, clock } = this.options
    return new Promise((resolve, reject) => {
      const socket = connect({
        ...this.#where,
        ...(from !== null && { localAddress: from }),
        noDelay: true,
        keepAlive: true,
      })
      const timer = clock.after(CONNECT_TIMEOUT_MS, () => socket.destroy(new Error('not connected in time')))
      this.#connecting.add(socket)
      const settle = () => {
        timer.cancel()
        this.#connecting.delete(socket)
        socket.off('connect', connected).off('error', failed)
      }
      const connected = () => {
        settle()
        resolve(socket)
      }
      const failed = (error: Error) => {
        settle()
        socket.on('error', () => {})
        reject(error)
      }
      socket.once('connect', connected).once('error', failed)
      if (this.#closed) socket.destroy(new Error('closed'))
    })
  }

  /** @returns what is called once that is over */
  relaying(end: () => void): () => void {
    this.#relays.add(end)
    return () => {
      this.#relays.delete(end)
      if (this.#relays.size === 0) this.#relaysOver?.()
    }
  }

  /**
   * What has not been sent fails, to go elsewhere; each connection is closed as soon as nothing is under way on it. Resolves then.
   */
  async close(): Promise<void> {
    this.superseded()
    for (const socket of this.#connecting) socket.destroy(new Error('closed'))
    await this.pool.close()
    if (this.#relays.size > 0)
      await new Promise<void>((resolve) => {
        this.#relaysOver = resolve
      })
  }

  /** Whatever is still under way breaks. */
  cut(): void {
    void this.pool.destroy(new Error('the leader changed'))
    for (const end of [...this.#relays]) end()
  }
}
