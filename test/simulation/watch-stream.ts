import { ApiError, type ApiErrorCode } from '../../agent/kube/errors.ts'
import type { OpenWatch, WatchEvent, WatchHandlers } from '../../agent/lease/lease-api.ts'
import type { ApiClientParts } from './api-client.ts'
import type { Watcher } from './api-server.ts'
import type { Connection } from './network.ts'

/** From the last sign of life of the other end until the kernel gives a connection up. */
const KEEP_ALIVE_MS = 25_000

/** One open watch: a connection on which events keep their order, may come late, and may stop coming. */
export class WatchStream implements Watcher, OpenWatch {
  private readonly parts: ApiClientParts
  private readonly connection: Connection
  private readonly handlers: WatchHandlers
  private readonly offNetwork: () => void
  private readonly held: (() => void)[] = []
  private open = true
  private givenUp = false
  private lastArrival = 0

  constructor(parts: ApiClientParts, connection: Connection, handlers: WatchHandlers) {
    this.parts = parts
    this.connection = connection
    this.handlers = handlers
    this.offNetwork = parts.network.onChange(() => this.networkChanged())
    parts.process.onDeath(() => this.close())
  }

  push(event: WatchEvent): void {
    this.send(() => {
      this.parts.knowledge.heard()
      if (event.type === 'changed') this.parts.shown(event.lease)
      this.handlers.event(event)
    })
  }

  end(code?: ApiErrorCode): void {
    this.send(() => {
      this.close()
      this.handlers.ended(code === undefined ? undefined : new ApiError(code, `the watch: ${code}`))
    })
  }

  close(): void {
    this.open = false
    this.offNetwork()
    this.parts.server.unwatch(this)
    this.parts.network.disconnect(this.connection)
  }

  private send(deliver: () => void): void {
    if (!this.open || this.connection.dead) return
    if (this.silent) this.held.push(deliver)
    else this.transmit(deliver)
  }

  private transmit(deliver: () => void): void {
    const { process, network } = this.parts
    const { timeline } = process.kernel
    // A byte stream: nothing overtakes what was sent before.
    this.lastArrival = Math.max(this.lastArrival, timeline.now + network.latency() + network.lag())
    timeline.at(this.lastArrival, () =>
      process.deliver(() => this.open && !this.connection.dead && deliver()),
    )
  }

  private get silent(): boolean {
    return this.parts.network.has(({ cut, watchSilent }) => cut || watchSilent)
  }

  /** Nobody answers the kernel's own questions: one day it gives the connection up. */
  private awaitKernel(): void {
    this.givenUp = true
    this.parts.process.after(KEEP_ALIVE_MS, () => {
      if (!this.open) return
      this.close()
      this.handlers.ended(new ApiError('network', 'the watch is dead'))
    })
  }

  private networkChanged(): void {
    const { network, process, server, random } = this.parts
    if (network.has(({ watchCut }) => watchCut)) {
      server.unwatch(this)
      process.deliver(() => {
        if (!this.open) return
        this.close()
        this.handlers.ended(new ApiError('network', 'the watch was cut'))
      })
    } else if (this.held.length > 0 && !this.silent) {
      // The connection may have been forgotten on the way: then it stays open, and nothing ever comes.
      if (random.chance(0.3)) this.connection.dead = true
      else for (const deliver of this.held) this.transmit(deliver)
      this.held.length = 0
    }
    if (this.connection.dead && !this.givenUp) this.awaitKernel()
  }
}
