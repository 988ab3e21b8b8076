import type { Timer } from '../../agent/clock.ts'
import type { HealthHandlers } from '../../agent/supervisor/health.ts'
import type { Process } from './process.ts'

const STARTING_INTERVAL_MS = 100
const INTERVAL_MS = 1_000
const FAILURES = 3

/** Asks the model's workload how it is, in the rhythm of the real probe and without HTTP. */
export class ModelProbe {
  private readonly agent: Process
  private readonly healthy: () => boolean
  private readonly handlers: HealthHandlers
  private timer: Timer | null = null

  constructor(agent: Process, healthy: () => boolean, handlers: HealthHandlers) {
    this.agent = agent
    this.healthy = healthy
    this.handlers = handlers
  }

  start(): void {
    this.stop()
    this.next(1, () => this.awaitHealthy())
  }

  stop(): void {
    this.timer?.cancel()
  }

  private awaitHealthy(): void {
    if (!this.healthy()) {
      this.next(STARTING_INTERVAL_MS, () => this.awaitHealthy())
      return
    }
    this.next(INTERVAL_MS, () => this.watch(0))
    this.handlers.healthy()
  }

  private watch(failed: number): void {
    const failures = this.healthy() ? 0 : failed + 1
    if (failures >= FAILURES) this.handlers.unhealthy('/health: no answer')
    else this.next(INTERVAL_MS, () => this.watch(failures))
  }

  private next(ms: number, ask: () => void): void {
    this.timer = this.agent.after(ms, ask)
  }
}
