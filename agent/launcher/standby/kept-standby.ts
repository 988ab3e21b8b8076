import type { Clock, Timer } from '../../clock.ts'
import type { Preparable, Standby, StandbyView } from '../../link/standby.ts'

/**
 * From when it was last ready, or has failed without that, until it is tried again; twice as long each time, since it costs a
 * start of LangFlow.
 */
const AGAIN_MS = 60_000
const AGAIN_AT_MOST_MS = 15 * 60_000

/** Keeps a standby: one that fails, also while it waits, is prepared again later. */
export class KeptStandby<Kind extends Preparable> implements Standby {
  /** What is kept. */
  readonly held: Kind
  private readonly clock: Clock
  private readonly told: () => void
  /** There is to be one. */
  private keeping = false
  private failures = 0
  /** Monotonic ms; `null`: it is not ready. */
  private readySince: number | null = null
  private again: Timer | null = null

  /**
   * @param make is given what the new one has to call when its view has changed
   * @param told the view has changed
   */
  constructor(make: (changed: () => void) => Kind, clock: Clock, told: () => void) {
    this.held = make(() => this.changed())
    this.clock = clock
    this.told = told
  }

  get view(): StandbyView {
    const { view } = this.held
    // What is to be prepared soon is not ready, and nothing is wrong with it.
    return this.again !== null && view.reason === null ? { ...view, mode: 'warm' } : view
  }

  prepare(afterMs = 0): void {
    if (this.keeping) return
    this.keeping = true
    if (this.held.unfit) return
    if (afterMs > 0) this.later(afterMs)
    else this.held.prepare()
  }

  async use(): Promise<void> {
    // Due soon, it is waited for all the same; what has failed is not.
    const isDue = this.again !== null && this.held.view.reason === null
    this.rest()
    this.failures = 0
    if (isDue) this.held.prepare()
    await this.held.settled()
  }

  discard(): void {
    this.rest()
    this.held.discard()
  }

  private rest(): void {
    this.keeping = false
    this.again?.cancel()
    this.again = null
  }

  private changed(): void {
    this.told()
    const { view, unfit } = this.held
    const now = this.clock.mono()
    const readyMs = this.readySince === null ? 0 : now - this.readySince
    this.readySince = view.state === 'ready' ? (this.readySince ?? now) : null
    if (!this.keeping || view.mode !== 'cold' || view.reason === null || unfit || this.again !== null) return
    if (readyMs >= AGAIN_AT_MOST_MS) this.failures = 0
    const wait = Math.min(AGAIN_MS * 2 ** this.failures++, AGAIN_AT_MOST_MS)
    this.later(Math.max(0, wait - readyMs))
  }

  private later(afterMs: number): void {
    this.again = this.clock.after(afterMs, () => {
      this.again = null
      this.held.prepare()
    })
  }
}
