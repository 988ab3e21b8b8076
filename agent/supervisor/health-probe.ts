import { Pool, request } from 'undici'
import { type Clock, deadlineAfter, type Timer, untilNext } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'

type ProbeOptions = Pick<AgentOptions, 'target' | 'healthIntervalMs' | 'healthTimeoutMs' | 'healthFailures'>

export interface HealthHandlers {
  /** `/health_check` answered 200: database and cache work. */
  healthy(): void
  /** `/health` was not answered in time, or is answered again after a failure. */
  silence(lasts: boolean): void
  /** The configured number of probes failed in a row, or a multiple of it. `hangs`: the last one got no answer. */
  unhealthy(reason: string, hangs?: boolean): void
}

/**
 * The state of LangFlow when its probe begins. `starting`: probed until it is healthy. `served`: also probed until it
 * is healthy, but failures of `/health` count. `healthy`: monitored.
 */
export type ProbedState = 'starting' | 'served' | 'healthy'

/** While LangFlow starts, its probe repeats faster: each interval would be time without service. */
const STARTING_INTERVAL_MS = 100

/**
 * Probes LangFlow. To be promoted, LangFlow must answer `/health_check`, which really queries database and cache. Once
 * it serves, only `/health` counts, since a database outage affects every replica alike.
 */
export class HealthProbe {
  /** The outcome of the last probe. `null`: there was none. */
  last: string | null = null
  private readonly options: ProbeOptions
  private readonly clock: Clock
  private readonly handlers: HealthHandlers
  private timer: Timer | null = null
  private round = new AbortController()
  /** The target is this pod itself, so certificates are not verified. */
  private readonly pool: Pool

  constructor(options: ProbeOptions, clock: Clock, handlers: HealthHandlers) {
    this.options = options
    this.clock = clock
    this.handlers = handlers
    this.pool = new Pool(options.target.origin, { connect: { rejectUnauthorized: false } })
  }

  start(state: ProbedState): void {
    this.stop()
    this.round = new AbortController()
    void this.probe(this.round.signal, state, 0)
  }

  /** After this, no result of an earlier round is reported. */
  stop(): void {
    this.timer?.cancel()
    this.round.abort()
  }

  /** @param failed number of failures of `/health` in a row */
  private async probe(round: AbortSignal, state: ProbedState, failed: number): Promise<void> {
    const { clock } = this
    const { healthIntervalMs: intervalMs, healthFailures: failures } = this.options
    const next = (ms: number, state: ProbedState, failed: number) => {
      if (!round.aborted) this.timer = clock.after(ms, () => void this.probe(round, state, failed))
    }
    const path = state === 'healthy' ? '/health' : '/health_check'
    const counted = state === 'served' ? this.ask('/health', round) : null
    const problem = await this.ask(path, round)
    const fault = state === 'healthy' ? problem : await counted
    if (round.aborted) return
    this.last = problem ?? `GET ${path}: 200`
    const failedNow = fault === null ? 0 : failed + 1
    const hangs = fault?.includes(': no answer within ') ?? false
    if (hangs || (fault === null && failed > 0)) this.handlers.silence(hangs)
    if (state !== 'healthy' && problem === null) {
      this.handlers.healthy()
      next(intervalMs, 'healthy', 0)
    } else if (failedNow > 0 && failedNow % failures === 0) {
      this.handlers.unhealthy(`${fault} (${failedNow} times in a row)`, hangs)
      // A busy LangFlow may recover, and so may one that is left alone while the Lease is paused.
      next(intervalMs, state, failedNow)
    } else if (state === 'starting') {
      next(Math.min(STARTING_INTERVAL_MS, intervalMs), state, 0)
    } else {
      next(state === 'healthy' ? untilNext(clock, intervalMs) : intervalMs, state, failedNow)
    }
  }

  /** Each probe has its own connection, so that none outlives the gate. */
  private async ask(path: string, round: AbortSignal): Promise<string | null> {
    const { target, healthTimeoutMs } = this.options
    using late = deadlineAfter(this.clock, healthTimeoutMs)
    try {
      const { statusCode, body } = await request(new URL(path, target.origin), {
        dispatcher: this.pool,
        reset: true,
        signal: AbortSignal.any([round, late.signal]),
      })
      await body.dump()
      return statusCode === 200 ? null : `GET ${path}: ${statusCode}`
    } catch (error) {
      if (late.signal.aborted) return `GET ${path}: no answer within ${healthTimeoutMs / 1000} s`
      return `GET ${path}: ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}`
    }
  }
}
