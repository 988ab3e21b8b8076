import { type Clock, type Timer, untilNext } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import type { Fact, Remedy } from '../election/state.ts'
import type { Digests, WorkloadView } from '../link/link-messages.ts'
import type { LinkHandlers, LinkServer } from '../link/link-server.ts'
import { Loop } from '../loop.ts'
import type { Log, LogThrottle } from '../observe/log.ts'
import type { Metrics } from '../observe/prometheus.ts'
import { Drain } from './drain.ts'
import type { HealthHandlers, HealthProbe } from './health-probe.ts'
import {
  canRun,
  type Deadline,
  initialRecord,
  isHealthy,
  isUnserved,
  type Launcher,
  mayLive,
  type Order,
  type WorkloadEffect,
  type WorkloadEvent,
  type WorkloadRecord,
  workloadOf,
} from './workload-phase.ts'
import { step } from './workload-step.ts'

/** The agent's access to the machine, a seam for tests. */
export interface SupervisorMachine {
  readonly clock: Clock
  portFree(): Promise<boolean>
  /** The remote address of each open connection to the workload's port. `null`: unknown. */
  connections(): readonly string[] | null
  /**
   * Only if agent and launcher share one process tree (`run`): kills the launcher and its remaining processes, and
   * resolves when none is alive.
   */
  readonly reclaim?: () => Promise<void>
}

export type LauncherLink = Pick<LinkServer, 'listen' | 'send' | 'close'>

export interface SupervisorOptions
  extends Pick<AgentOptions, 'standby' | 'startTimeoutMs' | 'stopTimeoutMs' | 'killMarginMs'> {
  readonly machine: SupervisorMachine
  readonly link: (handlers: LinkHandlers) => LauncherLink
  readonly probe: (handlers: HealthHandlers) => Pick<HealthProbe, 'start' | 'stop'>
  readonly log: Log
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
  readonly metrics: Pick<Metrics, 'takeover' | 'stopped' | 'late'>
  /** The remedy for LangFlow's own failure. `servedMs`: how long it served since its start. `null`: it never served. */
  readonly remedy: (servedMs: number | null) => Remedy
  readonly tell: (fact: Fact) => void
  /** A value that the gate or the status depends on has changed. */
  readonly changed: () => void
}

const HEARTBEAT_MS = 1_000

type TimerName = Deadline | 'heartbeat' | 'cut_off'

/**
 * The loop around `step`. It owns the timers, the link, the probe and the drain, passes their events in, and runs the
 * effects.
 */
export class Supervisor {
  private readonly options: SupervisorOptions
  private readonly loop: Loop<WorkloadRecord, WorkloadEvent, WorkloadEffect>
  private readonly link: LauncherLink
  private readonly probe: ReturnType<SupervisorOptions['probe']>
  private readonly openDrain: Drain
  private readonly timers = new Map<TimerName, Timer>()
  lastProbe: string | null = null

  constructor(options: SupervisorOptions) {
    const { machine, log, tell, changed } = options
    this.options = options
    const config = { ...options, canReclaim: machine.reclaim !== undefined }
    this.loop = new Loop(initialRecord(machine.clock.mono()), {
      step: (before, event) => step(config, before, event, machine.clock.mono()),
      carryOut: (effect) => this.run(effect),
    })
    this.link = options.link({
      connected: (hello, returning, ended) => this.dispatch({ type: 'connected', hello, returning, ended }),
      received: (message) => this.dispatch({ type: 'received', message }),
      gone: (byPeer) => this.dispatch({ type: 'gone', byPeer }),
    })
    this.probe = options.probe({
      healthy: () => this.dispatch({ type: 'healthy' }),
      unhealthy: (reason, hangs = false) => this.dispatch({ type: 'unhealthy', reason, hangs }),
      probed: (outcome) => {
        this.lastProbe = outcome
      },
    })
    this.openDrain = new Drain({
      clock: machine.clock,
      // Connections that no process has accepted stay open while their clients wait.
      connections: () => (isUnserved(this.record) ? [] : machine.connections()),
      log,
      drained: () => tell({ type: 'drained' }),
      endable: (leftMs) => {
        // The launcher would kill a frozen workload for this.
        if (this.view.state === 'frozen') return false
        this.dispatch({ type: 'endable', leftMs })
        return true
      },
      changed,
    })
  }

  /** Rejects with a `FatalError` if the socket cannot be created. */
  async listen(): Promise<void> {
    await this.link.listen()
    this.heartbeat()
  }

  close(): void {
    this.probe.stop()
    this.openDrain.end()
    for (const timer of this.timers.values()) timer.cancel()
    this.link.close()
    this.dispatch({ type: 'closed' })
  }

  get view(): WorkloadView {
    return this.record.view
  }

  get launcher(): Launcher['state'] {
    return this.record.launcher.state
  }

  get digests(): Digests {
    return this.record.launcher.digests
  }

  /**
   * Why the launcher accepted no grant recently, in one sentence. `null`: it accepted the last one, or received no
   * grant.
   */
  get refusedGrant(): string | null {
    return this.record.launcher.refusedGrant
  }

  get canRun(): boolean {
    return canRun(this.record)
  }

  get healthy(): boolean {
    return isHealthy(this.record)
  }

  /** Whether LangFlow was healthy in its present term. */
  get served(): boolean {
    const { health, servedEpoch, view } = this.record
    return health.servedSince !== null || (servedEpoch !== null && servedEpoch === view.epoch)
  }

  /**
   * Whether LangFlow starts, was never healthy in its term, and does not start from the configured standby, at least
   * not yet.
   */
  get startsColder(): boolean {
    const { mode, state } = this.view.standby
    const starts = mayLive(this.record) && !this.served
    return starts && (mode !== this.options.standby || state === 'preparing')
  }

  /** The connections that a planned stop waits for, such as `1 connection from 10.1.2.3`. `null`: no wait. */
  get draining(): string | null {
    return this.openDrain.view
  }

  /** Takes the orders of the election, except for a stop, which depends on the open connections. */
  order(order: Exclude<Order, { type: 'stop' }>): void {
    this.dispatch(order)
  }

  /**
   * @param graceMs from SIGTERM to SIGKILL, if no connection is open
   * @param drainMs time for open connections before they are cut off
   */
  stop(graceMs: number, drainMs = 0): void {
    const open = this.options.machine.connections()
    this.dispatch({ type: 'stop', graceMs, drainMs, open })
  }

  private dispatch(event: WorkloadEvent): void {
    this.loop.dispatch(event)
  }

  private get record(): WorkloadRecord {
    return this.loop.state
  }

  private run(effect: WorkloadEffect): void {
    const { machine, standby, log, remedy, tell, changed } = this.options
    const { type } = effect
    if (type === 'send') this.link.send(effect.message)
    else if (type === 'tell') tell(effect.fact)
    else if (type === 'fail') {
      const { why, remedy: is } = effect
      tell({ type: 'workload_failed', ...why, remedy: typeof is === 'string' ? is : remedy(is.servedMs) })
    } else if (type === 'next') this.dispatch(effect.event)
    else if (type === 'report') {
      tell({ type: 'workload', workload: workloadOf(standby, this.record) })
      changed()
    } else if (type === 'changed') changed()
    else if (type === 'probe') this.probe.start(effect.from)
    else if (type === 'stop_probe') this.probe.stop()
    else if (type === 'begin_drain') this.openDrain.begin(effect.drainDeadline, effect.graceMs)
    else if (type === 'end_drain') {
      this.openDrain.end()
      this.disarm('cut_off')
    } else if (type === 'cut_off_after') this.arm('cut_off', effect.ms, () => this.stop(effect.graceMs))
    else if (type === 'arm')
      this.arm(effect.deadline, effect.ms, () => this.dispatch({ type: effect.deadline }))
    else if (type === 'disarm') this.disarm(effect.deadline)
    else if (type === 'check_port')
      void machine.portFree().then((free) => this.dispatch({ type: 'port_checked', free }))
    else if (type === 'reclaim') {
      log.warn(`killing the workload without its launcher: ${effect.reason}`)
      void machine.reclaim?.().then(() => this.dispatch({ type: 'reclaimed' }))
    } else this.note(effect)
  }

  private note(effect: Extract<WorkloadEffect, { type: 'measured' | 'log' | 'grant_refusal' }>): void {
    const { log, repeats, metrics } = this.options
    if (effect.type === 'log') log[effect.level](effect.text, effect.detail)
    else if (effect.type === 'grant_refusal') {
      if (effect.problem === null) repeats.over('grant', 'the launcher accepts grants again')
      else repeats.happened('grant', effect.problem)
    } else if (effect.what === 'stopped') metrics.stopped(effect.ms)
    else metrics.takeover(effect.what, effect.ms)
  }

  private arm(timer: TimerName, ms: number, due: () => void): void {
    this.disarm(timer)
    this.timers.set(timer, this.options.machine.clock.after(ms, due))
  }

  private disarm(timer: TimerName): void {
    this.timers.get(timer)?.cancel()
  }

  private heartbeat(): void {
    const { machine, metrics } = this.options
    const { clock } = machine
    this.dispatch({ type: 'heartbeat' })
    const waitMs = untilNext(clock, HEARTBEAT_MS)
    const dueAt = clock.mono() + waitMs
    this.arm('heartbeat', waitMs, () => {
      metrics.late(Math.max(0, clock.mono() - dueAt))
      this.heartbeat()
    })
  }
}
