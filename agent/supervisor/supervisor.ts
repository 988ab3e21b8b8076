import { type Clock, type Timer, untilNext } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import type { Fact, Remedy, Why } from '../election/state.ts'
import type { EndedBecause } from '../lease/reasons.ts'
import {
  CUT_OFF_MS,
  describeExit,
  describeLoss,
  type Grant,
  NOTHING,
  type ToAgent,
  type ToLauncher,
  UNKNOWN_DIGESTS,
  type WorkloadCause,
  type WorkloadView,
} from '../link/link-messages.ts'
import type { Hello, LinkHandlers, LinkServer } from '../link/link-server.ts'
import type { Log, LogThrottle } from '../observe/log.ts'
import type { Metrics } from '../observe/prometheus.ts'
import { Drain, describeConnections } from './drain.ts'
import { WorkloadHealth, type WorkloadHealthOptions } from './health.ts'

/** What the agent needs of the machine; a seam for tests. */
export interface SupervisorMachine {
  readonly clock: Clock
  portFree(): Promise<boolean>
  /** From where connections to the workload's port are open, an address for each; `null` where that cannot be known. */
  connections(): readonly string[] | null
  /**
   * Only where agent and launcher share one process tree (`run`): kills the launcher and everything it left, and
   * resolves once nothing of it lives.
   */
  readonly reclaim?: () => Promise<void>
}

export type LauncherLink = Pick<LinkServer, 'connected' | 'listen' | 'send' | 'close'>

export interface SupervisorOptions
  extends Pick<AgentOptions, 'standby' | 'startTimeoutMs' | 'stopTimeoutMs' | 'killMarginMs'> {
  readonly machine: SupervisorMachine
  readonly link: (handlers: LinkHandlers) => LauncherLink
  readonly probe: WorkloadHealthOptions['probe']
  readonly log: Log
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
  readonly metrics: Pick<Metrics, 'takeover' | 'stopped' | 'late'>
  /** What to do about LangFlow's own failure, after it served for so long since its start; `null`: it never did. */
  readonly remedy: (servedMs: number | null) => Remedy
  readonly tell: (fact: Fact) => void
  /** Something that the gate or the status depends on has changed. */
  readonly changed: () => void
}

/** The connection alone does not tell whether the launcher is still there. */
const HEARTBEAT_MS = 1_000
/** A launcher that answered none of this many heartbeats is frozen or stuck. */
const SILENT_HEARTBEATS = 4
/** From SIGTERM to SIGKILL of a LangFlow that answers nothing. */
const HUNG_GRACE_MS = 5_000
/** How long the kernel is given to end a PID namespace whose init has died. */
const NAMESPACE_END_MS = 500
const PORT_CHECK_MS = 50

/** With these the launcher has seen the order to start, whatever became of it. */
const ANSWERS_TO_START: ReadonlySet<WorkloadCause['kind']> = new Set([
  'started',
  'start_refused',
  'stopped',
  'killed',
])

/**
 * The agent's side of the workload: turns orders into messages, and what the launcher and LangFlow say into facts. Where
 * something may live, it counts as alive.
 */
export class Supervisor {
  private readonly options: SupervisorOptions
  private readonly link: LauncherLink
  private readonly health: WorkloadHealth
  private readonly openDrain: Drain

  // Desired. What may have been lost with the link is ordered again once the same launcher is back.
  private granted: Grant | null = null
  /** The last order, if it was to end the workload. */
  private ending: Extract<ToLauncher, { type: 'stop' | 'kill' }> | null = null
  private othersServe = false

  // Actual.
  view: WorkloadView = NOTHING
  /** The launcher has looked for what an earlier one left: its `idle` can be believed. */
  private met = false
  /** A start was ordered and the launcher has not answered it yet: its last view is older than that. */
  private starting = false
  /** What it was ordered to start last has begun, or was refused. */
  private hasBegun = true
  /** Live processes that nobody answers for: the launcher is gone without a confirmed stop. */
  private orphaned = false
  /** The epoch in which LangFlow was healthy last. */
  private servedEpoch: number | null = null
  /** Why the launcher accepted no grant lately, in one sentence; `null`: it did, or there was none. */
  refusedGrant: string | null = null

  // The launcher.
  /** It is alone in its PID namespace, which ends with it. */
  private alone = false
  private launcherEnds = false
  /** The version of the LangFlow that it starts; `null`: unknown. */
  private langflow: string | null = null
  private ended: string | null = null
  /** What it tells of what it starts LangFlow from. */
  digests = UNKNOWN_DIGESTS
  private heartbeats = 0
  private unanswered = 0

  private heartbeatTimer: Timer | null = null
  /** Of a stop that began without a drain: what is open is cut off then. */
  private cutOffTimer: Timer | null = null
  /** The launcher has confirmed an ordered kill by then, or is done without. */
  private killTimer: Timer | null = null

  constructor(options: SupervisorOptions) {
    this.options = options
    const { probe, startTimeoutMs, stopTimeoutMs, log, metrics, tell, changed, machine } = options
    const { clock } = machine
    this.link = options.link({
      connected: (hello, returning, ended) => this.connected(hello, returning, ended),
      received: (message) => this.received(message),
      gone: (byPeer) => this.gone(byPeer),
    })
    this.openDrain = new Drain({
      clock,
      // What nobody has accepted stays open for as long as its client waits.
      connections: () => (this.isUnserved ? [] : machine.connections()),
      log,
      drained: () => tell({ type: 'drained' }),
      endable: (leftMs) => {
        // What is frozen would be killed for it.
        if (this.view.state === 'frozen') return false
        this.sendStop(leftMs + this.graceOf(stopTimeoutMs))
        return true
      },
      changed,
    })
    this.health = new WorkloadHealth({
      probe,
      clock,
      startTimeoutMs,
      metrics,
      failed: (why) => {
        this.failed(why)
        this.report()
      },
      served: (took) => {
        this.servedEpoch = this.view.epoch
        if (this.isUnserved) this.view = { ...this.view, loss: null }
        // Told with each time that this is found: the launcher keeps the first.
        this.link.send({ type: 'healthy' })
        tell({ type: 'workload_healthy', took })
        this.report()
      },
      changed,
    })
  }

  /** Rejects with a `FatalError` where the socket cannot be made. */
  async listen(): Promise<void> {
    await this.link.listen()
    this.heartbeat()
  }

  close(): void {
    this.health.stop()
    this.heartbeatTimer?.cancel()
    this.rest()
    this.endKillTimer()
    this.link.close()
  }

  get healthy(): boolean {
    return this.view.state !== 'frozen' && this.health.healthy
  }

  get lastProbe(): string | null {
    return this.health.lastProbe
  }

  get served(): boolean {
    const { health, servedEpoch, view } = this
    return health.servedMs !== null || (servedEpoch !== null && servedEpoch === view.epoch)
  }

  /** It starts, was never healthy in its term, and not from the standby that was asked for, at least not yet. */
  get startsColder(): boolean {
    if (!this.mayLive || this.served) return false
    const { mode, state } = this.view.standby
    return mode !== this.options.standby || state === 'preparing'
  }

  /** What a planned stop waits for, e.g. `1 connection from 10.1.2.3`; `null`: nothing. */
  get draining(): string | null {
    return this.openDrain.view
  }

  get launcher(): 'connected' | 'missing' | 'silent' {
    if (!this.link.connected) return 'missing'
    return this.unanswered >= SILENT_HEARTBEATS ? 'silent' : 'connected'
  }

  /** Whether another replica leads and serves. The launcher hears it once, and again after each meeting. */
  set leaderServes(serves: boolean) {
    if (serves && !this.othersServe) this.link.send({ type: 'prepare' })
    this.othersServe = serves
  }

  /** A launcher answers, runs nothing by all that is known, and was not asked to end. */
  get canRun(): boolean {
    return this.launcher === 'connected' && this.met && !this.mayLive && !this.launcherEnds && !this.orphaned
  }

  private get mayLive(): boolean {
    return this.starting || this.view.state !== 'idle'
  }

  /** Nobody accepts connections any more. */
  private get isUnserved(): boolean {
    return this.view.loss?.role === 'worker'
  }

  grant(grant: Grant): void {
    this.granted = grant
    this.link.send({ type: 'grant', grant })
  }

  /** Not told again: a launcher that was gone meanwhile is to end what it may have started. */
  start(epoch: number): void {
    this.rest()
    // A kill that met nothing is answered by nothing.
    this.endKillTimer()
    this.starting = true
    this.ending = null
    this.health.ordered()
    this.link.send({ type: 'start', epoch })
    this.report()
  }

  /** Stopped, to be started again in the same epoch; requests have `drainMs` to end. */
  restart(graceMs: number, drainMs: number): void {
    this.halt(graceMs, drainMs)
  }

  /**
   * The gate is closed; goes on as soon as no connection to LangFlow is left. Once everybody knows that the gate is closed,
   * LangFlow is told to end: it closes connections that idle, which look like those with a request, and each of the others
   * after its answer.
   *
   * @param until monotonic ms: `stop` follows then at the latest
   * @param graceMs for how long a front goes on to send requests beside streams
   */
  drain(until: number, graceMs: number): void {
    this.health.stop()
    this.report()
    this.openDrain.begin(until, graceMs)
  }

  /**
   * What is open is not waited for any longer, but cut off.
   *
   * @param graceMs from SIGTERM to SIGKILL, where nothing is open
   */
  stop(graceMs: number): void {
    this.halt(graceMs, 0)
  }

  kill(): void {
    const { machine, killMarginMs } = this.options
    this.rest()
    this.health.stop()
    this.granted = null
    this.ending = { type: 'kill' }
    this.link.send(this.ending)
    if (machine.reclaim === undefined || !this.mayLive) return
    // The launcher may be frozen, and then its deadman is too: half the margin is left to do without it.
    // Ordered again, it must not be put off: the time counts from the first order.
    this.killTimer ??= machine.clock.after(killMarginMs / 2, () => {
      this.killTimer = null
      if (this.mayLive) void this.reclaim('the launcher did not confirm a kill')
    })
  }

  private halt(graceMs: number, drainMs: number): void {
    const { machine, log } = this.options
    this.rest()
    this.health.stop()
    // Without its workers it has nothing to end in order.
    if (this.isUnserved) this.sendStop(0)
    else if (drainMs > 0) {
      this.sendStop(Math.min(graceMs, drainMs + this.graceOf(graceMs)))
      this.cutOffTimer = machine.clock.after(drainMs, () => this.halt(graceMs, 0))
    } else {
      const open = machine.connections()
      const isOpen = open?.length !== 0
      if (isOpen && this.mayLive) log.warn(`cut off: ${describeConnections(open)}`)
      this.sendStop(isOpen ? Math.min(graceMs, CUT_OFF_MS) : this.graceOf(graceMs))
    }
  }

  /** What hangs ends nothing in order, and users wait for the next one. */
  private graceOf(ms: number): number {
    return this.health.hangs ? Math.min(ms, HUNG_GRACE_MS) : ms
  }

  private sendStop(graceMs: number): void {
    this.ending = { type: 'stop', graceMs }
    this.link.send(this.ending)
  }

  /** Nothing is waited for any more. */
  private rest(): void {
    this.openDrain.end()
    this.cutOffTimer?.cancel()
    this.cutOffTimer = null
  }

  private endKillTimer(): void {
    this.killTimer?.cancel()
    this.killTimer = null
  }

  private connected(hello: Hello, returning: boolean, ended: string | null): void {
    const { pid, alone, langflow, view } = hello
    this.options.log.info(`launcher ${returning ? 're' : ''}connected`, { launcherPid: pid, alone, langflow })
    this.alone = alone
    this.ended = ended
    this.langflow = langflow ?? null
    this.digests = UNKNOWN_DIGESTS
    this.launcherEnds = false
    this.unanswered = 0
    this.refusedGrant = null
    this.met = returning
    if (returning) this.orphaned = false
    this.starting = false
    this.view = view
    if (view.state === 'running' || view.state === 'frozen') this.health.found(view)
    this.viewed()
    if (!returning) return
    if (this.granted !== null) this.link.send({ type: 'grant', grant: this.granted })
    if (this.ending !== null) this.link.send(this.ending)
  }

  private received(message: Exclude<ToAgent, Hello>): void {
    if (message.type === 'workload') {
      this.observe(message.view, message.cause)
      // First why, then what is reported: the reason for a hand-over is the cause, not what came of it.
      this.hear(message.cause)
      this.viewed()
    } else if (message.type === 'pong') {
      const wasSilent = this.launcher === 'silent'
      this.unanswered = 0
      if (wasSilent) this.report()
    } else if (message.type === 'digests') {
      this.digests = message.digests
      this.report()
    } else if (message.type === 'terminating') {
      this.launcherEnds = true
      this.report()
    }
  }

  /** The launcher has told what the workload does now, and why. */
  private observe(view: WorkloadView, { kind }: WorkloadCause): void {
    this.hasBegun = !this.starting
    if (kind === 'met') {
      this.met = true
      this.orphaned = false
      if (this.othersServe) this.link.send({ type: 'prepare' })
    }
    if (ANSWERS_TO_START.has(kind)) this.starting = false
    this.view = view
  }

  private viewed(): void {
    const { state } = this.view
    if (!this.mayLive) this.rest()
    if (state === 'frozen') this.health.pause()
    // What was told before the order to start came says nothing of that start.
    else if (state !== 'running' && !this.starting) this.health.stop()
    this.report()
  }

  private hear(cause: WorkloadCause): void {
    const { metrics, log, repeats } = this.options
    const { kind } = cause
    if (kind === 'started') this.health.started()
    else if (kind === 'thawed') this.health.watch()
    else if (kind === 'start_refused')
      this.fail({ code: 'start_refused', reason: `LangFlow was not started: ${cause.reason}` })
    // Without its reaper, its launcher ends as well, and starts nothing any more.
    else if (kind === 'exited' && cause.unreaped) this.fail(exitOf(cause))
    else if (kind === 'exited') this.failed(exitOf(cause))
    else if (kind === 'bereft') {
      this.health.recheck()
      this.failed({ code: 'workload_lost', reason: describeLoss(cause.loss) })
    } else if (kind === 'killed' || kind === 'stopped') {
      this.endKillTimer()
      metrics.stopped(cause.durationMs)
      // Nobody ordered it: the launcher’s own deadman did. A start that still waited for its standby is ordered again.
      if (this.ending !== null || this.starting) return
      if (this.hasBegun) this.fail({ code: 'deadman', reason: 'the launcher stopped LangFlow by itself' })
      else this.fail({ code: 'deadman', reason: 'the launcher gave up a start in doubt' }, 'restart')
    } else if (kind === 'stop_failed') {
      log.error(`ALARM: ${cause.reason}; the Lease is kept while something may live`)
    } else if (kind === 'grant_refused') {
      this.refusedGrant = `the launcher refuses grants: ${cause.reason}`
      repeats.happened('grant', this.refusedGrant)
    } else if (kind === 'grant_accepted') {
      this.refusedGrant = null
      repeats.over('grant', 'the launcher accepts grants again')
    }
  }

  private heartbeat(): void {
    const { machine, metrics } = this.options
    const { clock } = machine
    if (this.link.connected) {
      this.link.send({ type: 'ping', id: this.heartbeats++ })
      this.unanswered++
      if (this.unanswered === SILENT_HEARTBEATS) this.silent()
    }
    const waitMs = untilNext(clock, HEARTBEAT_MS)
    const dueAt = clock.mono() + waitMs
    this.heartbeatTimer = clock.after(waitMs, () => {
      metrics.late(Math.max(0, clock.mono() - dueAt))
      this.heartbeat()
    })
  }

  private silent(): void {
    const reason = 'the launcher does not answer'
    this.report()
    if (this.mayLive) this.fail({ code: 'launcher_silent', reason })
    if (this.options.machine.reclaim !== undefined) void this.reclaim(reason)
  }

  private gone(byPeer: boolean): void {
    const reason = 'the launcher is gone'
    this.health.stop()
    // One that came and went before it had looked for what is left changes nothing.
    this.orphaned ||= this.mayLive
    this.starting = false
    this.report()
    // Also an idle one may have been told to start.
    this.fail({ code: 'launcher_gone', reason })
    if (!this.orphaned) return
    if (this.options.machine.reclaim !== undefined) void this.reclaim(reason)
    else if (this.alone && byPeer) this.awaitNamespaceEnd()
  }

  /** Ends the workload where its launcher is gone, or does nothing any more. */
  private async reclaim(reason: string): Promise<void> {
    const { machine, log } = this.options
    log.warn(`killing the workload without its launcher: ${reason}`)
    await machine.reclaim?.()
    if (this.orphaned) this.provedDead()
  }

  /**
   * The launcher's end closed the connection, and one that still lived would be back by now. It was the only child of its
   * namespace's init, so the kernel is ending everything in it. This is what an out-of-memory kill of the whole
   * container looks like.
   */
  private awaitNamespaceEnd(): void {
    const { machine } = this.options
    const { clock } = machine
    const look = async () => {
      const free = await machine.portFree()
      if (!this.orphaned) return
      if (free) this.provedDead()
      else clock.after(PORT_CHECK_MS, () => void look())
    }
    clock.after(NAMESPACE_END_MS, () => void look())
  }

  /** Nothing lives any more, although no launcher says so. */
  private provedDead(): void {
    this.orphaned = false
    const { epoch, identity, deadmanFirings, freezes, loss, standby } = this.view
    this.view = { ...NOTHING, epoch, identity, deadmanFirings, freezes, loss, standby }
    this.viewed()
  }

  /** LangFlow itself did, and its launcher could start it again. */
  private failed(why: Why<EndedBecause>): void {
    this.fail(why, this.options.remedy(this.health.servedMs))
  }

  private fail(why: Why<EndedBecause>, remedy: Remedy = 'handover'): void {
    this.options.tell({ type: 'workload_failed', ...why, remedy })
  }

  private report(): void {
    const { standby: wanted, tell, changed } = this.options
    const { state, epoch, identity, killAt, loss, standby } = this.view
    tell({
      type: 'workload',
      workload: {
        alive: this.orphaned ? 'maybe' : this.mayLive ? 'yes' : 'no',
        canRun: this.canRun,
        prepared: standby.mode === wanted && (wanted === 'cold' || standby.state === 'ready'),
        ending: this.launcherEnds,
        langflow: this.langflow,
        inputs: this.digests.inputs ?? null,
        epoch,
        identity,
        killAt,
        ended: this.ended,
        failed: loss === null ? null : describeLoss(loss),
        well: this.healthy && this.launcher === 'connected' && loss === null,
        stopFailed:
          state === 'unstoppable'
            ? 'the workload could not be stopped'
            : this.orphaned
              ? 'the launcher is gone, and nothing proves yet that its processes are dead'
              : null,
      },
    })
    changed()
  }
}

function exitOf(cause: Parameters<typeof describeExit>[0]): Why<EndedBecause> {
  return { code: 'workload_exited', reason: describeExit(cause) }
}
