import { type Clock, type Timer, untilNext } from '../clock.ts'
import { type Fact, NEVER, type Remedy, type WorkloadOrder } from '../election/state.ts'
import type { LinkHandlers, LinkServer } from '../link/link-server.ts'
import { Loop } from '../loop.ts'
import type { Log } from '../observe/log.ts'
import type { Metrics } from '../observe/prometheus.ts'
import type { HealthHandlers, HealthProbe } from './health-probe.ts'
import type {
  AgentFlags,
  Connections,
  WorkloadEffect,
  WorkloadEvent,
  WorkloadRecord,
} from './workload-record.ts'
import { initialRecord, statusOf, workloadOf } from './workload-record.ts'
import { step } from './workload-step.ts'

/** The agent's access to the machine, a seam for tests. */
export interface SupervisorMachine {
  readonly clock: Clock
  portFree(): Promise<boolean>
  connections(): Connections
  /** Only in one process tree (`run`): kills the launcher and its remaining processes. Resolves when none is alive. */
  readonly reclaim?: () => Promise<void>
}

export type LauncherLink = Pick<LinkServer, 'listen' | 'send' | 'close'>

export interface SupervisorOptions extends AgentFlags {
  readonly machine: SupervisorMachine
  readonly link: (handlers: LinkHandlers) => LauncherLink
  readonly probe: (handlers: HealthHandlers) => Pick<HealthProbe, 'start' | 'stop' | 'last'>
  readonly log: Pick<Log, 'info' | 'warn' | 'error'>
  readonly metrics: Pick<Metrics, 'takeover' | 'stopped' | 'late'>
  /** The remedy for LangFlow's own failure. `servedMs`: how long it served since its start. `null`: it never served. */
  readonly remedy: (servedMs: number | null) => Remedy
  readonly dispatch: (fact: Fact) => void
  /** Resolves when no new request reaches LangFlow. `null`: none does. */
  readonly closeGate: () => Promise<void> | null
  /** Monotonic ms at which the last byte of an answer of LangFlow reached this replica's front. 0: none did. */
  readonly answeredAt: () => number
  readonly changed: () => void
}

export type WorkloadStatus = ReturnType<typeof statusOf> & { readonly lastProbe: string | null }

const HEARTBEAT_MS = 1_000
const DRAIN_LOOK_MS = 100
/** Time that the kernel has to end a PID namespace whose init has died. */
const NAMESPACE_END_MS = 500
const PORT_LOOK_MS = 50

type TimerName = 'heartbeat' | 'deadline' | 'drain' | 'death'

/** Owns the timers, the link and the probe, passes their events to `step`, and carries out its effects. */
export class Supervisor {
  private readonly options: SupervisorOptions
  private readonly loop: Loop<WorkloadRecord, WorkloadEvent, WorkloadEffect>
  readonly link: LauncherLink
  private readonly probe: ReturnType<SupervisorOptions['probe']>
  private readonly timers = new Map<TimerName, Timer>()

  constructor(options: SupervisorOptions) {
    const { clock, reclaim } = options.machine
    this.options = options
    const config = { ...options, canReclaim: reclaim !== undefined }
    this.loop = new Loop(initialRecord(config, clock.mono()), {
      step: (before, event) => step(before, event, clock.mono()),
      carryOut: (effect) => this.carryOut(effect),
      settled: (record, before) => this.settled(record, before),
    })
    const dispatch = (event: WorkloadEvent) => this.loop.dispatch(event)
    this.link = options.link({
      connected: (hello, returning, ended) => dispatch({ type: 'connected', hello, returning, ended }),
      received: (message) => dispatch({ type: 'received', message }),
      gone: (byPeer) => dispatch({ type: 'gone', byPeer }),
    })
    this.probe = options.probe({
      healthy: () => dispatch({ type: 'healthy' }),
      silence: (lasts) => dispatch({ type: 'silence', lasts }),
      unhealthy: (reason, hangs = false) =>
        dispatch({ type: 'unhealthy', reason, hangs, answeredAt: options.answeredAt() }),
    })
  }

  /** Rejects with a `FatalError` if the socket cannot be created. */
  async listen(): Promise<void> {
    await this.link.listen()
    this.heartbeat()
  }

  close(): void {
    this.probe.stop()
    for (const timer of this.timers.values()) timer.cancel()
    this.link.close()
  }

  dispatch(event: WorkloadOrder | Extract<WorkloadEvent, { type: 'leader_serves' }>): void {
    this.loop.dispatch(event)
  }

  get status(): WorkloadStatus {
    return { ...statusOf(this.loop.state), lastProbe: this.probe.last }
  }

  private settled({ probed, deadlines, drain }: WorkloadRecord, before: WorkloadRecord): void {
    const { clock } = this.options.machine
    if (probed !== before.probed) {
      if (probed === null) this.probe.stop()
      // A probe that runs becomes that of a healthy LangFlow by itself.
      else if (probed !== 'healthy' || before.probed === null) this.probe.start(probed)
    }
    if (deadlines !== before.deadlines) {
      const deadline = Math.min(...Object.values(deadlines))
      this.timers.get('deadline')?.cancel()
      if (deadline !== NEVER)
        this.arm('deadline', deadline - clock.mono(), () => this.loop.dispatch({ type: 'deadline' }))
    }
    if (drain === null) this.timers.get('drain')?.cancel()
    else if (before.drain === null) this.arm('drain', DRAIN_LOOK_MS, () => this.look())
  }

  private carryOut(effect: WorkloadEffect): unknown {
    const { machine, log, metrics, remedy, dispatch, closeGate, changed } = this.options
    switch (effect.type) {
      case 'send':
        return this.link.send(effect.message)
      case 'dispatch': {
        const took = effect.fact.type === 'workload_healthy' ? effect.fact.took : null
        if (took?.startMs != null) metrics.takeover('start', took.startMs)
        if (took?.healthyMs != null) metrics.takeover('healthy', took.healthyMs)
        return dispatch(effect.fact)
      }
      case 'fail': {
        const { why, remedy: of } = effect
        const chosen = typeof of === 'string' ? of : remedy(of.servedMs)
        return dispatch({ type: 'workload_failed', ...why, remedy: chosen })
      }
      case 'report':
        dispatch({ type: 'workload', workload: workloadOf(this.loop.state) })
        return changed()
      case 'close_gate': {
        // Its connection would count as a client's.
        this.probe.stop()
        const { closing } = this.loop.state
        const closed = () => {
          // Another order may have taken its place, and waits for its own route.
          if (this.loop.state.closing !== closing) return
          this.loop.dispatch({ type: 'gate_closed', open: machine.connections() })
        }
        const waits = closeGate()
        if (waits === null) closed()
        else void waits.then(closed)
        return
      }
      case 'await_death':
        return this.arm('death', NAMESPACE_END_MS, () => void this.awaitDeath())
      case 'reclaim':
        log.warn(`killing the workload without its launcher: ${effect.reason}`)
        void machine.reclaim?.().then(() => this.loop.dispatch({ type: 'proved_dead' }))
        return
      case 'stopped':
        return metrics.stopped(effect.ms)
      case 'log':
        return log[effect.level](effect.text, effect.detail)
    }
  }

  private look(): void {
    this.loop.dispatch({ type: 'looked', open: this.options.machine.connections() })
    if (this.loop.state.drain !== null) this.arm('drain', DRAIN_LOOK_MS, () => this.look())
  }

  private async awaitDeath(): Promise<void> {
    if (this.loop.state.phase !== 'orphaned') return
    if (await this.options.machine.portFree()) this.loop.dispatch({ type: 'proved_dead' })
    else this.arm('death', PORT_LOOK_MS, () => void this.awaitDeath())
  }

  private arm(timer: TimerName, ms: number, due: () => void): void {
    this.timers.get(timer)?.cancel()
    this.timers.set(timer, this.options.machine.clock.after(Math.max(0, ms), due))
  }

  private heartbeat(): void {
    const { machine, metrics } = this.options
    const { clock } = machine
    this.loop.dispatch({ type: 'heartbeat' })
    const waitMs = untilNext(clock, HEARTBEAT_MS)
    const dueAt = clock.mono() + waitMs
    this.arm('heartbeat', waitMs, () => {
      metrics.late(Math.max(0, clock.mono() - dueAt))
      this.heartbeat()
    })
  }
}
