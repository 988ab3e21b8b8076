import type { Clock, Timer } from '../clock.ts'
import type { WorkloadView } from '../link/messages.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { HealthHandlers, HealthProbe } from './health-probe.ts'

export interface WorkloadHealthOptions {
  readonly probe: (handlers: HealthHandlers) => Pick<HealthProbe, 'start' | 'stop'>
  readonly clock: Clock
  /** From the order to start to the first healthy answer. */
  readonly startTimeoutMs: number
  readonly metrics: Pick<Metrics, 'takeover'>
  readonly failed: (reason: string) => void
  readonly served: () => void
  readonly changed: () => void
}

/** Whether LangFlow does its work: how long its start may take, what its probes say, and how long each phase took. */
export class WorkloadHealth {
  private readonly options: WorkloadHealthOptions
  private readonly probe: ReturnType<WorkloadHealthOptions['probe']>
  private startTimer: Timer | null = null
  /** Monotonic ms, when the present phase of a takeover began; `null`: none is under way. */
  private phaseBegan: number | null = null
  /** Monotonic ms, when its start was ordered. */
  private orderedAt: number
  /** Monotonic ms, when it was healthy for the first time since its start. */
  private servedSince: number | null = null
  healthy = false
  lastProbe: string | null = null

  constructor(options: WorkloadHealthOptions) {
    this.options = options
    this.orderedAt = options.clock.mono()
    this.probe = options.probe({
      healthy: () => this.becameHealthy(),
      unhealthy: (reason) => options.failed(`LangFlow is unhealthy: ${reason}`),
      probed: (outcome) => {
        this.lastProbe = outcome
      },
    })
  }

  /** Since it was healthy for the first time after its start; `null`: it never was. */
  get servedMs(): number | null {
    return this.servedSince === null ? null : this.options.clock.mono() - this.servedSince
  }

  /** A start was ordered. */
  ordered(): void {
    this.servedSince = null
    this.orderedAt = this.options.clock.mono()
    this.phaseBegan = this.orderedAt
    this.limitStart()
  }

  /** A launcher came with a LangFlow that runs: what an earlier agent knew of it counts. */
  found({ orderedAt, servedSince }: Pick<WorkloadView, 'orderedAt' | 'servedSince'>): void {
    this.orderedAt = orderedAt ?? this.options.clock.mono()
    this.servedSince ??= servedSince ?? null
    this.watch()
  }

  /** LangFlow's process runs now. */
  started(): void {
    this.options.metrics.takeover('start', this.endPhase())
    this.watch()
  }

  /** One that served before is given as many failures as when it serves; one that starts, what is left of its start. */
  watch(): void {
    const served = this.servedSince !== null
    if (!served) this.limitStart()
    this.probe.start(this.healthy ? 'healthy' : served ? 'failures count' : 'until healthy')
  }

  /** It stands still: nothing is asked of it, and once it goes on it is as healthy as it was. */
  pause(): void {
    this.probe.stop()
    this.startTimer?.cancel()
  }

  /** Nothing is asked of it any more, and it does not count as healthy. */
  stop(): void {
    this.pause()
    if (!this.healthy) return
    this.healthy = false
    this.options.changed()
  }

  private becameHealthy(): void {
    this.startTimer?.cancel()
    this.healthy = true
    this.servedSince ??= this.options.clock.mono()
    this.options.served()
    // A LangFlow that a restarted agent found running was not started by this takeover.
    if (this.phaseBegan !== null) this.options.metrics.takeover('healthy', this.endPhase())
    this.phaseBegan = null
    this.options.changed()
  }

  /** Counted once, from the order: also what its launcher waits for, and what doubt takes, is time without service. */
  private limitStart(): void {
    const { clock, startTimeoutMs, failed } = this.options
    this.startTimer?.cancel()
    const left = this.orderedAt + startTimeoutMs - clock.mono()
    this.startTimer = clock.after(Math.max(0, left), () =>
      failed(`LangFlow was not healthy within ${startTimeoutMs / 1000} s of its start`),
    )
  }

  /** Milliseconds that the present phase took; the next one begins now. */
  private endPhase(): number {
    const now = this.options.clock.mono()
    const ms = now - (this.phaseBegan ?? now)
    this.phaseBegan = now
    return ms
  }
}
