import type { Clock, Timer } from '../../clock.ts'
import { COLD, type StandbyView } from '../../link/link-messages.ts'

/**
 * Delay before a failed standby is prepared again, counted from the moment when it became ready, or from its failure if
 * it was never ready. The delay doubles each time, since a preparation costs a start of LangFlow.
 */
const AGAIN_MS = 60_000
const AGAIN_AT_MOST_MS = 15 * 60_000

type Held = Pick<StandbyView, 'reason' | 'memoryBytes'>

export interface StandbyProcess {
  /** Its preparation begins. One report follows, and possibly a failure after `ready`. */
  begin(): void
  /** What has changed since the preparation. */
  readonly stale: string | null
  /** SIGKILL. No report follows. */
  end(): void
}

export interface StandbyReports {
  ready(held: Held): void
  /** `isFinal`: a retry would not change the reason. */
  failed(reason: string, isFinal?: boolean): void
}

type StandbyPhase<P> =
  | { readonly name: 'none' }
  | { readonly name: 'due' } // its preparation begins when the timer fires
  | { readonly name: 'preparing'; readonly process: P }
  | { readonly name: 'ready'; readonly process: P; readonly since: number; readonly held: Held }
  | { readonly name: 'used' } // it has become the workload
  | { readonly name: 'failed'; readonly reason: string; readonly isFinal: boolean }

/** Is kept while the workload does not run, and used up by its start. If it fails, it is prepared again later. */
export class Standby<P extends StandbyProcess = StandbyProcess> {
  private readonly clock: Clock
  private readonly newProcess: (reports: StandbyReports) => P
  private readonly changed: () => void
  private phase: StandbyPhase<P> = { name: 'none' }
  private isKept = false
  private timer: Timer | null = null
  private failures = 0
  private renewedAt = Number.NEGATIVE_INFINITY // monotonic ms, also if it is still due
  private settled = Promise.withResolvers<void>()

  constructor(clock: Clock, newProcess: (reports: StandbyReports) => P, changed: () => void) {
    this.clock = clock
    this.newProcess = newProcess
    this.changed = changed
  }

  get view(): StandbyView {
    const { phase } = this
    switch (phase.name) {
      case 'due':
      case 'used':
        return { ...COLD, mode: 'warm' }
      case 'preparing':
        return { ...COLD, mode: 'warm', state: 'preparing' }
      case 'ready':
        return { mode: 'warm', state: 'ready', ...phase.held }
      case 'failed':
        return { ...COLD, reason: phase.reason }
    }
    return COLD
  }

  get process(): P | null {
    return 'process' in this.phase ? this.phase.process : null
  }

  /** Does nothing if a standby exists already. A call without a delay starts a standby that was put off. */
  prepare(afterMs = 0): void {
    const { phase } = this
    const isPutOff = phase.name === 'due' && afterMs === 0
    if ((this.isKept && !isPutOff) || (phase.name === 'failed' && phase.isFinal)) return
    this.isKept = true
    this.timer?.cancel()
    if (this.process !== null) return
    if (afterMs === 0) this.begin()
    else {
      this.phase = { name: 'due' }
      this.timer = this.clock.after(afterMs, () => this.begin())
    }
  }

  /** Prepares a standby anew if it is outdated, at most once a minute. */
  renew(): void {
    if (!this.isKept || (this.process?.stale ?? null) === null) return
    const now = this.clock.mono()
    const waitMs = Math.max(0, this.renewedAt + AGAIN_MS - now)
    this.renewedAt = now + waitMs
    this.discard()
    this.prepare(waitMs)
    this.changed()
  }

  /**
   * The workload is about to start, so no further standby is prepared. Resolves when the standby is ready or has
   * failed. It is given up if something that it has read has changed since.
   */
  async use(): Promise<void> {
    this.release()
    this.failures = 0
    if (this.phase.name === 'due') this.begin()
    if (this.phase.name === 'preparing') await this.settled.promise
    // If the launcher hangs here, for example on a network file system, nothing of the workload executes. The clocks
    // are compared afterwards.
    const stale = this.phase.name === 'ready' ? this.phase.process.stale : null
    if (stale !== null) this.fail(outdated(stale))
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
    if (this.phase.name !== 'failed' || !this.phase.isFinal) this.phase = { name: 'none' }
    this.settled.resolve()
  }

  private release(): void {
    this.isKept = false
    this.timer?.cancel()
  }

  private begin(): void {
    this.settled = Promise.withResolvers<void>()
    const process: P = this.newProcess({
      ready: (held) => {
        if (this.process !== process) return
        this.become({ name: 'ready', process, since: this.clock.mono(), held })
        this.settled.resolve()
      },
      failed: (reason, isFinal) => {
        if (this.process === process) this.fail(reason, isFinal)
      },
    })
    this.become({ name: 'preparing', process })
    process.begin()
  }

  private fail(reason: string, isFinal = false): void {
    const readyMs = this.phase.name === 'ready' ? this.clock.mono() - this.phase.since : 0
    this.process?.end()
    this.become({ name: 'failed', reason, isFinal })
    this.settled.resolve()
    if (!this.isKept || isFinal) return
    if (readyMs >= AGAIN_AT_MOST_MS) this.failures = 0
    const waitMs = Math.min(AGAIN_MS * 2 ** this.failures++, AGAIN_AT_MOST_MS)
    this.timer = this.clock.after(Math.max(0, waitMs - readyMs), () => this.begin())
  }

  private become(phase: StandbyPhase<P>): void {
    this.phase = phase
    this.changed()
  }
}

export type KeptStandby = Pick<Standby, 'view' | 'prepare' | 'renew' | 'use' | 'discard'>

export function outdated(changed: string): string {
  return `the warm LangFlow was discarded: ${changed} has changed since it was read`
}
