import type { Clock } from '../clock.ts'
import type { NotedEffect } from '../election/elector.ts'
import type { Term, Why } from '../election/state.ts'
import type { StandbyMode } from '../link/link-messages.ts'
import type { EventName, Log, LogThrottle } from '../observe/log.ts'
import type { Metrics } from '../observe/prometheus.ts'
import type { EventReason, Events } from './kube-events.ts'
import type { Problem } from './problems.ts'

export interface EventRecorderOptions {
  readonly clock: Pick<Clock, 'mono'>
  readonly log: Pick<Log, 'event' | 'info' | 'warn' | 'error'>
  readonly metrics: Pick<Metrics, 'leading' | 'transition' | 'takeover' | 'restarted' | 'doubted' | 'alarm'>
  readonly events: Pick<Events, 'record'>
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
}

const EVENT_OF: { readonly [N in EventName]?: EventReason } = {
  acquired: 'LeaderAcquired',
  doubt: 'LeadershipInDoubt',
  lost: 'LeadershipLost',
  stepped_down: 'SteppedDown',
  fatal: 'CannotGoOn',
}

/** Writes a replica's events to its log, its metrics and as Kubernetes Events. A lasting trouble is not repeated. */
export class EventRecorder {
  private readonly options: EventRecorderOptions
  private readonly lasting = new Set<string>()
  private doubtSince: number | null = null
  private consents: string | null = null

  constructor(options: EventRecorderOptions) {
    this.options = options
  }

  event({ event, epoch, code, reason, detail }: Extract<NotedEffect, { type: 'event' }>): void {
    const { log, metrics, events } = this.options
    log.event(event, { epoch, code, reason, ...detail })
    const recorded = EVENT_OF[event]
    if (recorded !== undefined) events.record({ reason: recorded, epoch, code, because: reason })
    if (event === 'acquired') {
      metrics.leading(true)
      metrics.transition('acquired', code)
      metrics.takeover('detect', Number(detail?.unchangedMs ?? 0))
      metrics.takeover('acquire', Number(detail?.acquireMs ?? 0))
    } else if (event === 'lost' || event === 'stepped_down') {
      metrics.leading(false)
      metrics.transition(event, code)
    }
  }

  doubt(inDoubt: boolean): void {
    const { clock, metrics } = this.options
    if (!inDoubt && this.doubtSince !== null) metrics.doubted(clock.mono() - this.doubtSince)
    this.doubtSince = inDoubt ? (this.doubtSince ?? clock.mono()) : null
  }

  /** `how`: see `describeConsent`. The Event follows when the API server is back. */
  consent(how: string | null, epoch: number): void {
    if (how === null && this.consents !== null)
      this.options.events.record({ reason: 'LedByConsent', epoch, because: this.consents })
    this.consents = how
  }

  gate(ready: boolean, standsBy: boolean, epoch: number, mode: StandbyMode): void {
    const { log, events } = this.options
    if (this.begins('serving', ready)) {
      log.event('serving', { epoch })
      events.record({ reason: 'Serving', epoch })
    }
    if (this.begins('standby', standsBy)) log.event('standby_ready', { epoch, mode })
  }

  planned(planned: Term['planned'], epoch: number): void {
    const { why: { code, reason } = {} } = planned ?? {}
    if (this.begins('planned', planned !== null))
      this.options.log.info(`waiting until no request is in flight: ${reason}`, { epoch, code })
  }

  restart({ code, reason }: Why, epoch: number): void {
    const { log, metrics, events } = this.options
    log.warn(`LangFlow is restarted in place: ${reason}`, { epoch, code })
    metrics.restarted(code)
    events.record({ reason: 'RestartedInPlace', epoch, code, because: reason })
  }

  problems(problems: readonly Problem[], epoch: number): void {
    const { repeats, events, metrics } = this.options
    for (const { fault, over, event, alarm } of problems) {
      if (over !== undefined && fault === null) repeats.over(over, over)
      if (over !== undefined && fault !== null) repeats.happened(over, fault)
      if (alarm !== undefined) metrics.alarm(alarm, fault !== null)
      if (event !== undefined && this.begins(event, fault !== null))
        events.record({ reason: event, epoch, because: fault ?? undefined })
    }
  }

  private begins(what: string, lasts: boolean): boolean {
    const begins = lasts && !this.lasting.has(what)
    if (lasts) this.lasting.add(what)
    else this.lasting.delete(what)
    return begins
  }
}
