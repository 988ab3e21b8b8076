import type { Clock, Timer } from '../../clock.ts'
import { COLD, type StandbyView } from '../../link/link-messages.ts'

/**
 * Delay before a failed standby is prepared again, counted from the moment when it became ready, or from its failure if
 * it was never ready. The delay doubles each time, since a preparation costs a start of LangFlow.
 */
const AGAIN_MS = 60_000
const AGAIN_AT_MOST_MS = 15 * 60_000

export const PREPARING: StandbyView = { ...COLD, mode: 'warm', state: 'preparing' }

export type Standby = Pick<KeptStandby, 'view' | 'prepare' | 'renew' | 'use' | 'discard'>

/**
 * The launcher's standby. It is kept while the workload does not run, and used up by its start. A standby that fails,
 * even while it waits, is prepared again later.
 */
export abstract class KeptStandby {
  protected readonly clock: Clock
  private readonly told: (view: StandbyView) => void
  private current = COLD
  /** Whether a standby is required. */
  private keeping = false
  /** Whether a standby exists: it is being prepared, or is ready. */
  protected exists = false
  /** It failed for a reason that a retry will not change. */
  protected unfit = false
  private failures = 0
  /** Monotonic ms. */
  private readyAt: number | null = null
  /** Monotonic ms. */
  private renewedAt = Number.NEGATIVE_INFINITY
  private again: Timer | null = null
  private settling = Promise.withResolvers<void>()

  constructor(clock: Clock, told: (view: StandbyView) => void) {
    this.clock = clock
    this.told = told
    this.settling.resolve()
  }

  /** Begins the preparation, and changes the view to `PREPARING`. A call of `ready` or `fail` follows. */
  protected abstract begin(): void

  /** Sends SIGKILL to the kept process, if there is one. */
  protected abstract end(): void

  /** What has changed since the preparation. `null`: nothing. */
  protected get stale(): string | null {
    return null
  }

  get view(): StandbyView {
    const { current } = this
    // A standby that is due soon is not ready, but has no problem.
    return this.isPutOff ? { ...current, mode: 'warm' } : current
  }

  /** It waits for its time, and has not failed. */
  private get isPutOff(): boolean {
    return this.again !== null && this.current.reason === null
  }

  /**
   * Begins the preparation, unless a standby exists already. A call without a delay starts a standby that was put off.
   */
  prepare(afterMs = 0): void {
    if (this.keeping && (afterMs > 0 || !this.isPutOff)) return
    this.rest()
    this.keeping = true
    if (this.unfit) return
    if (afterMs > 0) this.later(afterMs)
    else this.prepareNow()
  }

  /** Prepares a standby that is outdated anew, at most once a minute. */
  renew(): void {
    if (!this.keeping || !this.exists || this.stale === null) return
    const now = this.clock.mono()
    const wait = Math.max(0, this.renewedAt + AGAIN_MS - now)
    this.renewedAt = now + wait
    this.discard()
    this.prepare(wait)
    this.told(this.view)
  }

  /**
   * The workload is about to start, so no further standby is prepared. Resolves when the standby is ready or has
   * failed.
   */
  async use(): Promise<void> {
    // A standby that is due soon is waited for. One that has failed is not.
    const isDue = this.isPutOff
    this.rest()
    this.failures = 0
    if (isDue) this.prepareNow()
    await this.settling.promise
  }

  /** Sends SIGKILL to the kept process. It stays away until the next `prepare`. */
  discard(): void {
    this.rest()
    this.exists = false
    this.end()
    if (!this.unfit) this.current = COLD
    this.settling.resolve()
  }

  protected ready(held: Pick<StandbyView, 'reason' | 'memoryBytes'>): void {
    this.become({ mode: 'warm', state: 'ready', ...held })
    this.settling.resolve()
  }

  protected fail(reason: string): void {
    this.exists = false
    this.end()
    this.become({ ...COLD, reason })
    this.settling.resolve()
  }

  /** The standby becomes the workload. */
  protected goesOn(): void {
    this.exists = false
    this.become({ ...COLD, mode: 'warm' })
  }

  protected become(view: StandbyView): void {
    this.current = view
    this.told(view)
    const now = this.clock.mono()
    const readyMs = this.readyAt === null ? 0 : now - this.readyAt
    this.readyAt = view.state === 'ready' ? (this.readyAt ?? now) : null
    const failed = view.mode === 'cold' && view.reason !== null
    if (!this.keeping || !failed || this.unfit || this.again !== null) return
    if (readyMs >= AGAIN_AT_MOST_MS) this.failures = 0
    const wait = Math.min(AGAIN_MS * 2 ** this.failures++, AGAIN_AT_MOST_MS)
    this.later(Math.max(0, wait - readyMs))
  }

  private prepareNow(): void {
    if (this.exists) return
    this.exists = true
    this.settling = Promise.withResolvers<void>()
    this.begin()
  }

  private rest(): void {
    this.keeping = false
    this.again?.cancel()
    this.again = null
  }

  private later(afterMs: number): void {
    this.again = this.clock.after(afterMs, () => {
      this.again = null
      this.prepareNow()
    })
  }
}
