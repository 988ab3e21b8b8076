import type { Clock, Timer } from '../clock.ts'
import { heldTooLong, type Refusal, tooManyHeld } from './refusal.ts'
import type { Upstream } from './upstream.ts'

/** How many of those that waited LangFlow has at first: they share one interpreter. */
const FIRST_SIZE = 8
const UNBOUNDED = Number.POSITIVE_INFINITY
/** With each answer. By one, as in TCP, all that waited would soon be with a busy LangFlow again. */
const GROWTH = 0.25
/** A request without an answer by then makes room too: it may take minutes. */
const PATIENCE_MS = 2_000
/** Once nobody has waited for so long, requests are sent as they come. */
const QUIET_MS = 1_000

/** A request that may have to wait. */
export interface Guest {
  /** `null`: a client's; else another front forwards it. */
  readonly hop: string | null
  /** Asks for LangFlow's health: goes before all others, and needs no place in the window. */
  readonly urgent: boolean
  /** Of its arrival at this front. */
  readonly order: number
  /** Monotonic ms: from when on its waiting counts, also at another front. Smaller ones go first. */
  readonly since: number
  /** Called as it begins and as it ends to wait. */
  waits(held: boolean): void
}

export interface WaitingRoomOptions {
  readonly clock: Clock
  readonly holdTimeoutMs: number
  readonly holdLimit: number
  /** Where a request may be sent at once; `null`: it waits. */
  readonly open: () => Upstream | null
}

interface Place {
  readonly guest: Guest
  readonly timer: Timer
  readonly go: (upstream: Upstream) => void
  readonly refuse: (refusal: Error) => void
}

/**
 * Where requests wait for somebody to serve them. They leave in the order in which they arrived, at whichever front, and to LangFlow
 * through a window; one whose body is still to be read goes once it is.
 */
export class WaitingRoom {
  readonly #options: WaitingRoomOptions
  #places: Place[] = []
  #emptySince = 0
  /** Of the window to the upstream; `UNBOUNDED`: there is none. */
  #size = UNBOUNDED
  #answers = 0
  #upstream: Upstream | null = null
  /** Those that were sent through the window, until they make room. */
  readonly #taken = new Map<Guest, Timer>()

  constructor(options: WaitingRoomOptions) {
    this.#options = options
  }

  get oldestMs(): number {
    const now = this.#options.clock.mono()
    return this.#places.reduce((oldest, { guest }) => Math.max(oldest, now - guest.since), 0)
  }

  /** Resolves with where this request is to be sent now. Rejects with a `Refusal` where it waits for too long, or too many do. */
  turn(guest: Guest): Promise<Upstream> {
    if (this.#places.length === 0 || this.#taken.has(guest)) {
      const upstream = this.#sendable(guest)
      if (upstream !== null) return Promise.resolve(upstream)
    }
    const { clock, holdTimeoutMs, holdLimit } = this.#options
    // One that comes back, since it did not get there, has had its place; one of another front has had it there.
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

  /** Sends all that may go, those that arrived first before the others. */
  letGo(): void {
    for (const place of [...this.#places]) {
      const upstream = this.#sendable(place.guest)
      if (upstream === null) return
      this.#leave(place)?.go(upstream)
    }
  }

  /** Its client is gone, or it is not sent yet after all. */
  forget(guest: Guest): void {
    const place = this.#places.find((one) => one.guest === guest)
    if (place !== undefined) this.#leave(place)?.refuse(new Error('the client is gone'))
    this.#makesRoom(guest, 0)
  }

  /** LangFlow has begun to answer it. */
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

  /** Refuses those that must not wait any longer. */
  refuse(whom: (guest: Guest) => boolean, refusal: Refusal): void {
    for (const place of this.#places.filter(({ guest }) => whom(guest))) this.#leave(place)?.refuse(refusal)
  }

  /** Where it is sent now; `null`: it has to wait. */
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
      // Where nothing at all is answered, LangFlow waits for others.
      const more = () => (answers === this.#answers ? 1 : GROWTH)
      const timer = clock.after(PATIENCE_MS, () => this.#makesRoom(guest, more()))
      this.#taken.set(guest, timer)
    }
    upstream.taken()
    return upstream
  }

  /** @returns `null`: it waits no more */
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
