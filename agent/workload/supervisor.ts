import type { Clock, Timer } from '../clock.ts'
import type { Fact, Remedy, Workload } from '../election/state.ts'
import type { Log } from '../observe/log.ts'
import type { Metrics } from '../observe/metrics.ts'
import type { Hello, LinkHandlers } from './link-server.ts'
import {
  describeLoss,
  type Grant,
  NOTHING,
  type ToAgent,
  type ToLauncher,
  type WorkloadCause,
  type WorkloadView,
} from './messages.ts'
import { WorkloadHealth, type WorkloadHealthOptions } from './workload-health.ts'

/** What the agent needs of the machine; a seam for tests. */
export interface SupervisorMachine {
  readonly clock: Clock
  /** Whether nothing listens on the workload's port. */
  portFree(): Promise<boolean>
  /** Established connections to the workload's port; `null` where that cannot be known. */
  connections(): number | null
  /**
   * Only where agent and launcher share one process tree (`run`): kills the launcher and everything it left, and
   * resolves once nothing of it lives.
   */
  readonly reclaim?: () => Promise<void>
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

const PING_MS = 1_000
/** A launcher that answered none of this many pings is frozen or stuck. */
const SILENT_PINGS = 4
/** How long the kernel is given to end a PID namespace whose init has died. */
const NAMESPACE_END_MS = 500
const PORT_CHECK_MS = 50
const DRAIN_CHECK_MS = 100

/** With these the launcher has seen the order to start, whatever became of it. */
const ANSWERS_TO_START: ReadonlySet<WorkloadCause['kind']> = new Set([
  'started',
  'start_refused',
  'stopped',
  'killed',
])

/** The agent's side of the workload: turns orders into messages, and what the launcher and LangFlow say into facts. */
export class Supervisor {
  private readonly options: SupervisorOptions
  private readonly link: LauncherLink
  private readonly health: WorkloadHealth
  private alone = false
  /** The launcher has looked for what an earlier one left: its `idle` can be believed. */
  private met = false
  /** Live processes that nobody answers for: the launcher is gone without a confirmed stop. */
  private orphaned = false
  /** A start was ordered and the launcher has not answered it yet: its last view is older than that. */
  private starting = false
  private ending = false
  private pings: { next: number; unanswered: number; timer: Timer | null } = {
    next: 0,
    unanswered: 0,
    timer: null,
  }
  private drainTimer: Timer | null = null
  private killTimer: Timer | null = null
  private granted: Grant | null = null
  /** What was ordered last, if it was to end the workload. */
  private ordered: Extract<ToLauncher, { type: 'stop' | 'kill' }> | null = null
  view: WorkloadView = NOTHING

  constructor(options: SupervisorOptions) {
    this.options = options
    this.link = options.link({
      connected: (hello, returning) => this.connected(hello, returning),
      received: (message) => this.received(message),
      gone: (byPeer) => this.gone(byPeer),
    })
    const { probe, startTimeoutMs, metrics, changed, machine } = options
    this.health = new WorkloadHealth({
      probe,
      startTimeoutMs,
      metrics,
      changed,
      clock: machine.clock,
      failed: (reason) => this.failed(reason),
    })
  }

  /** Rejects with a `FatalError` where the socket cannot be made. */
  async listen(): Promise<void> {
    await this.link.listen()
    this.ping()
  }

  close(): void {
    this.health.stop()
    for (const timer of [this.pings.timer, this.drainTimer, this.killTimer]) timer?.cancel()
    this.link.close()
  }

  get healthy(): boolean {
    return this.view.state !== 'frozen' && this.health.healthy
  }

  get lastProbe(): string | null {
    return this.health.lastProbe
  }

  get launcher(): 'connected' | 'missing' | 'silent' {
    if (!this.link.connected) return 'missing'
    return this.pings.unanswered >= SILENT_PINGS ? 'silent' : 'connected'
  }

  /** A launcher answers, runs nothing, and was not asked to end. */
  get canRun(): boolean {
    return this.launcher === 'connected' && this.met && !this.mayLive && !this.ending && !this.orphaned
  }

  grant(grant: Grant): void {
    this.granted = grant
    this.link.send({ type: 'grant', grant })
  }

  start(epoch: number): void {
    // A kill that met nothing is answered by nothing.
    this.killTimer?.cancel()
    this.killTimer = null
    this.ordered = null
    this.starting = true
    this.health.ordered()
    this.link.send({ type: 'start', epoch })
    this.report()
  }

  /** The gate is closed; goes on as soon as no connection to LangFlow is left. */
  drain(): void {
    this.health.stop()
    const { machine, tell } = this.options
    const look = () => {
      // What nobody has accepted stays open for as long as its client waits.
      if (this.unserved || machine.connections() === 0) tell({ type: 'drained' })
      else this.drainTimer = machine.clock.after(DRAIN_CHECK_MS, look)
    }
    this.drainTimer?.cancel()
    this.drainTimer = machine.clock.after(0, look)
  }

  stop(graceMs: number): void {
    this.drainTimer?.cancel()
    this.health.stop()
    // Without its workers it has nothing to end in order.
    this.ordered = { type: 'stop', graceMs: this.unserved ? 0 : graceMs }
    this.link.send(this.ordered)
  }

  kill(): void {
    this.drainTimer?.cancel()
    this.health.stop()
    this.ordered = { type: 'kill' }
    this.granted = null
    this.link.send(this.ordered)
    const { reclaim, clock } = this.options.machine
    if (reclaim === undefined || !this.mayLive) return
    // The launcher may be frozen, and then its deadman is too: half the margin is left to do without it.
    // Ordered again, it must not be put off: the time counts from the first order.
    this.killTimer ??= clock.after(this.options.killMarginMs / 2, () => {
      this.killTimer = null
      if (this.mayLive) void this.reclaim('the launcher did not confirm a kill')
    })
  }

  private connected(hello: Hello, returning: boolean): void {
    const { log } = this.options
    log.info(`launcher ${returning ? 're' : ''}connected`, { launcherPid: hello.pid, alone: hello.alone })
    this.alone = hello.alone
    this.met = returning
    if (returning) this.orphaned = false
    this.ending = false
    this.starting = false
    this.pings.unanswered = 0
    this.see(hello.view)
    if (hello.view.state === 'running') this.health.watch()
    if (!returning) return
    // What was on its way while the link was down.
    if (this.granted !== null) this.link.send({ type: 'grant', grant: this.granted })
    if (this.ordered !== null) this.link.send(this.ordered)
  }

  private received(message: Exclude<ToAgent, Hello>): void {
    switch (message.type) {
      case 'pong':
        this.heard()
        return
      case 'terminating':
        this.ending = true
        this.report()
        return
      case 'workload':
        if (message.cause.kind === 'met') {
          this.met = true
          this.orphaned = false
        }
        if (ANSWERS_TO_START.has(message.cause.kind)) this.starting = false
        this.view = message.view
        // First why, then what is reported: the reason for a hand-over is the cause, not what came of it.
        this.hear(message.cause)
        this.see(message.view)
        return
    }
  }

  private heard(): void {
    const wasSilent = this.pings.unanswered >= SILENT_PINGS
    this.pings.unanswered = 0
    if (wasSilent) this.report()
  }

  private see(view: WorkloadView): void {
    this.view = view
    if (view.state === 'frozen') this.health.pause()
    else if (view.state !== 'running') this.health.stop()
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
        this.killTimer?.cancel()
        this.killTimer = null
        metrics.stopped(cause.durationMs)
        // Nobody ordered it: the launcher’s own deadman did.
        if (this.ordered === null) this.fail('the launcher stopped LangFlow by itself')
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
    const { reclaim } = this.options.machine
    this.health.stop()
    // One that came and went before it had looked for what is left changes nothing.
    this.orphaned ||= this.mayLive
    this.starting = false
    this.report()
    // Also an idle one may have been told to start.
    this.fail('the launcher is gone')
    if (!this.orphaned) return
    if (reclaim !== undefined) void this.reclaim('the launcher is gone')
    else if (this.alone && byPeer) this.awaitNamespaceEnd()
  }

  /**
   * Its end closed the connection, and a launcher that still lived would be back by now. It was the only child of its
   * namespace's init, so the kernel is ending everything in it. This is what an out-of-memory kill of the whole
   * container looks like.
   */
  private awaitNamespaceEnd(): void {
    const { clock, portFree } = this.options.machine
    const look = async () => {
      const free = await portFree()
      if (!this.orphaned) return
      if (free) this.settle()
      else clock.after(PORT_CHECK_MS, () => void look())
    }
    clock.after(NAMESPACE_END_MS, () => void look())
  }

  private async reclaim(reason: string): Promise<void> {
    this.options.log.warn(`killing the workload without its launcher: ${reason}`)
    await this.options.machine.reclaim?.()
    if (this.orphaned) this.settle()
  }

  private settle(): void {
    this.orphaned = false
    this.see({ ...this.view, state: 'idle', pid: null, killAt: null })
  }

  private report(): void {
    const { view } = this
    const workload: Workload = {
      alive: this.orphaned ? 'maybe' : this.mayLive ? 'yes' : 'no',
      canRun: this.canRun,
      ending: this.ending,
      epoch: view.epoch,
      identity: view.identity,
      killAt: view.killAt,
      failed: view.loss === null ? null : describeLoss(view.loss),
      stopFailed: this.stopFailure(),
    }
    this.options.tell({ type: 'workload', workload })
    this.options.changed()
  }

  /** Nobody accepts connections any more. */
  private get unserved(): boolean {
    return this.view.loss?.role === 'worker'
  }

  private get mayLive(): boolean {
    return this.starting || this.view.state !== 'idle'
  }

  private stopFailure(): string | null {
    if (this.view.state === 'unstoppable') return 'the workload could not be stopped'
    return this.orphaned ? 'the launcher is gone, and nothing proves yet that its processes are dead' : null
  }

  private ping(): void {
    const { clock, reclaim } = this.options.machine
    if (this.link.connected) {
      this.link.send({ type: 'ping', id: this.pings.next++ })
      this.pings.unanswered++
      if (this.pings.unanswered === SILENT_PINGS) {
        this.report()
        if (this.mayLive) this.fail('the launcher does not answer')
        if (reclaim !== undefined) void this.reclaim('the launcher does not answer')
      }
    }
    this.pings.timer = clock.after(PING_MS, () => this.ping())
  }
}
