import { Agent, request } from 'undici'
import { mono } from '../../harness/wait.ts'

/** Where a replica is reached. */
export interface Place {
  readonly name: string
  /** Its agent's. */
  readonly httpPort: number
  /** Its LangFlow's. */
  readonly port: number
}

const EVERY_MS = 50
const TIMEOUT_MS = 1_000

/**
 * Where requests go, as a Service knows it: to whom `/readyz` says 200. It asks all agents each 50 ms. While it is
 * held, nothing changes: an API server that is frozen tells nobody of a probe that failed.
 */
export class Routes {
  readonly #dispatcher = new Agent({ pipelining: 0 })
  readonly #over = new AbortController()
  readonly #polls: Promise<void>[]
  /** Who says to be ready, the latest last. */
  readonly #ready: Place[] = []
  #route: Place | undefined
  #held = false
  /** When the last gate closed; `undefined`: one is open. */
  #closedSince: number | undefined = mono()
  #closed: { from: number; to: number }[] = []

  constructor(places: readonly Place[]) {
    this.#polls = places.map((place) => this.#poll(place))
  }

  /** Whom to send to; `undefined`: nobody is ready. */
  get route(): Place | undefined {
    return this.#route
  }

  hold(): void {
    this.#held = true
  }

  release(): void {
    this.#held = false
    this.#route = this.#ready.at(-1)
  }

  /** The longest time after `since` in which nobody said to be ready. */
  closedMs(since: number): number {
    const open = this.#closedSince
    const all = open === undefined ? this.#closed : [...this.#closed, { from: open, to: mono() }]
    return Math.max(0, ...all.map(({ from, to }) => to - Math.max(from, since)))
  }

  async close(): Promise<void> {
    this.#over.abort()
    await Promise.all(this.#polls)
    await this.#dispatcher.destroy()
  }

  async #poll(place: Place): Promise<void> {
    const { signal } = this.#over
    while (!signal.aborted) {
      const sentAt = mono()
      const ready = await this.#isReady(place)
      if (!signal.aborted) this.#told(place, ready)
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, sentAt + EVERY_MS - mono())))
    }
  }

  async #isReady({ httpPort }: Place): Promise<boolean> {
    const signal = AbortSignal.any([this.#over.signal, AbortSignal.timeout(TIMEOUT_MS)])
    try {
      const answer = await request(`http://127.0.0.1:${httpPort}/readyz`, {
        dispatcher: this.#dispatcher,
        signal,
      })
      await answer.body.dump()
      return answer.statusCode === 200
    } catch {
      return false
    }
  }

  #told(place: Place, ready: boolean): void {
    const at = this.#ready.indexOf(place)
    if (ready === at >= 0) return
    if (ready) this.#ready.push(place)
    else this.#ready.splice(at, 1)
    if (!this.#held) this.#route = this.#ready.at(-1)
    const now = mono()
    if (this.#ready.length === 0) {
      this.#closedSince = now
    } else if (this.#closedSince !== undefined) {
      this.#closed.push({ from: this.#closedSince, to: now })
      this.#closedSince = undefined
    }
  }
}
