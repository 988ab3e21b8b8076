import type { Clock, Timer } from '../clock.ts'
import type { Exchange } from './exchange.ts'
import { heldTooLong, type Refusal, tooManyHeld } from './refusal.ts'
import type { Upstream } from './upstream.ts'

/** Number of waiting requests that LangFlow gets at first: they share one interpreter. */
const FIRST_SIZE = 8
const UNBOUNDED = Number.POSITIVE_INFINITY
/** With a growth of one, all waiting requests would soon reach a busy LangFlow again. */
const GROWTH = 0.25
/** A request may take minutes. After this time without an answer, it makes room too. */
const PATIENCE_MS = 2_000
const QUIET_MS = 1_000

export type Guest = Pick<Exchange, 'hop' | 'urgent' | 'order' | 'since' | 'waits'>

export interface WaitingRoomOptions {
  readonly clock: Clock
  readonly holdTimeoutMs: number
  readonly holdLimit: number
  readonly open: () => Upstream | null
}

interface Place {
  readonly guest: Guest
  readonly timer: Timer
  readonly go: (upstream: Upstream) => void
  readonly refuse: (refusal: Error) => void
}

/** The requests leave in the order of arrival at any front, and enter LangFlow through a window. */
export class WaitingRoom {
  readonly #options: WaitingRoomOptions
  #places: Place[] = []
  #emptySince = 0
  #size = UNBOUNDED
  #answers = 0
  #upstream: Upstream | null = null
  readonly #taken = new Map<Guest, Timer>()

  constructor(options: WaitingRoomOptions) {
    this.#options = options
  }

  get oldestMs(): number {
    const now = this.#options.clock.mono()
    return this.#places.reduce((oldest, { guest }) => Math.max(oldest, now - guest.since), 0)
  }

  turn(guest: Guest): Promise<Upstream> {
    if (this.#places.length === 0 || this.#taken.has(guest)) {
      const upstream = this.#sendable(guest)
      if (upstream !== null) return Promise.resolve(upstream)
    }
    const { clock, holdTimeoutMs, holdLimit } = this.#options
    // A request that was not sent had a place here before, and a hop had one at its front.
    const isNew = this.#places.every((other) => other.guest.order < guest.order)
    if (isNew && guest.hop === null && !guest.urgent && this.#places.length >= holdLimit)
      return Promise.reject(tooManyHeld(holdLimit))
    return new Promise((go, refuse) => {
      const left = guest.since + holdTimeoutMs - clock.mono()
      const timer = clock.after(Math.max(0, left), () =>
        this.#leave(place)?.refuse(heldTooLong(holdTimeoutMs)),
      )
      const place = { guest, timer, go, refuse }
      const after = this.#places.findLastIndex((other) => goesBefore(other.guest, guest))
      this.#places.splice(after + 1, 0, place)
      guest.waits(true)
      this.letGo()
    })
  }

  letGo(): void {
    for (const place of [...this.#places]) {
      const upstream = this.#sendable(place.guest)
      if (upstream === null) return
      this.#leave(place)?.go(upstream)
    }
  }

  forget(guest: Guest): void {
    const place = this.#places.find((one) => one.guest === guest)
    if (place !== undefined) this.#leave(place)?.refuse(new Error('the client is gone'))
    this.#makesRoom(guest, 0)
  }

  answered(guest: Guest): void {
    this.#answers++
    this.#makesRoom(guest, GROWTH)
  }

  #makesRoom(guest: Guest, more: number): void {
    this.#taken.get(guest)?.cancel()
    if (!this.#taken.delete(guest)) return
    this.#size += more
    this.letGo()
  }

  refuse(whom: (guest: Guest) => boolean, refusal: Refusal): void {
    for (const place of this.#places.filter(({ guest }) => whom(guest))) this.#leave(place)?.refuse(refusal)
  }

  #sendable(guest: Guest): Upstream | null {
    const { clock, open } = this.#options
    const upstream = open()
    if (upstream === null) return null
    const waits = this.#places.length > 0
    if (this.#upstream !== upstream || (!waits && clock.mono() - this.#emptySince >= QUIET_MS)) {
      this.#upstream = upstream
      this.#size = UNBOUNDED
      for (const timer of this.#taken.values()) timer.cancel()
      this.#taken.clear()
    }
    if (waits && this.#size === UNBOUNDED && upstream.options.to === 'langflow') this.#size = FIRST_SIZE
    if (this.#size < UNBOUNDED && !guest.urgent && !this.#taken.has(guest)) {
      if (this.#taken.size >= this.#size) return null
      const answers = this.#answers
      // Without any answer, the requests in LangFlow may wait for others.
      const more = () => (answers === this.#answers ? 1 : GROWTH)
      const timer = clock.after(PATIENCE_MS, () => this.#makesRoom(guest, more()))
      this.#taken.set(guest, timer)
    }
    upstream.taken()
    return upstream
  }

  #leave(place: Place): Place | null {
    const at = this.#places.indexOf(place)
    if (at < 0) return null
    this.#places.splice(at, 1)
    this.#emptySince = this.#options.clock.mono()
    place.timer.cancel()
    place.guest.waits(false)
    return place
  }
}

function goesBefore(one: Guest, other: Guest): boolean {
  if (one.urgent !== other.urgent) return one.urgent
  return one.since === other.since ? one.order < other.order : one.since < other.since
}
