import type { Timer } from '../clock.ts'
import type { Fact, Remedy } from '../election/state.ts'
import {
  CUT_OFF_MS,
  describeExit,
  describeLoss,
  type Grant,
  type ToAgent,
  type ToLauncher,
  type WorkloadCause,
  type WorkloadView,
} from '../link/messages.ts'
import type { Hello, LinkHandlers } from '../link/server.ts'
import type { StandbyMode } from '../link/standby.ts'
import type { Log } from '../observe/log.ts'
import type { LogThrottle } from '../observe/log-throttle.ts'
import type { Metrics } from '../observe/metrics.ts'
import { describeConnections } from './connections.ts'
import { Drain } from './drain.ts'
import { Orders } from './orders.ts'
import { Orphans, type OrphansMachine } from './orphans.ts'
import { Pings } from './pings.ts'
import { WorkloadHealth, type WorkloadHealthOptions } from './workload-health.ts'
import { WorkloadKnowledge } from './workload-knowledge.ts'

/** What the agent needs of the machine; a seam for tests. */
export interface SupervisorMachine extends OrphansMachine {
  /** From where connections to the workload's port are open, an address for each; `null` where that cannot be known. */
  connections(): readonly string[] | null
}

/** The way to the launcher: what the supervisor needs of a `LinkServer`. */
export interface LauncherLink {
  readonly connected: boolean
  listen(): Promise<void>
  send(message: ToLauncher): void
  close(): void
}

export interface SupervisorOptions {
  readonly machine: SupervisorMachine
  readonly link: (handlers: LinkHandlers) => LauncherLink
  readonly probe: WorkloadHealthOptions['probe']
  /** What the launcher is to keep ready. */
  readonly standby: StandbyMode
  readonly startTimeoutMs: number
  readonly stopTimeoutMs: number
  /** How long before the Lease expires everything must be dead. */
  readonly killMarginMs: number
  readonly log: Log
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
  readonly metrics: Pick<Metrics, 'takeover' | 'stopped'>
  /** What to do about LangFlow's own failure, after it served for so long since its start; `null`: it never did. */
  readonly remedy: (servedMs: number | null) => Remedy
  readonly tell: (fact: Fact) => void
  /** Something that the gate or the status depends on has changed. */
  readonly changed: () => void
}

/** The agent's side of the workload: turns orders into messages, and what the launcher and LangFlow say into facts. */
export class Supervisor {
  private readonly options: SupervisorOptions
  private readonly link: LauncherLink
  private readonly orders: Orders
  private readonly pings: Pings
  private readonly known: WorkloadKnowledge
  private readonly orphans: Orphans
  private readonly health: WorkloadHealth
  private alone = false
  /** What it was ordered to start last has begun, or was refused. */
  private hasBegun = true
  /** Why the launcher accepted no grant lately, in one sentence; `null`: it did, or there was none. */
  refusedGrant: string | null = null
  /** In which LangFlow was healthy. */
  private servedEpoch: number | null = null
  private readonly waiting: Drain
  /** Of a stop that began without a drain. */
  private patience: Timer | null = null

  constructor(options: SupervisorOptions) {
    this.options = options
    this.link = options.link({
      connected: (hello, returning) => this.connected(hello, returning),
      received: (message) => this.received(message),
      gone: (byPeer) => this.gone(byPeer),
    })
    this.known = new WorkloadKnowledge(options.standby)
    const { probe, startTimeoutMs, killMarginMs, log, metrics, changed, machine } = options
    const { link, known } = this
    this.orders = new Orders((order) => link.send(order))
    this.pings = new Pings({ clock: machine.clock, link, silent: () => this.silent() })
    this.orphans = new Orphans({ machine, killMarginMs, log, known, dead: () => this.provedDead() })
    this.waiting = new Drain({
      clock: machine.clock,
      // What nobody has accepted stays open for as long as its client waits.
      connections: () => (known.unserved ? [] : machine.connections()),
      log,
      changed,
    })
    this.health = new WorkloadHealth({
      probe,
      startTimeoutMs,
      metrics,
      changed,
      clock: machine.clock,
      failed: (reason) => this.failed(reason),
      served: () => {
        this.servedEpoch = this.view.epoch
        this.orders.healthy()
      },
    })
  }

  /** Rejects with a `FatalError` where the socket cannot be made. */
  async listen(): Promise<void> {
    await this.link.listen()
    this.pings.start()
  }

  close(): void {
    this.health.stop()
    this.pings.close()
    this.rest()
    this.orphans.close()
    this.link.close()
  }

  /** As the launcher told it last. */
  get view(): WorkloadView {
    return this.known.view
  }

  get healthy(): boolean {
    return this.view.state !== 'frozen' && this.health.healthy
  }

  get lastProbe(): string | null {
    return this.health.lastProbe
  }

  /** It was healthy in its term. */
  get served(): boolean {
    const { health, servedEpoch, view } = this
    return health.servedMs !== null || (servedEpoch !== null && servedEpoch === view.epoch)
  }

  /** It starts, was never healthy in its term, and not from the standby that was asked for, at least not yet. */
  get startsColder(): boolean {
    const { view, known, served } = this
    if (!known.mayLive || served) return false
    return view.standby.mode !== this.options.standby || view.standby.state === 'preparing'
  }

  get launcher(): 'connected' | 'missing' | 'silent' {
    if (!this.link.connected) return 'missing'
    return this.pings.isSilent ? 'silent' : 'connected'
  }

  /** A launcher answers, runs nothing, and was not asked to end. */
  get canRun(): boolean {
    return this.launcher === 'connected' && this.known.isFree
  }

  grant(grant: Grant): void {
    this.orders.grant(grant)
  }

  start(epoch: number): void {
    this.rest()
    // A kill that met nothing is answered by nothing.
    this.orphans.killOver()
    this.known.startOrdered()
    this.health.ordered()
    this.orders.start(epoch)
    this.report()
  }

  /** Stopped, to be started again in the same epoch; requests have `patienceMs` to end. */
  restart(graceMs: number, patienceMs: number): void {
    this.known.restarting = true
    this.halt(graceMs, patienceMs)
  }

  /**
   * The gate is closed; goes on as soon as no connection to LangFlow is left. Once everybody knows that the gate is closed,
   * LangFlow is told to end: it closes connections that idle, which look like those with a request, and each of the others
   * after its answer.
   *
   * @param until monotonic ms: `stop` follows then at the latest
   */
  drain(until: number): void {
    const { stopTimeoutMs, tell } = this.options
    this.health.stop()
    this.known.restarting = false
    this.endLoneSpare()
    this.report()
    this.waiting.begin(until, {
      over: () => tell({ type: 'drained' }),
      endable: (leftMs) => {
        // What is frozen would be killed for it.
        if (this.view.state === 'frozen') return false
        this.orders.stop(leftMs + stopTimeoutMs)
        return true
      },
    })
  }

  /**
   * What is open is not waited for any longer, but cut off.
   *
   * @param graceMs from SIGTERM to SIGKILL, where nothing is open
   */
  stop(graceMs: number): void {
    this.known.restarting = false
    this.halt(graceMs, 0)
  }

  private halt(graceMs: number, patienceMs: number): void {
    const { machine, log } = this.options
    const { restarting } = this.known
    this.rest()
    this.health.stop()
    // Without its workers it has nothing to end in order.
    if (this.known.unserved) {
      this.orders.stop(0, restarting)
      return
    }
    if (patienceMs > 0) {
      this.orders.stop(graceMs, restarting)
      this.patience = machine.clock.after(patienceMs, () => this.halt(graceMs, 0))
      return
    }
    const open = machine.connections()
    const isOpen = open?.length !== 0
    if (isOpen && this.known.mayLive) log.warn(`cut off: ${describeConnections(open)}`)
    this.orders.stop(isOpen ? Math.min(graceMs, CUT_OFF_MS) : graceMs, restarting)
  }

  kill(): void {
    this.known.restarting = false
    this.rest()
    this.health.stop()
    this.orders.kill()
    this.orphans.killOrdered()
  }

  /** What a planned stop waits for, e.g. `1 connection from 10.1.2.3`; `null`: nothing. */
  get draining(): string | null {
    return this.waiting.view
  }

  /** What has waited beside a workload that has ended: flows may have reached it, so that it ends with their term. */
  private endLoneSpare(): void {
    if (this.known.hasLoneSpare) this.orders.stop(0)
  }

  private rest(): void {
    this.waiting.end()
    this.patience?.cancel()
    this.patience = null
  }

  private connected(hello: Hello, returning: boolean): void {
    const { log } = this.options
    const { pid, alone, langflow } = hello
    log.info(`launcher ${returning ? 're' : ''}connected`, { launcherPid: pid, alone, langflow })
    this.alone = alone
    this.refusedGrant = null
    this.known.connected(hello.view, returning, langflow)
    this.pings.heard()
    this.viewed()
    if (hello.view.state === 'running') this.health.found(hello.view)
    if (returning) this.orders.repeat()
  }

  private received(message: Exclude<ToAgent, Hello>): void {
    switch (message.type) {
      case 'pong':
        this.heard()
        return
      case 'terminating':
        this.known.launcherEnds()
        this.report()
        return
      case 'workload':
        this.hasBegun = !this.known.starting
        this.known.told(message.view, message.cause)
        // First why, then what is reported: the reason for a hand-over is the cause, not what came of it.
        this.hear(message.cause)
        this.viewed()
        return
    }
  }

  private heard(): void {
    const wasSilent = this.pings.isSilent
    this.pings.heard()
    if (wasSilent) this.report()
  }

  private viewed(): void {
    const { state } = this.view
    if (!this.known.mayLive) this.rest()
    if (state === 'frozen') this.health.pause()
    // What was told before the order to start came says nothing of that start.
    else if (state !== 'running' && !this.known.starting) this.health.stop()
    this.endLoneSpare()
    this.report()
  }

  private hear(cause: WorkloadCause): void {
    const { metrics, log, repeats } = this.options
    switch (cause.kind) {
      case 'started':
        this.health.started()
        return
      case 'thawed':
        this.health.watch()
        return
      case 'start_refused':
        this.fail(`LangFlow was not started: ${cause.reason}`)
        return
      case 'exited':
        // Its launcher ends as well, and starts nothing any more.
        if (cause.unreaped) this.fail(describeExit(cause))
        else this.failed(describeExit(cause))
        return
      case 'bereft':
        this.failed(describeLoss(cause.loss))
        return
      case 'killed':
      case 'stopped':
        this.orphans.killOver()
        metrics.stopped(cause.durationMs)
        // Nobody ordered it: the launcher’s own deadman did. A start that still waited for its standby is ordered again.
        if (this.orders.areToEnd || this.known.starting) return
        if (this.hasBegun) this.fail('the launcher stopped LangFlow by itself')
        else this.fail('the launcher gave up a start in doubt', 'restart')
        return
      case 'stop_failed':
        log.error(`ALARM: ${cause.reason}; the Lease is kept while something may live`)
        return
      case 'grant_refused':
        this.refusedGrant = `the launcher refuses grants: ${cause.reason}`
        repeats.happened('grant', this.refusedGrant)
        return
      case 'grant_accepted':
        this.refusedGrant = null
        repeats.over('grant', 'the launcher accepts grants again')
        return
      case 'met':
      case 'nothing':
      case 'standby':
      case 'frozen':
      case 'stopping':
      case 'deadman':
        return
    }
  }

  /** LangFlow itself did, and its launcher could start it again. */
  private failed(reason: string): void {
    this.fail(reason, this.options.remedy(this.health.servedMs))
  }

  private fail(reason: string, remedy: Remedy = 'handover'): void {
    this.options.tell({ type: 'workload_failed', reason, remedy })
  }

  private gone(byPeer: boolean): void {
    this.health.stop()
    this.known.launcherGone()
    this.report()
    // Also an idle one may have been told to start.
    this.fail('the launcher is gone')
    this.orphans.launcherGone(this.alone && byPeer)
  }

  private silent(): void {
    this.report()
    if (this.known.mayLive) this.fail('the launcher does not answer')
    this.orphans.launcherSilent()
  }

  private provedDead(): void {
    this.known.provedDead()
    this.viewed()
  }

  private report(): void {
    this.options.tell({ type: 'workload', workload: this.known.report(this.canRun) })
    this.options.changed()
  }
}
