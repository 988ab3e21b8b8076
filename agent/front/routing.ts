import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '../clock.ts'
import { formatListen } from '../config/values.ts'
import type { FrontConfig, FrontRoute } from './front-messages.ts'
import { isSame } from './headers.ts'
import { type Destination, Upstream } from './upstream.ts'

const FORMER_LEADER_MS = 1_000

export interface RoutingOptions {
  readonly config: FrontConfig
  readonly clock: Clock
  readonly ready: () => void
}

export class Routing {
  readonly #options: RoutingOptions
  #route: FrontRoute = { to: 'nobody', epoch: 0, key: null }
  #holds = false
  #destination: Destination | null = null
  #upstream: Upstream | null = null
  readonly #former = new Set<Upstream>()

  constructor(options: RoutingOptions) {
    this.#options = options
  }

  get epoch(): number {
    return this.#route.epoch
  }

  /** The deadline for requests in flight, if this is the leader's front in a planned stop. */
  get closing(): number | null {
    return this.#route.to === 'langflow' ? this.#route.closing : null
  }

  get untilQuiet(): boolean {
    return this.#route.to === 'langflow' && this.#route.untilQuiet
  }

  follow(route: FrontRoute): void {
    this.#route = route
    this.#holds &&= this.closing !== null || this.untilQuiet
    const destination = this.#destinationOf(route)
    if (!isDeepStrictEqual(destination, this.#destination)) {
      const { clock, ready } = this.#options
      if (this.#upstream !== null) this.#retire(this.#upstream)
      this.#destination = destination
      this.#upstream = destination && new Upstream({ ...destination, clock, ready })
    }
    for (const former of this.#former) {
      if (former.options.hop.epoch !== route.epoch)
        this.#options.clock.after(FORMER_LEADER_MS, () => this.#former.has(former) && former.cut())
    }
  }

  hold(): void {
    if (this.closing === null && !this.untilQuiet) return
    this.#holds = true
    this.follow(this.#route)
  }

  accepts(hop: string): boolean {
    const { to, epoch, key } = this.#route
    return to !== 'leader' && key !== null && isSame(hop, { epoch, key })
  }

  open(): Upstream | null {
    if (this.#route.to === 'langflow' && this.#options.clock.mono() >= this.#route.until) return null
    return this.#upstream?.available ? this.#upstream : null
  }

  cut(): void {
    for (const upstream of [...this.#former, this.#upstream]) upstream?.cut()
  }

  #destinationOf(route: FrontRoute): Destination | null {
    const { target, from } = this.#options.config
    if (route.to === 'nobody' || (route.to === 'langflow' && this.#holds)) return null
    const { to, epoch, key } = route
    return to === 'langflow'
      ? { to, hop: { epoch, key }, address: formatListen(target), from }
      : { to, hop: { epoch, key }, address: route.address, from: null }
  }

  #retire(upstream: Upstream): void {
    this.#former.add(upstream)
    void upstream.close().finally(() => this.#former.delete(upstream))
  }
}
