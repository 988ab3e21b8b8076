import { once } from 'node:events'
import { Agent, type ClientRequestArgs, type IncomingMessage, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Clock, deadlineAfter, type Timer } from '../clock.ts'
import type { Hop } from './headers.ts'

const CONNECT_TIMEOUT_MS = 1_000
const TRY_AGAIN_MS = 100
/** A connection may be lost. After this time, /health is requested on another one. */
const HEALTH_TIMEOUT_MS = 5_000
/** Below the 2 s of gunicorn: a request sent on a connection that it closes may or may not be read. */
const IDLE_MS = 1_000
/** A dead peer is noticed half a minute later. */
const KEEP_ALIVE_PROBE_MS = 15_000

export interface Destination {
  readonly to: 'langflow' | 'leader'
  readonly hop: Hop
  readonly address: string
  readonly from: string | null
}

interface UpstreamOptions extends Destination {
  readonly clock: Clock
  readonly ready: () => void
}

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

/** After a request that did not reach the upstream, requests are tried one at a time until one succeeds. */
type UpstreamPhase =
  | { readonly name: 'open' }
  | { readonly name: 'resting'; readonly timer: Timer }
  | { readonly name: 'doubtful' }
  | { readonly name: 'trying' }
  /** Accepts no more requests, because another replica leads or none does. */
  | { readonly name: 'closed' }

export class Upstream {
  readonly options: UpstreamOptions
  readonly agent: Connections
  readonly #where: { readonly host: string; readonly port: number }
  readonly #connecting = new Set<Socket>()
  readonly #relays = new Set<() => void>()
  #relaysOver: (() => void) | null = null
  #phase: UpstreamPhase = { name: 'open' }

  constructor(options: UpstreamOptions) {
    this.options = options
    const { hostname, port } = new URL(`http://${options.address}`)
    this.#where = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 80) }
    this.agent = new Connections(() => this.#dial())
  }

  get available(): boolean {
    return this.#phase.name === 'open' || this.#phase.name === 'doubtful'
  }

  get closed(): boolean {
    return this.#phase.name === 'closed'
  }

  taken(): void {
    if (this.#phase.name === 'doubtful') this.#become({ name: 'trying' })
  }

  givenBack(): void {
    if (this.#phase.name === 'trying') this.#become({ name: 'doubtful' })
  }

  reached(): void {
    if (this.#phase.name !== 'open') this.#become({ name: 'open' })
  }

  missed(): void {
    if (this.#phase.name === 'resting') return
    const timer = this.options.clock.after(TRY_AGAIN_MS, () => this.#become({ name: 'doubtful' }))
    this.#become({ name: 'resting', timer })
  }

  /** The idle connections may be about to break as well, so the retry uses none of them. */
  broke(): void {
    this.agent.closeIdle()
    this.givenBack()
  }

  /** `epoch` is higher than ours if another replica leads. */
  refused(epoch: number): void {
    if (epoch > this.options.hop.epoch) this.superseded()
    else this.missed()
  }

  superseded(): void {
    this.#become({ name: 'closed' })
    this.agent.maxFreeSockets = 0
    this.agent.closeIdle()
  }

  #become(phase: UpstreamPhase): void {
    if ('timer' in this.#phase) this.#phase.timer.cancel()
    this.#phase = this.closed ? this.#phase : phase
    if (this.available) this.options.ready()
  }

  async #dial(): Promise<Socket> {
    const { from, clock } = this.options
    const socket = connect({
      ...this.#where,
      ...(from !== null && { localAddress: from }),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_PROBE_MS,
    })
    socket.on('error', () => {})
    // Node writes a head in this encoding if it sends the head before the body.
    socket.setDefaultEncoding('latin1')
    const timer = clock.after(CONNECT_TIMEOUT_MS, () => socket.destroy(new Error('not connected in time')))
    this.#connecting.add(socket)
    if (this.closed) socket.destroy(new Error('closed'))
    try {
      await once(socket, 'connect')
      return socket
    } finally {
      timer.cancel()
      this.#connecting.delete(socket)
    }
  }

  /** Resolves when LangFlow has answered. */
  async health(): Promise<void> {
    const { address, clock } = this.options
    using late = deadlineAfter(clock, HEALTH_TIMEOUT_MS)
    const headers = { host: address }
    const asked = request({ path: '/health', headers, agent: this.agent, signal: late.signal })
    const [answer] = (await once(asked.on('error', () => {}).end(), 'response')) as [IncomingMessage]
    answer.on('error', () => {}).resume()
  }

  relaying(end: () => void): () => void {
    this.#relays.add(end)
    return () => {
      this.#relays.delete(end)
      if (this.#relays.size === 0) this.#relaysOver?.()
    }
  }

  /** Unsent requests fail. Resolves when each connection is closed, after its request. */
  async close(): Promise<void> {
    this.superseded()
    for (const socket of this.#connecting) socket.destroy(new Error('closed'))
    if (this.#relays.size > 0)
      await new Promise<void>((resolve) => {
        this.#relaysOver = resolve
      })
  }

  cut(): void {
    this.superseded()
    for (const end of [...this.#relays]) end()
  }
}
