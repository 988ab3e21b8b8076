import { once } from 'node:events'
import { Agent, type ClientRequestArgs, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '../clock.ts'
import { HOP, HOP_EPOCH, type Unheard } from './front-messages.ts'
import type { Hop } from './headers.ts'

/** How long a connection may take to be there. */
const CONNECT_TIMEOUT_MS = 1_000
/** How long after a request that did not get there the next one is tried. */
const TRY_AGAIN_MS = 100
/**
 * Well below the 2 s of gunicorn and the 5 s of uvicorn: a request on a connection that the other end closes at the same moment may
 * or may not have been read.
 */
const IDLE_MS = 1_000
/** The kernel asks after a silent peer from here on; one that is gone is noticed half a minute later. */
const KEEP_ALIVE_PROBE_MS = 15_000
/** How often the leader's front is asked whether it is there, and for how long its answer is waited for. */
const ASK_MS = 1_000
const ANSWERS_WITHIN_MS = 2_000

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

/** The connections of one upstream, which are used again until it is closed. */
class Connections extends Agent {
  readonly #dial: () => Promise<Socket>
  #closed = false

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

  override keepSocketAlive(socket: Duplex): boolean {
    // Node's types leave out that it says whether the connection is kept.
    return !this.#closed && (super.keepSocketAlive(socket) as unknown as boolean)
  }

  /** Each connection ends as soon as no request is under way on it. */
  close(): void {
    this.#closed = true
    this.closeIdle()
  }

  closeIdle(): void {
    for (const idle of Object.values(this.freeSockets).flat()) idle?.destroy()
  }
}

/** Where requests are sent, and the connections to it: LangFlow, or the leader's front, in one term. */
export class Upstream {
  readonly options: UpstreamOptions
  readonly agent: Connections
  readonly #where: { readonly host: string; readonly port: number }
  readonly #connecting = new Set<Socket>()
  /** What ends each request and each websocket that is under way. */
  readonly #relays = new Set<() => void>()
  #relaysOver: (() => void) | null = null
  /** After one that did not get there requests are tried one at a time, until one gets there. */
  #doubtful = false
  #trying = false
  #resting: Timer | null = null
  #asking: Timer | null = null
  /** Monotonic ms: when the leader's front last answered a hop in any way, and what has become of those since. */
  #heardAt: number
  #unheardBecause = 'it has not answered yet'
  #closed = false

  constructor(options: UpstreamOptions) {
    this.options = options
    this.#heardAt = options.clock.mono()
    const { hostname, port } = new URL(`http://${options.address}`)
    this.#where = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80) }
    this.agent = new Connections(() => this.#dial())
    if (options.to === 'leader') this.#askSoon()
  }

  get available(): boolean {
    return !this.#closed && this.#resting === null && !(this.#doubtful && this.#trying)
  }

  /** Whether nothing is sent to it any more: another leads, or nobody. */
  get closed(): boolean {
    return this.#closed
  }

  /** Since when the leader's front has not answered; `null`: this is LangFlow. */
  get unheard(): Unheard | null {
    const { to, address } = this.options
    return to === 'leader' ? { address, since: this.#heardAt, because: this.#unheardBecause } : null
  }

  /** The leader's front has answered a hop, or asked for its body. */
  heard(): void {
    this.#heardAt = this.options.clock.mono()
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

  /** A connection broke: those that are idle may be about to, and the request that is sent again takes none of them. */
  broke(): void {
    this.agent.closeIdle()
    this.givenBack()
  }

  /** @param epoch what the other front knows: a later one, if another leads */
  refused(epoch: number): void {
    if (epoch > this.options.hop.epoch) this.superseded()
    else this.missed()
  }

  /** Takes no request any more: somebody else leads. */
  superseded(): void {
    this.#closed = true
    this.agent.close()
    this.#resting?.cancel()
    this.#asking?.cancel()
  }

  /** Rejects where there is no connection in time. */
  async #dial(): Promise<Socket> {
    const { from, clock } = this.options
    const socket = connect({
      ...this.#where,
      ...(from !== null && { localAddress: from }),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS,
    })
    // It may break while no request is under way on it.
    socket.on('error', () => {})
    // Node writes a head in it that is sent before its body.
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

  #askSoon(): void {
    const { clock } = this.options
    this.#asking = clock.after(ASK_MS, async () => {
      if (clock.mono() - this.#heardAt >= ASK_MS) await this.#ask()
      if (!this.#closed) this.#askSoon()
    })
  }

  /** Sends a hop that each front answers by itself with 421, so that one to which no request comes knows as well. */
  #ask(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const asked = request({
      ...this.#where,
      agent: this.agent,
      method: 'HEAD',
      headers: { [HOP]: 'are you there' },
    })
    const late = this.options.clock.after(ANSWERS_WITHIN_MS, () =>
      asked.destroy(new Error(`no answer within ${ANSWERS_WITHIN_MS / 1000} s`)),
    )
    asked.once('response', (answer) => {
      if (answer.headers[HOP_EPOCH] !== undefined) this.heard()
      else this.#unheardBecause = `it is no front: its answer is ${answer.statusCode}`
      answer.resume()
    })
    asked.on('error', ({ message }) => {
      this.#unheardBecause = message
    })
    asked.once('close', () => {
      late.cancel()
      resolve()
    })
    asked.end()
    return promise
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
    if (this.#relays.size > 0)
      await new Promise<void>((resolve) => {
        this.#relaysOver = resolve
      })
  }

  /** Whatever is still under way breaks. */
  cut(): void {
    this.superseded()
    for (const end of [...this.#relays]) end()
  }
}
