import type { Clock, Timer } from '../clock.ts'
import type { Exchange } from './exchange.ts'
import { Load, QUIET_MS } from './load.ts'
import { heldTooLong, overloaded, type Refusal, tooManyHeld } from './refusal.ts'
import type { Upstream } from './upstream.ts'

export type Guest = Pick<Exchange, 'hop' | 'urgent' | 'order' | 'since' | 'waits' | 'gone'>

export interface WaitingRoomOptions {
  readonly clock: Clock
  readonly holdTimeoutMs: number
  readonly holdLimit: number
  /** Of requests that arrive while LangFlow serves. 0: no limit. */
  readonly queueWaitMs: number
  readonly open: () => Upstream | null
}

interface Place {
  readonly guest: Guest
  /** Number of requests that it waits for, itself included. */
  readonly turns: number
  timer: Timer | null
  readonly go: (upstream: Upstream) => void
  readonly refuse: (refusal: Error) => void
}

/** The requests leave in the order of arrival at any front, and enter LangFlow through a window. */
export class WaitingRoom {
  readonly #options: WaitingRoomOptions
  readonly #load: Load<Guest>
  #places: Place[] = []
  #emptySince = 0
  /** The wait of the last request that left, for each of its turns. 0: no request waits for a LangFlow that serves. */
  #turnMs = 0
  #upstream: Upstream | null = null
  /** `null`: no request can be sent. */
  #openSince: number | null = null

  constructor(options: WaitingRoomOptions) {
    this.#options = options
    this.#load = new Load({
      ...options,
      waits: () => this.#places.length > 0,
      changed: () => this.letGo(),
    })
  }

  get oldestMs(): number {
    const now = this.#options.clock.mono()
    return this.#places.reduce((oldest, { guest }) => Math.max(oldest, now - guest.since), 0)
  }

  turn(guest: Guest): Promise<Upstream> {
    if (this.#places.length === 0 || this.#load.has(guest)) {
      const upstream = this.#sendable(guest)
      if (upstream !== null) return Promise.resolve(upstream)
    }
    const ahead = this.#places.findLastIndex((other) => goesBefore(other.guest, guest)) + 1
    const turns = ahead + 1
    const refusal = this.#refusalOf(guest, turns)
    if (refusal !== null) return Promise.reject(refusal)
    return new Promise((go, refuse) => {
      const place = { guest, turns, timer: null, go, refuse }
      this.#places.splice(ahead, 0, place)
      guest.waits(true)
      this.#limit(place)
      this.letGo()
    })
  }

  letGo(): void {
    for (const place of [...this.#places]) {
      const upstream = this.#sendable(place.guest)
      if (upstream === null) return
      if (this.#isQueued(place.guest))
        this.#turnMs = (this.#options.clock.mono() - place.guest.since) / place.turns
      this.#leave(place)?.go(upstream)
    }
  }

  forget(guest: Guest): void {
    const place = this.#places.find((one) => one.guest === guest)
    if (place !== undefined) this.#leave(place)?.refuse(new Error('the client is gone'))
    this.#load.gone(guest)
    this.letGo()
  }

  answered(guest: Guest): void {
    this.#load.answered(guest)
    this.letGo()
  }

  refuse(whom: (guest: Guest) => boolean, refusal: Refusal): void {
    for (const place of this.#places.filter(({ guest }) => whom(guest))) this.#leave(place)?.refuse(refusal)
  }

  #refusalOf(guest: Guest, turns: number): Refusal | null {
    const { holdLimit, queueWaitMs } = this.#options
    // A request that was not sent had a place here before, and a hop had one at its front.
    const isNew = this.#places.every((other) => other.guest.order < guest.order)
    if (!isNew || guest.urgent) return null
    if (guest.hop === null && this.#places.length >= holdLimit) return tooManyHeld(holdLimit)
    const isTooLate = queueWaitMs > 0 && turns * this.#turnMs > queueWaitMs
    return isTooLate && this.#isQueued(guest) ? overloaded(queueWaitMs) : null
  }

  /** A request that arrived before LangFlow served has the hold timeout alone. */
  #isQueued({ since }: Guest): boolean {
    return this.#look()?.options.to === 'langflow' && since >= (this.#openSince ?? since)
  }

  #limit(place: Place): void {
    const { clock, holdTimeoutMs, queueWaitMs } = this.#options
    const { since } = place.guest
    const waitedMs = clock.mono() - since
    const isLimited = queueWaitMs > 0 && this.#isQueued(place.guest)
    const holdLeftMs = holdTimeoutMs - waitedMs
    const queueLeftMs = isLimited ? queueWaitMs - waitedMs : Number.POSITIVE_INFINITY
    if (holdLeftMs <= 0) this.#leave(place)?.refuse(heldTooLong(holdTimeoutMs))
    else if (queueLeftMs <= 0) this.#leave(place)?.refuse(overloaded(queueWaitMs))
    else place.timer = clock.after(Math.min(holdLeftMs, queueLeftMs), () => this.#limit(place))
  }

  #look(): Upstream | null {
    const upstream = this.#options.open()
    if (upstream === null) this.#openSince = null
    else if (this.#openSince === null || upstream !== this.#upstream) {
      this.#load.begin(upstream === this.#upstream)
      this.#openSince = this.#options.clock.mono()
      this.#upstream = upstream
    }
    return upstream
  }

  #sendable(guest: Guest): Upstream | null {
    const upstream = this.#look()
    if (upstream === null) return null
    const isQuiet = this.#places.length === 0 && this.#options.clock.mono() - this.#emptySince >= QUIET_MS
    const isLimited = upstream.options.to === 'langflow' && !guest.urgent
    if (isLimited && !this.#load.take(guest, upstream, isQuiet)) return null
    upstream.taken()
    return upstream
  }

  #leave(place: Place): Place | null {
    const at = this.#places.indexOf(place)
    if (at < 0) return null
    this.#places.splice(at, 1)
    this.#emptySince = this.#options.clock.mono()
    if (this.#places.length === 0) this.#turnMs = 0
    place.timer?.cancel()
    place.guest.waits(false)
    return place
  }
}

function goesBefore(one: Guest, other: Guest): boolean {
  if (one.urgent !== other.urgent) return one.urgent
  return one.since === other.since ? one.order < other.order : one.since < other.since
}
