import { once } from 'node:events'
import { Agent, type ClientRequestArgs, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { Clock, Timer } from '../clock.ts'
import { HOP, HOP_EPOCH, type LeaderSilence } from './front-messages.ts'
import type { Hop } from './headers.ts'

const CONNECT_TIMEOUT_MS = 1_000
const TRY_AGAIN_MS = 100
/** Below the 2 s of gunicorn: a request sent on a connection that it closes may or may not be read. */
const IDLE_MS = 1_000
/** A dead peer is noticed half a minute later. */
const KEEP_ALIVE_PROBE_MS = 15_000
const PROBE_MS = 1_000
const ANSWERS_WITHIN_MS = 2_000

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

export class Upstream {
  readonly options: UpstreamOptions
  readonly agent: Connections
  readonly #where: { readonly host: string; readonly port: number }
  readonly #connecting = new Set<Socket>()
  readonly #relays = new Set<() => void>()
  #relaysOver: (() => void) | null = null
  /** After a request that did not reach the upstream, requests are tried one at a time until one succeeds. */
  #doubtful = false
  #trying = false
  #resting: Timer | null = null
  #probing: Timer | null = null
  #silence: LeaderSilence
  /** Accepts no more requests, because another replica leads or none does. */
  closed = false

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
    return !this.closed && this.#resting === null && !(this.#doubtful && this.#trying)
  }

  get silence(): LeaderSilence | null {
    return this.options.to === 'leader' ? this.#silence : null
  }

  responded(): void {
    this.#silence = { ...this.#silence, since: this.options.clock.mono() }
  }

  taken(): void {
    this.#trying = true
  }

  givenBack(): void {
    this.#trying = false
    if (this.#doubtful) this.options.ready()
  }

  reached(): void {
    if (!this.#doubtful) return
    this.#doubtful = false
    this.options.ready()
  }

  missed(): void {
    this.#doubtful = true
    this.#trying = false
    if (this.closed) return
    this.#resting ??= this.options.clock.after(TRY_AGAIN_MS, () => {
      this.#resting = null
      this.options.ready()
    })
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
    this.closed = true
    this.agent.maxFreeSockets = 0
    this.agent.closeIdle()
    this.#resting?.cancel()
    this.#probing?.cancel()
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

  #probeLater(): void {
    const { clock } = this.options
    this.#probing = clock.after(PROBE_MS, async () => {
      if (clock.mono() - this.#silence.since >= PROBE_MS) await this.#probe()
      if (!this.closed) this.#probeLater()
    })
  }

  /** Each front answers this hop with 421, so a front without requests also notices a dead leader. */
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
