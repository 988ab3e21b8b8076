import { type Clock, pause } from '../clock.ts'
import type { Exchange } from './exchange.ts'
import type { Upstream } from './upstream.ts'

/** Number of requests that LangFlow has, unless /health is late: they share one interpreter. */
const FIRST_SIZE = 8
/** With a growth of one, all waiting requests would soon reach a busy LangFlow again. */
const GROWTH = 0.25
/** A request may take minutes. After this time without an answer, it may make room too. */
const PATIENCE_MS = 2_000
const ASK_EACH_MS = 250
const ASK_AGAIN_MS = 25
/** On a busy machine, LangFlow 1.13 answered four of five within it without a run, and fewer than half with 1 to 32 runs. */
const FAST_MS = 20
/** So many more fast than other answers show that LangFlow has time, and so many fewer that it has none. */
const SURE = 3
const SLOW_MS = 500
/** The agent gives up after 2 s (`--health-timeout`). So that LangFlow answers before, it then gets fewer requests. */
const LATE_MS = 1_500
/** After this time without a waiting request, no limit applies. */
export const QUIET_MS = 1_000

export interface LoadOptions {
  readonly clock: Clock
  readonly open: () => Upstream | null
  readonly waits: () => boolean
  readonly changed: () => void
}

/**
 * - `open`: no request waits for long. The requests in LangFlow may double each time that /health shows that it has time.
 * - `opening`: after a takeover with waiting requests, or while LangFlow has no time. Each answer makes room for one
 *   request, and for more if /health is fast.
 * - `closed`: /health is slow or silent. Only an answer makes room, and each late /health halves the window.
 */
type LoadPhase = 'open' | 'opening' | 'closed'

/** How many requests LangFlow has without an answer, by how fast it answers /health. */
export class Load<Guest extends Pick<Exchange, 'gone'>> {
  readonly #options: LoadOptions
  readonly #sent = new Map<Guest, { readonly at: number; readonly answers: number }>()
  #phase: LoadPhase = 'open'
  #size = 2 * FIRST_SIZE
  #answers = 0
  /** Of /health: the answers that were not fast, less the fast ones, from 0 to twice SURE. */
  #slowness = SURE
  #slowAt = Number.NEGATIVE_INFINITY
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
    if (!this.#options.waits() || this.#phase !== 'open') return
    this.#become('opening')
    this.#slowness = 0
  }

  /** `quiet`: no request has waited for a while. */
  take(guest: Guest, upstream: Upstream, quiet: boolean): boolean {
    const isFast = this.#options.clock.mono() >= this.#slowAt + QUIET_MS
    if (quiet && isFast && this.#phase === 'opening') this.#become('open')
    const hasRoom = this.#sent.has(guest) || this.#sent.size < this.#size
    const now = { at: this.#options.clock.mono(), answers: this.#answers }
    if (hasRoom) this.#sent.set(guest, this.#sent.get(guest) ?? now)
    if (!hasRoom || this.#sent.size > FIRST_SIZE) void this.#ask(upstream)
    return hasRoom
  }

  answered(guest: Guest): void {
    this.#answers++
    this.#leaves(guest, this.#slowness === 0 ? GROWTH : 0)
  }

  /** A LangFlow that has no time may still work for a client that is gone. */
  gone(guest: Guest): void {
    if (this.#slowness <= SURE) this.#leaves(guest, 0)
  }

  /** Requests /health, as long as the answer may matter. */
  async #ask(upstream: Upstream): Promise<void> {
    const { clock, open, waits } = this.#options
    if (this.#asked === upstream) return
    this.#asked = upstream
    const isWanted = () => this.#phase === 'closed' || this.#sent.size > FIRST_SIZE || waits()
    while (this.#asked === upstream && open() === upstream && isWanted()) {
      const askedAt = clock.mono()
      const late = clock.after(SLOW_MS, () => this.#judge(upstream, Number.POSITIVE_INFINITY))
      const tookMs = await upstream.health().then(
        () => clock.mono() - askedAt,
        () => Number.POSITIVE_INFINITY,
      )
      late.cancel()
      this.#judge(upstream, tookMs)
      const isLate = this.#asked === upstream && clock.mono() - askedAt > LATE_MS
      if (isLate) this.#size = Math.max(1, Math.floor(this.#size / 2))
      await pause(clock, this.#phase === 'open' && waits() ? ASK_AGAIN_MS : ASK_EACH_MS)
    }
    if (this.#asked === upstream) this.#asked = null
  }

  /** `tookMs`: of /health. Infinity: no answer yet, or its connection broke. */
  #judge(upstream: Upstream, tookMs: number): void {
    if (this.#asked !== upstream) return
    const now = this.#options.clock.mono()
    const isFast = tookMs < FAST_MS
    const slowness = tookMs < SLOW_MS ? this.#slowness + (isFast ? -1 : 1) : 2 * SURE
    this.#slowness = Math.min(2 * SURE, Math.max(0, slowness))
    if (!isFast) this.#slowAt = now
    if (tookMs >= SLOW_MS) this.#become('closed')
    else if (this.#phase === 'closed' || (this.#phase === 'open' && this.#slowness === 2 * SURE))
      this.#become('opening')
    if (tookMs < SLOW_MS && this.#size < FIRST_SIZE) this.#size = Math.min(FIRST_SIZE, 2 * this.#size)
    for (const [guest, { at, answers }] of this.#sent) {
      if (now < at + PATIENCE_MS || tookMs === Number.POSITIVE_INFINITY) continue
      const others = this.#answers - answers
      if (guest.gone) this.#leaves(guest, 0)
      else if (tookMs >= SLOW_MS) continue
      // Without any answer, the requests in LangFlow may wait for others.
      else if (others === 0) this.#leaves(guest, 1)
      else if (this.#slowness === 0) this.#leaves(guest, GROWTH)
      // LangFlow computes, but not for this one.
      else if (others >= 2 * FIRST_SIZE) this.#leaves(guest, 0)
    }
    if (this.#phase === 'open' && this.#slowness === 0) this.#become('open')
    this.#options.changed()
  }

  #leaves(guest: Guest, more: number): void {
    if (this.#sent.delete(guest) && this.#phase === 'opening') this.#size += more
  }

  #become(phase: LoadPhase): void {
    this.#phase = phase
    this.#size =
      phase === 'open' ? 2 * Math.max(FIRST_SIZE, this.#sent.size) : Math.min(FIRST_SIZE, this.#size)
    if (phase === 'open') this.#slowness = SURE
  }
}
