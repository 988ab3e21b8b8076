import type { Clock, Timer } from '../clock.ts'
import { heldTooLong, type Refusal, tooManyHeld } from './refusal.ts'
import type { Upstream } from './upstream.ts'

/** A request that may have to wait. */
export interface Guest {
  /** `null`: a client's; else another front forwards it. */
  readonly hop: string | null
  /** Of its arrival: smaller ones go first. */
  readonly order: number
  /** Monotonic ms: from when on its waiting counts. */
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
 * Where requests wait for somebody to serve them. They leave in the order in which they arrived; one whose body is still to be read
 * goes once it is.
 */
export class WaitingRoom {
  readonly #options: WaitingRoomOptions
  #places: Place[] = []

  constructor(options: WaitingRoomOptions) {
    this.#options = options
  }

  get oldestMs(): number {
    const now = this.#options.clock.mono()
    return this.#places.reduce((oldest, { guest }) => Math.max(oldest, now - guest.since), 0)
  }

  /** Resolves with where this request is to be sent now. Rejects with a `Refusal` where it waits for too long, or too many do. */
  turn(guest: Guest): Promise<Upstream> {
    if (this.#places.length === 0) {
      const upstream = this.#options.open()
      if (upstream !== null) {
        upstream.taken()
        return Promise.resolve(upstream)
      }
    }
    const { clock, holdTimeoutMs, holdLimit } = this.#options
    const newest = this.#places.at(-1)?.guest
    // One that comes back, since it did not get there, has had its place.
    const isNew = newest === undefined || guest.order > newest.order
    if (isNew && this.#places.length >= holdLimit) return Promise.reject(tooManyHeld(holdLimit))
    return new Promise((go, refuse) => {
      const left = guest.since + holdTimeoutMs - clock.mono()
      const timer = clock.after(Math.max(0, left), () =>
        this.#leave(place)?.refuse(heldTooLong(holdTimeoutMs)),
      )
      const place = { guest, timer, go, refuse }
      const after = this.#places.findLastIndex((other) => other.guest.order < guest.order)
      this.#places.splice(after + 1, 0, place)
      guest.waits(true)
      this.letGo()
    })
  }

  /** Sends all that may go, those that arrived first before the others. */
  letGo(): void {
    for (const place of [...this.#places]) {
      const upstream = this.#options.open()
      if (upstream === null) return
      upstream.taken()
      this.#leave(place)?.go(upstream)
    }
  }

  /** Its client is gone. */
  forget(guest: Guest): void {
    const place = this.#places.find((one) => one.guest === guest)
    if (place !== undefined) this.#leave(place)?.refuse(new Error('the client is gone'))
  }

  /** Refuses those that must not wait any longer. */
  refuse(whom: (guest: Guest) => boolean, refusal: Refusal): void {
    for (const place of this.#places.filter(({ guest }) => whom(guest))) this.#leave(place)?.refuse(refusal)
  }

  /** @returns `null`: it waits no more */
  #leave(place: Place): Place | null {
    const at = this.#places.indexOf(place)
    if (at < 0) return null
    this.#places.splice(at, 1)
    place.timer.cancel()
    place.guest.waits(false)
    return place
  }
}
