import { once } from 'node:events'
import { Agent, type ClientRequestArgs, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '../clock.ts'
import { HOP, HOP_EPOCH, type LeaderSilence } from './front-messages.ts'
import type { Hop } from './headers.ts'

/** Timeout for opening a connection. */
const CONNECT_TIMEOUT_MS = 1_000
/** Delay before the next request is tried after one that did not reach the upstream. */
const TRY_AGAIN_MS = 100
/**
 * Well below the 2 s of gunicorn and the 5 s of uvicorn. If the other end closes a connection while a request is sent
 * on it, it may or may not have read that request.
 */
const IDLE_MS = 1_000
/** Idle time after which the kernel probes a silent peer. A dead peer is noticed half a minute later. */
const KEEP_ALIVE_PROBE_MS = 15_000
/** Interval between two probes of the leader's front, and the timeout of a probe. */
const PROBE_MS = 1_000
const ANSWERS_WITHIN_MS = 2_000

export interface Destination {
  readonly to: 'langflow' | 'leader'
  /** As in a route. */
  readonly hop: Hop
  /** `host:port`, with IPv6 in brackets. */
  readonly address: string
  /** The local address of each connection, if not any. */
  readonly from: string | null
}

interface UpstreamOptions extends Destination {
  readonly clock: Clock
  /** Called when the upstream can take requests again, or more of them. */
  readonly ready: () => void
}

/** Connections that are reused. */
class Connections extends Agent {
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

  closeIdle(): void {
    for (const idle of Object.values(this.freeSockets).flat()) idle?.destroy()
  }
}

/** The destination of requests in one term (LangFlow or the leader's front) and the connections to it. */
export class Upstream {
  readonly options: UpstreamOptions
  readonly agent: Connections
  readonly #where: { readonly host: string; readonly port: number }
  readonly #connecting = new Set<Socket>()
  /** Functions that end the requests and websockets in progress. */
  readonly #relays = new Set<() => void>()
  #relaysOver: (() => void) | null = null
  /** After a request that did not reach the upstream, requests are tried one at a time until one succeeds. */
  #doubtful = false
  #trying = false
  #resting: Timer | null = null
  #probing: Timer | null = null
  #silence: LeaderSilence
  #closed = false

  constructor(options: UpstreamOptions) {
    this.options = options
    this.#silence = {
      address: options.address,
      since: options.clock.mono(),
      because: 'it has not answered yet',
    }
    const { hostname, port } = new URL(`http://${options.address}`)
    this.#where = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80) }
    this.agent = new Connections(() => this.#dial())
    if (options.to === 'leader') this.#probeLater()
  }

  get available(): boolean {
    return !this.#closed && this.#resting === null && !(this.#doubtful && this.#trying)
  }

  /** Whether this upstream accepts no more requests, because another replica leads or no replica does. */
  get closed(): boolean {
    return this.#closed
  }

  /** The silence of the leader's front, if this is one. */
  get silence(): LeaderSilence | null {
    return this.options.to === 'leader' ? this.#silence : null
  }

  /** The leader's front has answered a hop, or asked for its body. */
  responded(): void {
    this.#silence = { ...this.#silence, since: this.options.clock.mono() }
  }

  /** A request is about to be sent. */
  taken(): void {
    this.#trying = true
  }

  /** The request was not sent after all. */
  givenBack(): void {
    this.#trying = false
    if (this.#doubtful) this.options.ready()
  }

  reached(): void {
    if (!this.#doubtful) return
    this.#doubtful = false
    this.options.ready()
  }

  /** A request did not reach the upstream. */
  missed(): void {
    this.#doubtful = true
    this.#trying = false
    if (this.#closed) return
    this.#resting ??= this.options.clock.after(TRY_AGAIN_MS, () => {
      this.#resting = null
      this.options.ready()
    })
  }

  /** A connection broke. The idle ones may be about to break as well, so the retry uses none of them. */
  broke(): void {
    this.agent.closeIdle()
    this.givenBack()
  }

  /** @param epoch the other front's epoch: higher than ours if another replica leads */
  refused(epoch: number): void {
    if (epoch > this.options.hop.epoch) this.superseded()
    else this.missed()
  }

  /** Accepts no more requests, because another replica leads. */
  superseded(): void {
    this.#closed = true
    this.agent.maxFreeSockets = 0
    this.agent.closeIdle()
    this.#resting?.cancel()
    this.#probing?.cancel()
  }

  /** Rejects if there is no connection in time. */
  async #dial(): Promise<Socket> {
    const { from, clock } = this.options
    const socket = connect({
      ...this.#where,
      ...(from !== null && { localAddress: from }),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS,
    })
    // A connection may break while it carries no request.
    socket.on('error', () => {})
    // Node writes a head in this encoding if it sends the head before the body.
    socket.setDefaultEncoding('latin1')
    const timer = clock.after(CONNECT_TIMEOUT_MS, () => socket.destroy(new Error('not connected in time')))
    this.#connecting.add(socket)
    if (this.#closed) socket.destroy(new Error('closed'))
    try {
      await once(socket, 'connect')
      return socket
    } finally {
      timer.cancel()
      this.#connecting.delete(socket)
    }
  }

  #probeLater(): void {
    const { clock } = this.options
    this.#probing = clock.after(PROBE_MS, async () => {
      if (clock.mono() - this.#silence.since >= PROBE_MS) await this.#probe()
      if (!this.#closed) this.#probeLater()
    })
  }

  /**
   * Sends a hop that each front answers by itself with 421, so that a front without requests also notices a dead
   * leader.
   */
  #probe(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const failed = (because: string) => {
      this.#silence = { ...this.#silence, because }
    }
    const probe = request({
      ...this.#where,
      agent: this.agent,
      method: 'HEAD',
      headers: { [HOP]: 'are you there' },
    })
    const late = this.options.clock.after(ANSWERS_WITHIN_MS, () =>
      probe.destroy(new Error(`no answer within ${ANSWERS_WITHIN_MS / 1000} s`)),
    )
    probe.once('response', (answer) => {
      if (answer.headers[HOP_EPOCH] !== undefined) this.responded()
      else failed(`it is not a front: it answered ${answer.statusCode}`)
      answer.resume()
    })
    probe.on('error', ({ message }) => failed(message))
    probe.once('close', () => {
      late.cancel()
      resolve()
    })
    probe.end()
    return promise
  }

  /** @returns a function to call when the request or websocket is over */
  relaying(end: () => void): () => void {
    this.#relays.add(end)
    return () => {
      this.#relays.delete(end)
      if (this.#relays.size === 0) this.#relaysOver?.()
    }
  }

  /**
   * Unsent requests fail, so that they can be sent to another upstream. Each connection closes when it carries no
   * request. Resolves when all are closed.
   */
  async close(): Promise<void> {
    this.superseded()
    for (const socket of this.#connecting) socket.destroy(new Error('closed'))
    if (this.#relays.size > 0)
      await new Promise<void>((resolve) => {
        this.#relaysOver = resolve
      })
  }

  /** Breaks the requests in progress. */
  cut(): void {
    this.superseded()
    for (const end of [...this.#relays]) end()
  }
}
