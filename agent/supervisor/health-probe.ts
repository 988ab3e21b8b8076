import { Pool, request } from 'undici'
import { type Clock, type Timer, untilNext } from '../clock.ts'

export interface HealthOptions {
  /** LangFlow's scheme, host and port. */
  readonly origin: string
  readonly intervalMs: number
  readonly timeoutMs: number
  /** Consecutive failures of `/health` after which LangFlow counts as unhealthy. */
  readonly failures: number
  readonly clock: Clock
}

export interface HealthHandlers {
  /** `/health_check` answered 200: database and cache work. */
  healthy(): void
  /** As many probes as configured failed in a row. */
  unhealthy(reason: string): void
  probed(outcome: string): void
}

/** While LangFlow starts, its probe repeats faster: each interval would be time without service. */
const STARTING_INTERVAL_MS = 100

/**
 * Asks LangFlow how it is. To be promoted it must answer `/health_check`, which really asks database and cache;
 * once it serves only `/health` counts, since a database outage hits every replica alike.
 */
export class HealthProbe {
  private readonly options: HealthOptions
  private readonly handlers: HealthHandlers
  private timer: Timer | null = null
  private readonly asking = new Set<AbortController>()
  private round = 0
  /** The target is this pod itself, where no certificate authority has a say. */
  private readonly pool: Pool

  constructor(options: HealthOptions, handlers: HealthHandlers) {
    this.options = options
    this.handlers = handlers
    this.pool = new Pool(options.origin, { connect: { rejectUnauthorized: false } })
  }

  /**
   * Probes until LangFlow is healthy, then watches it; one that is healthy at once. Where failures count, those of `/health`
   * do, as they do while it is watched.
   */
  start(patience: 'until healthy' | 'failures count' | 'healthy'): void {
    this.stop()
    if (patience === 'healthy') {
      void this.watch(++this.round, 0)
      return
    }
    void this.awaitHealthy(++this.round, patience === 'failures count' ? 0 : null)
  }

  /** Nothing of an earlier round is reported after this. */
  stop(): void {
    this.round++
    this.timer?.cancel()
    for (const asking of this.asking) asking.abort()
  }

  /** `failed`: how often in a row; `null`: failures do not count. */
  private async awaitHealthy(round: number, failed: number | null): Promise<void> {
    const { intervalMs, failures } = this.options
    const counted = failed === null ? null : this.probe('/health')
    const problem = await this.probe('/health_check')
    const fault = await counted
    if (round !== this.round) return
    this.handlers.probed(problem ?? '/health_check: 200')
    if (problem === null) {
      this.handlers.healthy()
      this.next(round, intervalMs, () => this.watch(round, 0))
    } else if (failed === null) {
      this.next(round, Math.min(STARTING_INTERVAL_MS, intervalMs), () => this.awaitHealthy(round, null))
    } else if (fault !== null && failed + 1 >= failures) {
      this.handlers.unhealthy(`${fault} (${failures} times in a row)`)
    } else {
      this.next(round, intervalMs, () => this.awaitHealthy(round, fault === null ? 0 : failed + 1))
    }
  }

  private async watch(round: number, failed: number): Promise<void> {
    const problem = await this.probe('/health')
    if (round !== this.round) return
    this.handlers.probed(problem ?? '/health: 200')
    const failures = problem === null ? 0 : failed + 1
    if (problem !== null && failures >= this.options.failures) {
      this.handlers.unhealthy(`${problem} (${failures} times in a row)`)
    } else {
      this.next(round, untilNext(this.options.clock, this.options.intervalMs), () =>
        this.watch(round, failures),
      )
    }
  }

  private next(round: number, ms: number, probe: () => Promise<void>): void {
    if (round === this.round) this.timer = this.options.clock.after(ms, () => void probe())
  }

  /** What is wrong, or `null`. Each probe has a connection of its own, so that none outlives the gate. */
  private async probe(path: string): Promise<string | null> {
    const { origin, timeoutMs, clock } = this.options
    const abort = new AbortController()
    this.asking.add(abort)
    const deadline = clock.after(timeoutMs, () => abort.abort())
    try {
      const { statusCode, body } = await request(new URL(path, origin), {
        dispatcher: this.pool,
        reset: true,
        signal: abort.signal,
      })
      await body.dump()
      return statusCode === 200 ? null : `${path}: ${statusCode}`
    } catch (error) {
      if (abort.signal.aborted) return `${path}: no answer within ${timeoutMs / 1000} s`
      return `${path}: ${(error as NodeJS.ErrnoException).code ?? (error as Error).message}`
    } finally {
      deadline.cancel()
      this.asking.delete(abort)
    }
  }
}
