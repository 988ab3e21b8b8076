import type { Clock, Timer } from '../clock.ts'
import { ApiError } from '../kube/kube-errors.ts'
import type { Lease } from '../lease/lease.ts'
import type { LeaseApi } from '../lease/lease-api.ts'
import { LeaseWatcher, type WatcherHandlers } from '../lease/lease-watcher.ts'
import type { LinkServer } from '../link/link-server.ts'
import { Loop } from '../loop.ts'
import type { Metrics } from '../observe/prometheus.ts'
import type { ConsentAnswer, ConsentRequest } from './consent.ts'
import type { CandidateConfig, CandidateState, Effect, Fact, WorkloadOrder, Write } from './state.ts'
import { initialState, NEVER } from './state.ts'
import { transition } from './transition.ts'

export type NotedEffect = Extract<Effect, { type: 'event' | 'restart' | 'exit' }>

export type Question = Extract<Effect, { type: 'ask' }>

export interface ElectorOptions {
  readonly config: CandidateConfig
  readonly api: LeaseApi
  readonly clock: Clock
  readonly metrics: Pick<Metrics, 'renewal' | 'slowPath'>
  /** A grant passes to the launcher without any other decision. */
  readonly link: Pick<LinkServer, 'send'>
  /** Asks members for consent, and dispatches a fact for each. */
  readonly ask: (question: Question) => void
  /** It may dispatch further facts, as `note` may. */
  readonly order: (order: WorkloadOrder) => void
  readonly note: (effect: NotedEffect) => void
  readonly changed: (state: CandidateState) => void
}

/** The loop around `transition`, which carries out its decisions about the Lease. */
export class Elector {
  private readonly options: ElectorOptions
  private readonly watcher: LeaseWatcher
  private readonly loop: Loop<CandidateState, Fact, Effect>
  private timer: Timer | null = null
  private dueAt = NEVER
  private answer: ConsentAnswer | null = null

  constructor(options: ElectorOptions) {
    const { config, api, clock, changed } = options
    this.options = options
    this.loop = new Loop(initialState() as CandidateState, {
      step: (before, fact) => transition(config, before, fact, clock.now()),
      carryOut: (effect) => this.carryOut(effect),
      settled: (state) => {
        this.arm(state.wakeAt)
        changed(state)
      },
    })
    const handlers: WatcherHandlers = {
      observed: (lease) => this.dispatch({ type: 'lease', lease, fresh: false }),
      up: () => this.dispatch({ type: 'watch', up: true, problem: null }),
      down: (error) => this.dispatch({ type: 'watch', up: false, problem: error?.message ?? null }),
    }
    this.watcher = new LeaseWatcher(api, clock, handlers, config)
  }

  start(): void {
    this.watcher.start()
    this.dispatch({ type: 'tick' })
  }

  stop(): void {
    this.watcher.stop()
    this.timer?.cancel()
    this.options.api.close()
  }

  /** Monotonic ms by which the loop is late. Above a few seconds, the loop is stuck. */
  lateness(): number {
    return Math.max(0, this.options.clock.mono() - this.dueAt)
  }

  get state(): CandidateState {
    return this.loop.state
  }

  dispatch(fact: Fact): void {
    this.loop.dispatch(fact)
  }

  /** Must not be called from an effect. An agent that has ended does not answer: `null`. */
  consentTo(request: ConsentRequest): ConsentAnswer | null {
    this.answer = null
    this.dispatch({ type: 'consent_asked', request })
    return this.answer
  }

  private arm(at: number): void {
    this.timer?.cancel()
    this.dueAt = at
    if (at === NEVER) return
    const { clock } = this.options
    this.timer = clock.after(Math.max(0, at - clock.mono()), () => this.dispatch({ type: 'tick' }))
  }

  private carryOut(effect: Effect): unknown {
    switch (effect.type) {
      case 'write':
        return void this.write(effect.write, effect.deadlineMs)
      case 'read':
        return void this.read(effect.deadlineMs)
      case 'rehearse':
        return void this.rehearse(effect.lease, effect.deadlineMs)
      case 'ask':
        return this.options.ask(effect)
      case 'answer':
        this.answer = effect.answer
        return
      case 'grant':
        return this.options.link.send(effect)
      case 'event':
      case 'restart':
      case 'exit':
        return this.options.note(effect)
      default:
        return this.options.order(effect)
    }
  }

  private async write(write: Write, deadlineMs: number): Promise<void> {
    const { api, clock, metrics } = this.options
    const create = write.lease.metadata.resourceVersion === undefined
    try {
      const lease = await (create
        ? api.create(write.lease, deadlineMs)
        : api.update(write.lease, deadlineMs, (seen) =>
            this.dispatch({ type: 'lease', lease: seen, fresh: false }),
          ))
      metrics.renewal('acknowledged', clock.mono() - write.sentAt.mono)
      this.watcher.expect(lease)
      this.dispatch({ type: 'written', id: write.id, lease })
    } catch (cause) {
      const error = asApiError(cause)
      metrics.renewal(error.code === 'conflict' ? 'conflict' : 'failed', clock.mono() - write.sentAt.mono)
      this.dispatch({ type: 'write_failed', id: write.id, error })
    }
  }

  private async rehearse(lease: Lease | null, deadlineMs: number): Promise<void> {
    const error = await this.options.api.rehearse(lease, deadlineMs).then(() => null, asApiError)
    this.dispatch({ type: 'rehearsed', error })
  }

  private async read(deadlineMs: number): Promise<void> {
    const { api, metrics } = this.options
    if (this.state.term !== null) metrics.slowPath()
    try {
      const lease = await api.read(deadlineMs)
      this.watcher.expect(lease)
      this.dispatch({ type: 'lease', lease, fresh: true })
    } catch (cause) {
      this.dispatch({ type: 'read_failed', error: asApiError(cause) })
    }
  }
}

/** A defect must not stop the election. */
function asApiError(cause: unknown): ApiError {
  return cause instanceof ApiError ? cause : new ApiError('network', String(cause))
}
