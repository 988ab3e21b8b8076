import type { Clock, Timer } from '../clock.ts'
import { ApiError } from '../kube/kube-errors.ts'
import type { Lease } from '../lease/lease.ts'
import type { LeaseApi } from '../lease/lease-api.ts'
import { LeaseWatcher } from '../lease/lease-watcher.ts'
import type { Metrics } from '../observe/prometheus.ts'
import {
  type CandidateConfig,
  type CandidateState,
  type Effect,
  type ElectionState,
  type Fact,
  initialState,
  type Write,
} from './state.ts'
import { transition } from './transition.ts'

/** Effects outside the Lease: on the workload, the log, the process. */
export type OutwardEffect = Exclude<Effect, { type: 'write' | 'read' | 'rehearse' }>

export interface ElectorOptions {
  readonly config: CandidateConfig
  readonly api: LeaseApi
  readonly clock: Clock
  readonly metrics: Pick<Metrics, 'renewal' | 'slowPath'>
  /** Runs an effect. It may hand in further facts, which are processed after the present one. */
  readonly run: (effect: OutwardEffect) => void
  /** Called after each transition. */
  readonly changed: (state: ElectionState) => void
}

/** The loop around the transition function. It passes facts in, and carries out the decisions about the Lease. */
export class Elector {
  private readonly options: ElectorOptions
  private readonly watcher: LeaseWatcher
  private readonly queue: Fact[] = []
  private running = false
  private timer: Timer | null = null
  private dueAt = Number.POSITIVE_INFINITY
  state: CandidateState = initialState()

  constructor(options: ElectorOptions) {
    this.options = options
    this.watcher = new LeaseWatcher(
      options.api,
      options.clock,
      {
        observed: (lease, watched) => this.tell({ type: 'lease', lease, fresh: false, watched }),
        up: () => this.tell({ type: 'watch', up: true, problem: null }),
        down: (error) => this.tell({ type: 'watch', up: false, problem: error?.message ?? null }),
      },
      options.config,
    )
  }

  start(): void {
    this.watcher.start()
    this.tell({ type: 'tick' })
  }

  /** Ends all traffic. Requests in flight are abandoned. */
  stop(): void {
    this.watcher.stop()
    this.timer?.cancel()
    this.options.api.close()
  }

  /** Monotonic ms by which the loop is late. Above a few seconds, the loop is stuck. */
  lateness(): number {
    return Math.max(0, this.options.clock.mono() - this.dueAt)
  }

  tell(fact: Fact): void {
    this.queue.push(fact)
    if (this.running) return
    this.running = true
    try {
      for (let next = this.queue.shift(); next !== undefined; next = this.queue.shift()) this.turn(next)
    } finally {
      this.running = false
    }
  }

  private turn(fact: Fact): void {
    const { clock, config } = this.options
    this.state = transition(config, this.state, fact, clock.now())
    for (const effect of this.state.effects) this.carryOut(effect)
    this.arm(this.state.wakeAt)
    this.options.changed(this.state)
  }

  private arm(at: number): void {
    this.timer?.cancel()
    this.dueAt = at
    if (at === Number.POSITIVE_INFINITY) return
    this.timer = this.options.clock.after(Math.max(0, at - this.options.clock.mono()), () =>
      this.tell({ type: 'tick' }),
    )
  }

  private carryOut(effect: Effect): void {
    if (effect.type === 'write') void this.write(effect.write, effect.deadlineMs)
    else if (effect.type === 'read') void this.read(effect.deadlineMs)
    else if (effect.type === 'rehearse') void this.rehearse(effect.lease, effect.deadlineMs)
    else this.options.run(effect)
  }

  private async write(write: Write, deadlineMs: number): Promise<void> {
    const { api, clock, metrics } = this.options
    const create = write.lease.metadata.resourceVersion === undefined
    try {
      const lease = await (create
        ? api.create(write.lease, deadlineMs)
        : api.update(write.lease, deadlineMs, (seen) =>
            this.tell({ type: 'lease', lease: seen, fresh: false, watched: false }),
          ))
      metrics.renewal('acknowledged', clock.mono() - write.sentAt.mono)
      this.watcher.expect(lease)
      this.tell({ type: 'written', id: write.id, lease })
    } catch (cause) {
      const error = asApiError(cause)
      metrics.renewal(error.code === 'conflict' ? 'conflict' : 'failed', clock.mono() - write.sentAt.mono)
      this.tell({ type: 'write_failed', id: write.id, error })
    }
  }

  private async rehearse(lease: Lease | null, deadlineMs: number): Promise<void> {
    try {
      await this.options.api.rehearse(lease, deadlineMs)
      this.tell({ type: 'rehearsed', error: null })
    } catch (cause) {
      this.tell({ type: 'rehearsed', error: asApiError(cause) })
    }
  }

  private async read(deadlineMs: number): Promise<void> {
    const { api, metrics } = this.options
    if (this.state.term !== null) metrics.slowPath()
    try {
      const lease = await api.read(deadlineMs)
      this.watcher.expect(lease)
      this.tell({ type: 'lease', lease, fresh: true, watched: false })
    } catch (cause) {
      this.tell({ type: 'read_failed', error: asApiError(cause) })
    }
  }
}

function asApiError(cause: unknown): ApiError {
  if (cause instanceof ApiError) return cause
  // A defect must not stop the election. The write counts as one that may have been applied.
  return new ApiError('network', String(cause), { mayHaveCommitted: true, cause })
}
