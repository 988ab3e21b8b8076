import type { Timer } from '../clock.ts'
import type { Fact, Remedy } from '../election/state.ts'
import type { Log } from '../observe/log.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { Hello, LinkHandlers } from './link-server.ts'
import {
  describeLoss,
  type Grant,
  type ToAgent,
  type ToLauncher,
  type WorkloadCause,
  type WorkloadView,
} from './messages.ts'
import { Orders } from './orders.ts'
import { Orphans, type OrphansMachine } from './orphans.ts'
import { Pings } from './pings.ts'
import { WorkloadHealth, type WorkloadHealthOptions } from './workload-health.ts'
import { WorkloadKnowledge } from './workload-knowledge.ts'

/** What the agent needs of the machine; a seam for tests. */
export interface SupervisorMachine extends OrphansMachine {
  /** Established connections to the workload's port; `null` where that cannot be known. */
  connections(): number | null
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
  readonly startTimeoutMs: number
  /** How long before the Lease expires everything must be dead. */
  readonly killMarginMs: number
  readonly log: Log
  readonly metrics: Pick<Metrics, 'takeover' | 'stopped'>
  /** What to do about LangFlow's own failure, after it served for so long since its start; `null`: it never did. */
  readonly remedy: (servedMs: number | null) => Remedy
  readonly tell: (fact: Fact) => void
  /** Something that the gate or the status depends on has changed. */
  readonly changed: () => void
}

const DRAIN_CHECK_MS = 100

/** The agent's side of the workload: turns orders into messages, and what the launcher and LangFlow say into facts. */
export class Supervisor {
  private readonly options: SupervisorOptions
  private readonly link: LauncherLink
  private readonly orders: Orders
  private readonly pings: Pings
  private readonly known = new WorkloadKnowledge()
  private readonly orphans: Orphans
  private readonly health: WorkloadHealth
  private alone = false
  private drainTimer: Timer | null = null

  constructor(options: SupervisorOptions) {
    this.options = options
    this.link = options.link({
      connected: (hello, returning) => this.connected(hello, returning),
      received: (message) => this.received(message),
      gone: (byPeer) => this.gone(byPeer),
    })
    const { probe, startTimeoutMs, killMarginMs, log, metrics, changed, machine } = options
    const { link, known } = this
    this.orders = new Orders((order) => link.send(order))
    this.pings = new Pings({ clock: machine.clock, link, silent: () => this.silent() })
    this.orphans = new Orphans({ machine, killMarginMs, log, known, dead: () => this.provedDead() })
    this.health = new WorkloadHealth({
      probe,
      startTimeoutMs,
      metrics,
      changed,
      clock: machine.clock,
      failed: (reason) => this.failed(reason),
      served: () => this.orders.healthy(),
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
    this.drainTimer?.cancel()
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
    // A kill that met nothing is answered by nothing.
    this.orphans.killOver()
    this.known.startOrdered()
    this.health.ordered()
    this.orders.start(epoch)
    this.report()
  }

  /** The gate is closed; goes on as soon as no connection to LangFlow is left. */
  drain(): void {
    this.health.stop()
    const { machine, tell } = this.options
    const look = () => {
      // What nobody has accepted stays open for as long as its client waits.
      if (this.known.unserved || machine.connections() === 0) tell({ type: 'drained' })
      else this.drainTimer = machine.clock.after(DRAIN_CHECK_MS, look)
    }
    this.drainTimer?.cancel()
    this.drainTimer = machine.clock.after(0, look)
  }

  stop(graceMs: number): void {
    this.drainTimer?.cancel()
    this.health.stop()
    // Without its workers it has nothing to end in order.
    this.orders.stop(this.known.unserved ? 0 : graceMs)
  }

  kill(): void {
    this.drainTimer?.cancel()
    this.health.stop()
    this.orders.kill()
    this.orphans.killOrdered()
  }

  private connected(hello: Hello, returning: boolean): void {
    const { log } = this.options
    log.info(`launcher ${returning ? 're' : ''}connected`, { launcherPid: hello.pid, alone: hello.alone })
    this.alone = hello.alone
    this.known.connected(hello.view, returning)
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
    if (state === 'frozen') this.health.pause()
    // What was told before the order to start came says nothing of that start.
    else if (state !== 'running' && !this.known.starting) this.health.stop()
    this.report()
  }

  private hear(cause: WorkloadCause): void {
    const { metrics, log } = this.options
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
        this.failed(`LangFlow ended by itself (${cause.signal ?? `exit code ${cause.code}`})`)
        return
      case 'bereft':
        this.failed(describeLoss(cause.loss))
        return
      case 'killed':
      case 'stopped':
        this.orphans.killOver()
        metrics.stopped(cause.durationMs)
        // Nobody ordered it: the launcher’s own deadman did.
        if (!this.orders.areToEnd) this.fail('the launcher stopped LangFlow by itself')
        return
      case 'stop_failed':
        log.error(`ALARM: ${cause.reason}; the Lease is kept while something may live`)
        return
      case 'grant_refused':
        log.debug(`the launcher refused a grant: ${cause.reason}`)
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
