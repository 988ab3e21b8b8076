import { Pool, request } from 'undici'
import { type Clock, type Timer, untilNext } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import type { Why } from '../election/state.ts'
import type { EndedBecause } from '../lease/reasons.ts'
import type { WorkloadView } from '../link/link-messages.ts'
import type { Metrics } from '../observe/prometheus.ts'

type ProbeOptions = Pick<AgentOptions, 'target' | 'healthIntervalMs' | 'healthTimeoutMs' | 'healthFailures'>

export interface HealthHandlers {
  /** `/health_check` answered 200: database and cache work. */
  healthy(): void
  /** As many probes as configured failed in a row; `hangs`: the last one got no answer. */
  unhealthy(reason: string, hangs?: boolean): void
  probed(outcome: string): void
}

/**
 * What LangFlow is when its probe begins. One that starts is asked until it is healthy; of one that `served`, failures of
 * `/health` count meanwhile; one that is `healthy` is watched.
 */
export type ProbedState = 'starting' | 'served' | 'healthy'

/** How often it is told that a start takes too long. */
const START_OVERDUE_MS = 5_000
/** While LangFlow starts, its probe repeats faster: each interval would be time without service. */
const STARTING_INTERVAL_MS = 100

/**
 * Asks LangFlow how it is. To be promoted it must answer `/health_check`, which really asks database and cache;
 * once it serves only `/health` counts, since a database outage hits every replica alike.
 */
export class HealthProbe {
  private readonly options: ProbeOptions
  private readonly clock: Clock
  private readonly handlers: HealthHandlers
  private timer: Timer | null = null
  private readonly asking = new Set<AbortController>()
  private round = 0
  /** The target is this pod itself, where no certificate authority has a say. */
  private readonly pool: Pool

  constructor(options: ProbeOptions, clock: Clock, handlers: HealthHandlers) {
    this.options = options
    this.clock = clock
    this.handlers = handlers
    this.pool = new Pool(options.target.origin, { connect: { rejectUnauthorized: false } })
  }

  start(state: ProbedState): void {
    this.stop()
    void this.probe(++this.round, state, 0)
  }

  /** Nothing of an earlier round is reported after this. */
  stop(): void {
    this.round++
    this.timer?.cancel()
    for (const asking of this.asking) asking.abort()
  }

  /** @param failed how often `/health` has failed in a row */
  private async probe(round: number, state: ProbedState, failed: number): Promise<void> {
    const { clock } = this
    const { healthIntervalMs: intervalMs, healthFailures: failures } = this.options
    const next = (ms: number, state: ProbedState, failed: number) => {
      if (round === this.round) this.timer = clock.after(ms, () => void this.probe(round, state, failed))
    }
    const path = state === 'healthy' ? '/health' : '/health_check'
    const counted = state === 'served' ? this.ask('/health') : null
    const problem = await this.ask(path)
    const fault = state === 'healthy' ? problem : await counted
    if (round !== this.round) return
    this.handlers.probed(problem ?? `${path}: 200`)
    const failedNow = fault === null ? 0 : failed + 1
    if (state !== 'healthy' && problem === null) {
      this.handlers.healthy()
      next(intervalMs, 'healthy', 0)
    } else if (failedNow >= failures) {
      this.handlers.unhealthy(`${fault} (${failures} times in a row)`, fault?.endsWith(this.silence))
      // Unless that ends it, as where the Lease is paused, it may get well again.
      next(intervalMs, 'served', 0)
    } else if (state === 'starting') {
      next(Math.min(STARTING_INTERVAL_MS, intervalMs), state, 0)
    } else {
      next(state === 'healthy' ? untilNext(clock, intervalMs) : intervalMs, state, failedNow)
    }
  }

  private get silence(): string {
    return `no answer within ${this.options.healthTimeoutMs / 1000} s`
  }

  /** What is wrong, or `null`. Each probe has a connection of its own, so that none outlives the gate. */
  private async ask(path: string): Promise<string | null> {
    const { target, healthTimeoutMs } = this.options
    const abort = new AbortController()
    this.asking.add(abort)
    const deadline = this.clock.after(healthTimeoutMs, () => abort.abort())
    try {
      const { statusCode, body } = await request(new URL(path, target.origin), {
        dispatcher: this.pool,
        reset: true,
        signal: abort.signal,
      })
      await body.dump()
      return statusCode === 200 ? null : `${path}: ${statusCode}`
    } catch (error) {
      if (abort.signal.aborted) return `${path}: ${this.silence}`
      return `${path}: ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}`
    } finally {
      deadline.cancel()
      this.asking.delete(abort)
    }
  }
}

export interface WorkloadHealthOptions {
  readonly probe: (handlers: HealthHandlers) => Pick<HealthProbe, 'start' | 'stop'>
  readonly clock: Clock
  /** From the order to start to the first healthy answer. */
  readonly startTimeoutMs: number
  readonly metrics: Pick<Metrics, 'takeover'>
  readonly failed: (why: Why<EndedBecause>) => void
  /** Healthy, for the first time or again; how long its start took, where it was ordered by this agent. */
  readonly served: (took: { readonly startMs: number; readonly healthyMs: number } | null) => void
  readonly changed: () => void
}

/** Whether LangFlow does its work: how long its start may take, what its probes say, and how long each phase took. */
export class WorkloadHealth {
  private readonly options: WorkloadHealthOptions
  private readonly probe: ReturnType<WorkloadHealthOptions['probe']>
  private startTimer: Timer | null = null
  /** Monotonic ms, when the present phase of a takeover began; `null`: none is under way. */
  private phaseBegan: number | null = null
  private startMs = 0
  private orderedAt: number
  /** Monotonic ms, when it was healthy for the first time since its start. */
  private servedSince: number | null = null
  healthy = false
  /** It served, and answers nothing any more. */
  hangs = false
  lastProbe: string | null = null

  constructor(options: WorkloadHealthOptions) {
    this.options = options
    this.orderedAt = options.clock.mono()
    this.probe = options.probe({
      healthy: () => this.becameHealthy(),
      unhealthy: (reason, hangs = false) => {
        this.healthy = false
        this.hangs = hangs
        options.failed({ code: 'workload_unhealthy', reason: `LangFlow is unhealthy: ${reason}` })
        options.changed()
      },
      probed: (outcome) => {
        this.lastProbe = outcome
      },
    })
  }

  /** Since it was healthy for the first time after its start; `null`: it never was. */
  get servedMs(): number | null {
    return this.servedSince === null ? null : this.options.clock.mono() - this.servedSince
  }

  ordered(): void {
    this.servedSince = null
    this.hangs = false
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

  started(): void {
    this.startMs = this.endPhase()
    this.options.metrics.takeover('start', this.startMs)
    this.watch()
  }

  /** One that served before is given as many failures as when it serves; one that starts, what is left of its start. */
  watch(): void {
    const served = this.servedSince !== null
    if (!served) this.limitStart()
    this.probe.start(this.healthy ? 'healthy' : served ? 'served' : 'starting')
  }

  /** It may serve no more: it does not count as healthy until it answers again. */
  recheck(): void {
    if (!this.healthy) return
    this.healthy = false
    this.watch()
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
    this.hangs = false
    this.servedSince ??= this.options.clock.mono()
    // A LangFlow that a restarted agent found running was not started by this takeover.
    const took = this.phaseBegan === null ? null : { startMs: this.startMs, healthyMs: this.endPhase() }
    if (took !== null) this.options.metrics.takeover('healthy', took.healthyMs)
    this.phaseBegan = null
    this.options.served(took)
    this.options.changed()
  }

  /** Counted once, from the order: also what its launcher waits for, and what doubt takes, is time without service. */
  private limitStart(againMs = 0): void {
    const { clock, startTimeoutMs, failed } = this.options
    this.startTimer?.cancel()
    const left = this.orderedAt + startTimeoutMs - clock.mono()
    this.startTimer = clock.after(Math.max(left, againMs), () => {
      // Told again: whoever leads by then may not have led yet, or had to leave it alone.
      this.limitStart(START_OVERDUE_MS)
      failed({
        code: 'start_timeout',
        reason: `LangFlow was not healthy within ${startTimeoutMs / 1000} s of its start`,
      })
    })
  }

  /** Milliseconds that the present phase took; the next one begins now. */
  private endPhase(): number {
    const now = this.options.clock.mono()
    const ms = now - (this.phaseBegan ?? now)
    this.phaseBegan = now
    return ms
  }
}
