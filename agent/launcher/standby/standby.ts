import type { Clock, Timer } from '../../clock.ts'
import type { StandbyView } from '../../link/link-messages.ts'

/** From the beginning of a preparation that failed to the next one, since each costs a start of LangFlow. */
const AGAIN_MS = 2 * 60_000
/** Between two preparations of outdated standbys. A handover may wait for the first one. */
const RENEW_MS = 60_000
const LOOK_MS = 5_000

export interface StandbyProcess {
  /** Its preparation begins. One report follows, and possibly a failure after `ready`. */
  begin(): void
  /** What has changed since the preparation. */
  readonly stale: string | null
  /** SIGKILL. No report follows. */
  end(): void
}

export interface StandbyReports {
  /** `shortcoming`: why it starts slower than it could, in one sentence. */
  ready(shortcoming: string | null): void
  failed(reason: string): void
}

type StandbyPhase<P> =
  | { readonly name: 'none' }
  | { readonly name: 'due' } // its preparation begins when the timer fires
  | { readonly name: 'preparing'; readonly process: P }
  | { readonly name: 'ready'; readonly process: P; readonly reason: string | null }
  | { readonly name: 'used' } // it has become the workload
  | { readonly name: 'failed'; readonly reason: string }

/** Is kept while the workload does not run, and used up by its start. If it fails or is outdated, it is prepared again. */
export class Standby<P extends StandbyProcess = StandbyProcess> {
  private readonly clock: Clock
  private readonly newProcess: (reports: StandbyReports) => P
  private readonly changed: () => void
  private phase: StandbyPhase<P> = { name: 'none' }
  private isKept = false
  private timer: Timer | null = null
  private begunAt = 0 // monotonic ms
  private renewedAt = Number.NEGATIVE_INFINITY // monotonic ms, also if it is still due
  private settled = Promise.withResolvers<void>()

  constructor(clock: Clock, newProcess: (reports: StandbyReports) => P, changed: () => void) {
    this.clock = clock
    this.newProcess = newProcess
    this.changed = changed
  }

  get view(): StandbyView {
    const { phase } = this
    const mode = phase.name === 'none' || phase.name === 'failed' ? 'cold' : 'warm'
    const state = 'process' in phase ? phase.name : 'none'
    return { mode, state, reason: 'reason' in phase ? phase.reason : null }
  }

  get process(): P | null {
    return 'process' in this.phase ? this.phase.process : null
  }

  /** Does nothing if a standby exists already. A call without a delay starts a standby that was put off. */
  prepare(afterMs = 0): void {
    const isPutOff = this.phase.name === 'due' && afterMs === 0
    if (this.isKept && !isPutOff) return
    this.isKept = true
    this.timer?.cancel()
    if (this.process !== null) this.look()
    else if (afterMs === 0) this.begin()
    else {
      this.phase = { name: 'due' }
      this.timer = this.clock.after(afterMs, () => this.begin())
    }
  }

  /** If something that it has read has changed since, prepares the standby anew; before a start, gives it up. */
  verify(): void {
    const stale = this.process?.stale ?? null
    if (stale === null) return
    if (!this.isKept) {
      this.fail(`the warm LangFlow was discarded: ${stale} has changed since it was read`)
      return
    }
    const now = this.clock.mono()
    const waitMs = Math.max(0, this.renewedAt + RENEW_MS - now)
    this.renewedAt = now + waitMs
    this.discard()
    this.prepare(waitMs)
    this.changed()
  }

  /** The workload is about to start, so no further standby is prepared. Resolves when one is ready or has failed. */
  async use(): Promise<void> {
    this.release()
    if (this.phase.name === 'due') this.begin()
    if (this.phase.name === 'preparing') await this.settled.promise
    // If the launcher hangs here, such as on a network file system, nothing executes. The clocks are compared later.
    this.verify()
  }

  /** The process that becomes the workload, unless the start is cold. */
  take(): P | null {
    const { phase } = this
    if (phase.name !== 'ready') return null
    this.become({ name: 'used' })
    return phase.process
  }

  /** Ends the kept process. It stays away until the next `prepare`. */
  discard(): void {
    this.release()
    this.process?.end()
    this.phase = { name: 'none' }
    this.settled.resolve()
  }

  private release(): void {
    this.isKept = false
    this.timer?.cancel()
  }

  private begin(): void {
    this.settled = Promise.withResolvers<void>()
    this.begunAt = this.clock.mono()
    const process: P = this.newProcess({
      ready: (reason) => {
        if (this.process !== process) return
        this.become({ name: 'ready', process, reason })
        this.settled.resolve()
        this.look()
      },
      failed: (reason) => {
        if (this.process === process) this.fail(reason)
      },
    })
    this.become({ name: 'preparing', process })
    process.begin()
  }

  private look(): void {
    if (!this.isKept || this.phase.name !== 'ready') return
    this.timer = this.clock.after(LOOK_MS, () => {
      this.verify()
      this.look()
    })
  }

  private fail(reason: string): void {
    this.process?.end()
    this.timer?.cancel()
    this.become({ name: 'failed', reason })
    this.settled.resolve()
    if (!this.isKept) return
    const waitMs = Math.max(0, this.begunAt + AGAIN_MS - this.clock.mono())
    this.timer = this.clock.after(waitMs, () => this.begin())
  }

  private become(phase: StandbyPhase<P>): void {
    this.phase = phase
    this.changed()
  }
}

export type KeptStandby = Pick<Standby, 'view' | 'prepare' | 'verify' | 'use' | 'discard'>
