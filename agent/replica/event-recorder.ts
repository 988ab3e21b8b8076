import type { AgentOptions } from '../config/options.ts'
import type { OutwardEffect } from '../election/elector.ts'
import type { ElectionState, Why } from '../election/state.ts'
import type { StandbyMode } from '../link/messages.ts'
import type { Fields, Log } from '../observe/log.ts'
import type { LogThrottle } from '../observe/log-throttle.ts'
import type { Metrics } from '../observe/prometheus.ts'

export interface EventRecorderOptions {
  readonly onCrash: AgentOptions['onCrash']
  readonly log: Pick<Log, 'event' | 'warn' | 'error'>
  readonly metrics: Pick<Metrics, 'leading' | 'transition' | 'takeover' | 'restarted'>
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
}

/** What happens to a replica, as its log and its metrics tell it; a trouble that lasts is not told each time. */
export class EventRecorder {
  private readonly options: EventRecorderOptions
  private epochsFull = false
  private wasReady = false
  private stoodBy = false
  private versionProblem: string | null = null

  constructor(options: EventRecorderOptions) {
    this.options = options
  }

  event({ event, epoch, code, reason, detail }: Extract<OutwardEffect, { type: 'event' }>): void {
    const { log, metrics } = this.options
    log.event(event, { epoch, code, reason, ...detail })
    if (event === 'acquired') {
      metrics.leading(true)
      metrics.transition('acquired', code ?? '')
      metrics.takeover('detect', Number(detail?.unchangedMs ?? 0))
      metrics.takeover('acquire', Number(detail?.acquireMs ?? 0))
    } else if (event === 'lost' || event === 'stepped_down') {
      metrics.leading(false)
      metrics.transition(event, code ?? '')
    }
  }

  /** Whether it serves, and whether it stands by, from a standby of that mode: told whenever it begins to. */
  gate(ready: boolean, standsBy: boolean, epoch: number, mode: StandbyMode): void {
    const { log } = this.options
    if (ready && !this.wasReady) log.event('serving', { epoch })
    if (standsBy && !this.stoodBy) log.event('standby_ready', { epoch, mode })
    this.wasReady = ready
    this.stoodBy = standsBy
  }

  /** LangFlow is to be started again in its term. */
  restart({ code, reason }: Why, { term, highestEpoch }: Pick<ElectionState, 'term' | 'highestEpoch'>): void {
    const { log, metrics, onCrash } = this.options
    const why = onCrash === 'restart' ? '--on-crash=restart' : 'no other replica is ready'
    log.warn(`LangFlow is restarted in place: ${reason}; ${why}`, {
      epoch: term?.epoch ?? highestEpoch,
      code,
    })
    metrics.restarted(code)
  }

  lease(
    { writeProblem, readProblem, watchProblem }: Pick<ElectionState, `${'write' | 'read' | 'watch'}Problem`>,
    decision: string,
  ): void {
    const problem = writeProblem ?? readProblem ?? watchProblem
    this.trouble('lease', problem, 'the Lease can be reached again', { decision })
  }

  /** Whether the Lease is another one's; see `ownerProblem`. */
  owner(problem: string | null): void {
    this.trouble('owner', problem, 'the Lease belongs to no other Deployment or StatefulSet any more')
  }

  launcher(problem: string | null): void {
    this.trouble('launcher', problem, 'a launcher has connected')
  }

  /** Whether epochs have left their field; see `epochProblem`. */
  epoch(problem: string | null): void {
    if (problem !== null && !this.epochsFull) this.options.log.error(`ALARM: ${problem}`)
    this.epochsFull = problem !== null
  }

  /** Whether LangFlow is too old here, or what the Lease says of versions is none; see `outdated` and `langflowFault`. */
  version(problem: string | null): void {
    if (problem !== null && problem !== this.versionProblem) this.options.log.warn(problem)
    this.versionProblem = problem
  }

  private trouble(key: string, problem: string | null, over: string, fields?: Fields): void {
    const { repeats } = this.options
    if (problem !== null) repeats.happened(key, problem, fields)
    else repeats.over(key, over)
  }
}
