import { type Clock, reached } from '../clock.ts'
import { type CandidateConfig, doubtAt, type ElectionState } from '../election/state.ts'
import type { Log } from '../observe/log.ts'
import type { Check } from '../observe/status.ts'
import { type ReplicaFacts, standsBy } from './status.ts'

export interface ReplicaGateOptions {
  readonly timings: Pick<
    CandidateConfig,
    'leaseDurationMs' | 'renewDeadlineMs' | 'retryPeriodMs' | 'killMarginMs'
  >
  readonly clock: Pick<Clock, 'now'>
  readonly log: Pick<Log, 'event'>
  readonly state: () => ElectionState
  readonly workload: () => ReplicaFacts['workload']
  readonly checks: () => readonly Check[]
}

/** Whether this replica serves, or could: asked anew each time, of the clock as well. */
export class ReplicaGate {
  private readonly options: ReplicaGateOptions
  private wasReady = false
  private wasStandby = false

  constructor(options: ReplicaGateOptions) {
    this.options = options
  }

  /** The leader, beyond doubt, whose workload runs in its own term and is healthy. */
  ready(): boolean {
    const { state, workload, checks } = this.options
    const { term } = state()
    if (term === null || this.inDoubt) return false
    return workload().view.epoch === term.epoch && checks().every((check) => check.ok)
  }

  couldServe(): boolean {
    return this.ready() || this.standsBy() || this.pauses
  }

  /** Asked of the clock as well: a timer that is late must not hold the gate open. */
  get inDoubt(): boolean {
    const { timings, clock, state } = this.options
    const { term } = state()
    return term !== null && reached(clock.now(), doubtAt(timings, term.renewedAt))
  }

  /**
   * To be called whenever it may have moved: logs that this replica has begun to serve, or to stand by.
   *
   * @param ready what `ready` says now
   */
  look(ready: boolean): void {
    const { log, workload } = this.options
    const { term, highestEpoch } = this.options.state()
    if (ready && !this.wasReady) log.event('serving', { epoch: term?.epoch ?? highestEpoch })
    this.wasReady = ready
    const standby = this.standsBy()
    if (standby && !this.wasStandby) {
      log.event('standby_ready', { epoch: highestEpoch, mode: workload().view.standby.mode })
    }
    this.wasStandby = standby
  }

  private standsBy(): boolean {
    const { timings, clock, state, workload } = this.options
    return standsBy({ options: timings, state: state(), now: clock.now(), workload: workload() })
  }

  /** In doubt it serves nobody, and nobody else could: there is nowhere better to go. */
  private get pauses(): boolean {
    const { term } = this.options.state()
    const { epoch, state } = this.options.workload().view
    const lives = state === 'frozen' || state === 'running'
    return term !== null && term.stepDown === null && this.inDoubt && epoch === term.epoch && lives
  }
}
