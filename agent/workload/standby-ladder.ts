import type { Clock, Timer } from '../clock.ts'
import type { FrozenStandby } from './frozen-standby.ts'
import type { Exit } from './process-tree.ts'
import type { FrozenWorkload, Rung, Standby, StandbyView } from './standby.ts'

/** How long until what failed is tried again; twice as long each time, since it costs a start of LangFlow. */
const AGAIN_MS = 60_000
const AGAIN_AT_MOST_MS = 15 * 60_000

type FrozenRung = Rung & Pick<FrozenStandby, 'takeFrozen'>

/** Keeps the warmest standby that can be prepared: where one fails, the next colder one, and later the warmer one again. */
export class StandbyLadder implements Standby {
  private readonly frozen: FrozenRung | null
  private readonly rungs: readonly Rung[]
  private readonly clock: Clock
  private readonly told: () => void
  private at = 0
  /** A standby is to be kept: the workload does not run. Another object each time that this begins. */
  private keeping: object | null = null
  private failures = 0
  private again: Timer | null = null

  /** `told`: the view has changed. The rungs tell `changed`. */
  constructor(frozen: FrozenRung | null, prewarmed: Rung, clock: Clock, told: () => void) {
    this.frozen = frozen
    this.rungs = frozen === null ? [prewarmed] : [frozen, prewarmed]
    this.clock = clock
    this.told = told
  }

  get view(): StandbyView {
    const reasons = this.rungs.slice(0, this.at + 1).flatMap(({ view }) => view.reason ?? [])
    return { ...this.current.view, reason: reasons.length === 0 ? null : reasons.join('; ') }
  }

  prepare(): void {
    if (this.keeping !== null) return
    this.keeping = {}
    this.at = this.rungs.findIndex(({ unfit }) => !unfit)
    if (this.at < 0) this.at = this.rungs.length - 1
    else this.current.prepare()
    // What the last start has not used up.
    for (const colder of this.rungs.slice(this.at + 1)) void colder.discard()
  }

  async use(): Promise<void> {
    this.keeping = null
    this.failures = 0
    this.again?.cancel()
    this.again = null
    await this.current.settled()
  }

  takeFrozen(exited: (exit: Exit) => void): FrozenWorkload | null {
    return this.at === 0 ? (this.frozen?.takeFrozen(exited) ?? null) : null
  }

  /** The view of one of the rungs has changed. */
  changed(rung: Rung): void {
    if (rung !== this.current) return
    const failed = this.keeping !== null && rung.view.reason !== null
    if (failed && this.at < this.rungs.length - 1) {
      // It tells that it is being prepared: the failed one must not be taken for a cold one that is ready.
      this.at++
      this.current.prepare()
    } else {
      this.told()
    }
    if (failed) this.tryAgain()
  }

  /** What this rung keeps is out of date. */
  async renew(rung: Rung): Promise<void> {
    const { keeping } = this
    if (keeping === null || rung !== this.current) return
    await rung.discard()
    if (this.keeping === keeping && rung === this.current) rung.prepare()
  }

  /** SIGKILL to what is kept, for good. */
  async discard(): Promise<void> {
    this.keeping = null
    this.again?.cancel()
    this.again = null
    await Promise.all(this.rungs.map((rung) => rung.discard()))
  }

  private get current(): Rung {
    return this.rungs[this.at] as Rung
  }

  /** What is worth another try, the warmest first. */
  private get failed(): readonly Rung[] {
    return this.rungs.filter(({ unfit, view }) => !unfit && view.reason !== null)
  }

  private tryAgain(): void {
    if (this.again !== null || this.failed.length === 0) return
    const wait = Math.min(AGAIN_MS * 2 ** this.failures++, AGAIN_AT_MOST_MS)
    this.again = this.clock.after(wait, () => void this.climb())
  }

  /** What is kept now goes only once nothing seems to be in the way of something warmer. */
  private async climb(): Promise<void> {
    const { keeping } = this
    this.again = null
    for (const rung of this.failed) {
      const obstacle = await rung.obstacle()
      if (this.keeping !== keeping) return
      if (obstacle !== null) continue
      const colder = this.current
      this.at = this.rungs.indexOf(rung)
      if (colder !== rung) await colder.discard()
      if (this.keeping !== keeping) return
      rung.prepare()
      break
    }
    this.tryAgain()
  }
}
