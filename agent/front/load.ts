import { type Clock, pause } from '../clock.ts'
import type { Exchange } from './exchange.ts'
import type { Upstream } from './upstream.ts'

/** Number of requests that LangFlow has in any case: they share one interpreter. */
const FIRST_SIZE = 8
/** With a growth of one, all waiting requests would soon reach a busy LangFlow again. */
const GROWTH = 0.25
/** A request may take minutes. If /health is fast after this time, the request makes room too. */
const PATIENCE_MS = 2_000
const ASK_EACH_MS = 250
/** With eight runs at a time on two cores, LangFlow 1.13 answered /health within 0.29 s. */
const SLOW_MS = 500
/** A wait is predicted from the last places that became free. */
const RATE_OF = 32

export interface LoadOptions {
  readonly clock: Clock
  readonly open: () => Upstream | null
  readonly waits: () => boolean
  readonly changed: () => void
}

/**
 * - `open`: no request waits for long. Between two fast answers of /health, the requests in LangFlow may double.
 * - `opening`: after a takeover with waiting requests, or after `closed`. Each answer makes room for more than one.
 * - `closed`: /health is slow or silent. Only an answer makes room, and for one request.
 */
type LoadPhase = 'open' | 'opening' | 'closed'

/** How many requests LangFlow has without an answer, by how fast it answers /health. */
export class Load<Guest extends Pick<Exchange, 'gone'>> {
  readonly #options: LoadOptions
  readonly #sent = new Map<Guest, { readonly at: number; readonly answers: number }>()
  #phase: LoadPhase = 'open'
  #size = 2 * FIRST_SIZE
  #answers = 0
  /** Since /health was slow. */
  #freedAt: number[] = []
  #asked: Upstream | null = null

  constructor(options: LoadOptions) {
    this.#options = options
  }

  has(guest: Guest): boolean {
    return this.#sent.has(guest)
  }

  /** `again`: this LangFlow was not reached for a time. */
  begin(again: boolean): void {
    if (!again) {
      this.#sent.clear()
      this.#asked = null
      this.#become('open')
    }
    if (this.#options.waits() && this.#phase === 'open') this.#become('opening')
  }

  /** `quiet`: no request has waited for a while. */
  take(guest: Guest, upstream: Upstream, quiet: boolean): boolean {
    if (quiet && this.#phase === 'opening') this.#become('open')
    const hasRoom = this.#sent.has(guest) || this.#sent.size < this.#size
    const now = { at: this.#options.clock.mono(), answers: this.#answers }
    if (hasRoom) this.#sent.set(guest, this.#sent.get(guest) ?? now)
    if (!hasRoom || this.#sent.size > FIRST_SIZE) void this.#ask(upstream)
    return hasRoom
  }

  answered(guest: Guest): void {
    this.#answers++
    this.#leaves(guest, GROWTH)
  }

  /** A slow LangFlow may still work for a client that is gone, until it has answered /health. */
  gone(guest: Guest): void {
    if (this.#phase !== 'closed') this.#leaves(guest, 0)
  }

  /** Predicted wait of a request in ms, with `ahead` others before it. 0: can't be predicted. */
  waitMs(ahead: number): number {
    const [first = 0, ...later] = this.#freedAt
    const eachMs = (this.#options.clock.mono() - first) / later.length
    return later.length < FIRST_SIZE ? 0 : (ahead + 1) * eachMs
  }

  /** Requests /health, as long as the answer may matter. */
  async #ask(upstream: Upstream): Promise<void> {
    const { clock, open, waits } = this.#options
    if (this.#asked === upstream) return
    this.#asked = upstream
    const isWanted = () => this.#phase === 'closed' || this.#sent.size > FIRST_SIZE || waits()
    while (this.#asked === upstream && open() === upstream && isWanted()) {
      const lateAt = clock.mono() + SLOW_MS
      const late = clock.after(SLOW_MS, () => this.#judge(upstream, 'silent'))
      const health = await upstream.health().then(
        () => (clock.mono() < lateAt ? 'fast' : 'late'),
        () => 'silent' as const,
      )
      late.cancel()
      this.#judge(upstream, health)
      await pause(clock, this.#phase === 'open' && waits() ? 0 : ASK_EACH_MS)
    }
    if (this.#asked === upstream) this.#asked = null
  }

  #judge(upstream: Upstream, health: 'fast' | 'late' | 'silent'): void {
    if (this.#asked !== upstream) return
    const now = this.#options.clock.mono()
    if (health !== 'fast') {
      this.#become('closed')
      if (this.#freedAt.length === 0) this.#freedAt = [now]
    } else if (this.#phase === 'closed') this.#become('opening')
    for (const [guest, { at, answers }] of this.#sent) {
      if (guest.gone && health !== 'silent') this.#leaves(guest, 0)
      // Without any answer, the requests in LangFlow may wait for others.
      else if (health === 'fast' && now >= at + PATIENCE_MS)
        this.#leaves(guest, answers === this.#answers ? 1 : GROWTH)
    }
    if (this.#phase === 'open') this.#become('open')
    this.#options.changed()
  }

  #leaves(guest: Guest, more: number): void {
    if (!this.#sent.delete(guest)) return
    if (this.#phase === 'opening') this.#size += more
    if (this.#freedAt.length > 0)
      this.#freedAt = [...this.#freedAt, this.#options.clock.mono()].slice(-RATE_OF)
  }

  #become(phase: LoadPhase): void {
    this.#phase = phase
    this.#size = phase === 'open' ? 2 * Math.max(FIRST_SIZE, this.#sent.size) : FIRST_SIZE
    if (phase === 'open') this.#freedAt = []
  }
}
