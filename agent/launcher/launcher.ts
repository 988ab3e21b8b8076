import { type Clock, pause, reached, type Timer, untilReached } from '../clock.ts'
import {
  COLD,
  CUT_OFF_MS,
  type Grant,
  NOTHING,
  type ToLauncher,
  type WorkloadCause,
  type WorkloadState,
  type WorkloadView,
} from '../link/link-messages.ts'
import type { Exit, ProcessTree } from '../processes/process-tree.ts'
import type { ServingProcesses } from './serving-processes.ts'
import type { Standby } from './standby/kept-standby.ts'

/** What the launcher needs of the machine; a seam for the simulation. */
export interface LauncherMachine {
  readonly clock: Clock
  /** Made anew for each start, and for what is to end without one. */
  tree(): ProcessTree
  /** `null` where the port is free, otherwise one sentence that says who holds it. */
  portHolder(port: number): Promise<string | null>
  /** Watches who serves the port, beginning with the start of the workload's first process. */
  serving(port: number, child: number): Pick<ServingProcesses, 'check' | 'finish' | 'cutOff'>
  /** What the workload is started from; `null`: from nothing. */
  standby(): Standby | null
  /** The workload's environment under a grant. */
  environment(grant: Grant): NodeJS.ProcessEnv
}

/** How often, while something lives, the clocks are compared, and it is looked whether those that serve still do. */
const CLOCK_CHECK_MS = 100
/** How long SIGKILL may take before what lives on counts as unstoppable; then it is tried again. */
const KILL_WITHIN_MS = 3_000
const KILL_AGAIN_MS = 1_000
/** How often it is looked whether a stop is over, and whether the kernel has closed a killed process's sockets. */
const STOP_CHECK_MS = 25
const PORT_CHECK_MS = 10
/** From the first SIGSTOP on: by then nobody can still be on its way to a stop, or be born. */
const FREEZE_SETTLES_MS = 1_000
/** How often in a row somebody may be met awake after that. */
const AWAKE_LOOKS = 2
/**
 * The longest wait of a standby for another replica's start, perhaps on the same node: its clients wait, and a preparation takes as
 * much CPU as a start. The agent ends the wait once the leader serves.
 */
const STANDBY_AFTER_MS = 10_000

/**
 * Holds the workload: runs it only while a grant lasts, on its own clocks. It trusts the agent for the right to run,
 * never for the end of it: the deadman freezes and kills without any message.
 */
export class Launcher {
  private readonly command: readonly string[]
  private readonly machine: LauncherMachine
  private readonly told: (view: WorkloadView, cause: WorkloadCause) => void

  // The right to run.
  /** The one in force, until it is ended here, whatever the clocks say. */
  private grant: Grant | null = null
  /** Grants up to this epoch are over for good: the agent ordered a kill. */
  private closedEpoch = -1
  private refusing = false
  private timer: Timer | null = null

  // What runs.
  private workload: Omit<WorkloadView, 'killAt' | 'standby'> = NOTHING
  private port = 0
  private tree: ProcessTree | null = null
  private serving: ReturnType<LauncherMachine['serving']> | null = null
  /** What an earlier launcher left was looked for. */
  private met = false

  // How it is frozen and ended.
  /** Monotonic ms, of the first freeze since it last ran. */
  private frozenSince: number | null = null
  private awakeLooks = 0
  private stopTimer: Timer | null = null
  /** Monotonic ms: when what was told to end is killed; `null`: it is not waited for. */
  private killAt: number | null = null
  /** It was told again to end, and to be quick. */
  private hurried = false
  /** The stop under way began with the doubt itself: it has until the end of the grant. */
  private stoppedInDoubt = false
  /** SIGKILL is under way. */
  private isBeingKilled = false

  constructor(command: readonly string[], machine: LauncherMachine, told: Launcher['told']) {
    this.command = command
    this.machine = machine
    this.told = told
  }

  view(): WorkloadView {
    return {
      ...this.workload,
      killAt: this.grant?.killAt.mono ?? null,
      standby: this.machine.standby()?.view ?? COLD,
    }
  }

  private get state(): WorkloadState {
    return this.workload.state
  }

  /** It was told to end, and may still do so by itself. */
  private get isEndingInOrder(): boolean {
    return this.state === 'stopping' && !this.isBeingKilled
  }

  // 1. What the agent says.

  /** It meets an agent. Remains of an earlier launcher are killed before this one counts as idle; it leaves none itself. */
  meet(port: number, remains: ProcessTree | null): void {
    this.port = port
    if (!this.met && this.state === 'idle' && !isGone(remains)) {
      this.tree = remains
      void this.end()
    }
    this.met = true
    // First, so that nobody takes it for prepared.
    if (this.state === 'idle') this.machine.standby()?.prepare(STANDBY_AFTER_MS)
    this.tell({ kind: 'met' })
  }

  standbyChanged(): void {
    this.tell({ kind: 'standby' })
  }

  receive(message: ToLauncher): void {
    if (message.type === 'grant') this.accept(message.grant)
    else if (message.type === 'start') void this.start(message.epoch)
    else if (message.type === 'healthy') this.serves()
    else if (message.type === 'prepare' && this.state === 'idle') this.machine.standby()?.prepare()
    else if (message.type === 'stop') this.stop(message.graceMs)
    else if (message.type === 'kill') this.kill()
  }

  /**
   * SIGTERM, SIGKILL after `graceMs`, confirm; again, it can only be earlier. What is frozen, or in doubt, must not execute:
   * it is killed.
   */
  stop(graceMs: number): void {
    if (this.state === 'idle') {
      this.tell({ kind: 'nothing' })
    } else if (this.state === 'frozen' || !this.mayExecute()) {
      this.endAll()
    } else if (!this.isBeingKilled) {
      if (this.state === 'running') this.stoppedInDoubt = false
      this.endInOrder(graceMs)
    }
  }

  /** SIGKILL everything now. The grant is over, and its epoch with it. */
  kill(): void {
    if (this.grant !== null) this.closedEpoch = Math.max(this.closedEpoch, this.grant.epoch)
    this.grant = null
    this.endAll()
  }

  private accept(grant: Grant): void {
    // Told again after the link was down: nothing changes.
    const isInForce = grant.epoch === this.grant?.epoch && grant.killAt.mono === this.grant.killAt.mono
    const refused = isInForce ? null : this.refusalOf(grant)
    if (refused !== null) {
      this.refusing = true
      this.tell({ kind: 'grant_refused', reason: refused })
      return
    }
    if (!isInForce) this.grant = grant
    if (this.refusing) this.tell({ kind: 'grant_accepted' })
    this.refusing = false
    if (this.state === 'frozen' && this.mayExecute()) this.thaw()
    this.watchClocks()
  }

  /** Why a grant cannot take the place of the one in force, for people; `null`: it can. */
  private refusalOf(grant: Grant): string | null {
    const { grant: held, closedEpoch } = this
    const { epoch } = this.workload
    if (grant.epoch <= closedEpoch || (held !== null && grant.epoch < held.epoch))
      return `epoch ${grant.epoch} is over`
    if (held !== null && grant.epoch === held.epoch && grant.killAt.mono < held.killAt.mono)
      return 'it is older than the one in force'
    if (reached(this.machine.clock.now(), grant.killAt)) return 'it has expired'
    // Of what an earlier launcher has left nobody knows the epoch.
    if (this.state === 'idle' || epoch === null || epoch === grant.epoch) return null
    return `processes of epoch ${epoch} still live`
  }

  // 2. The deadman.

  /** Not without a grant, in doubt, or where it is over by the wall clock alone. */
  private mayExecute(): boolean {
    if (this.grant === null) return false
    const now = this.machine.clock.now()
    return !reached(now, this.grant.doubtAt) && now.wall < this.grant.killAt.wall
  }

  /** At each deadline of the grant, and in between: a suspended machine wakes up without its timers firing. */
  private watchClocks(): void {
    this.timer?.cancel()
    this.timer = null
    const { grant } = this
    if (grant === null || this.state === 'idle') return
    const now = this.machine.clock.now()
    if (reached(now, grant.killAt)) {
      this.fire()
      return
    }
    const doubt = reached(now, grant.doubtAt)
    // The wall clock alone may be wrong: it stops nothing for good, but nothing runs until the agent has asked.
    if (doubt || now.wall >= grant.killAt.wall) this.suspend(grant, doubt)
    const left = untilReached(now, doubt ? grant.killAt : grant.doubtAt)
    const wait = Math.min(CLOCK_CHECK_MS, Math.max(0, left))
    this.timer = this.machine.clock.after(wait, () => this.watchClocks())
    // Whether to go on without those that served is the agent's to say, which closes the gate first.
    const loss = this.state === 'running' ? this.serving?.check() : null
    if (!loss) return
    this.change({ loss })
    this.tell({ kind: 'bereft', loss })
  }

  private fire(): void {
    // A newer one of the same epoch may follow.
    this.grant = null
    if (this.isBeingKilled) return
    this.tell({ kind: 'deadman', reason: 'the grant is over' })
    void this.end()
  }

  private suspend(grant: Grant, doubt: boolean): void {
    const { clock } = this.machine
    if (this.state === 'stopping') {
      // Frozen it could not end, and going on would be execution: by either clock.
      const over = clock.now().wall >= grant.killAt.wall
      if (this.isEndingInOrder && (!this.stoppedInDoubt || over)) {
        this.tell({ kind: 'deadman', reason: 'leadership is in doubt while stopping' })
        this.endAll()
      }
      return
    }
    // Once more: what was being born during the first freeze may have got away.
    if (this.state === 'frozen') this.freeze()
    if (this.state !== 'running') return
    if (grant.onDoubt === 'freeze' || !doubt) {
      this.freeze()
    } else {
      this.stoppedInDoubt = true
      this.tell({ kind: 'deadman', reason: 'leadership is in doubt' })
      this.endInOrder(grant.killAt.mono - clock.mono())
    }
  }

  /** What runs, or once more what is frozen. */
  private freeze(): void {
    const now = this.machine.clock.mono()
    this.frozenSince ??= now
    let awake = 0
    try {
      awake = this.tree?.freeze().awake ?? 0
    } catch {
      this.giveUp('the workload could not be frozen')
      return
    }
    const settled = now - this.frozenSince >= FREEZE_SETTLES_MS
    this.awakeLooks = settled && awake > 0 ? this.awakeLooks + 1 : 0
    if (this.awakeLooks >= AWAKE_LOOKS) this.giveUp('the workload does not stay frozen')
    else if (this.state === 'running') this.move('frozen', { kind: 'frozen' })
  }

  /** Only from `frozen`. */
  private thaw(): void {
    this.frozenSince = null
    try {
      this.tree?.thaw()
    } catch {
      this.giveUp('the workload could not be thawed')
      return
    }
    this.move('running', { kind: 'thawed' })
  }

  private giveUp(reason: string): void {
    this.tell({ kind: 'deadman', reason })
    void this.end()
  }

  // 3. The workload, from the order to start until nothing of it lives.

  private async start(epoch: number): Promise<void> {
    const { grant, machine } = this
    if (grant?.epoch !== epoch || !this.mayExecute() || this.state !== 'idle') {
      this.tell({ kind: 'start_refused', reason: `no grant of epoch ${epoch} allows it` })
      return
    }
    const tree = machine.tree()
    this.tree = tree
    this.change({ state: 'running', epoch, identity: grant.identity, orderedAt: machine.clock.mono() })
    // Before any look at the clocks: it may take as long as a cold start.
    await this.machine.standby()?.use()
    // Otherwise it was ended meanwhile, which is told by itself.
    if (this.tree === tree) await this.launch(grant, tree)
  }

  private async launch(grant: Grant, tree: ProcessTree): Promise<void> {
    const { machine, port } = this
    let pid: number
    try {
      const holder = await machine.portHolder(port)
      if (this.isEnding(tree)) return
      if (holder !== null) throw new Error(holder)
      if (!this.mayExecute()) throw new Error('the grant ended before the start')
      const started = await tree.start(this.command, machine.environment(grant), (exit) =>
        this.exited(tree, exit),
      )
      pid = started.pid
      // The grant ended while the command was being started.
      if (this.tree !== tree) {
        await tree.kill(KILL_WITHIN_MS)
        return
      }
      this.change({ pid })
      // It has ended already, or is to.
      if (this.isBeingKilled) return
      // An end that was ordered meanwhile could not reach it yet.
      if (this.isEndingInOrder) this.tellToEnd()
    } catch (error) {
      if (this.isEnding(tree)) return
      const refused = { kind: 'start_refused', reason: (error as Error).message } as const
      // In doubt before it was started: a standby that stands still now would never take up its work again.
      if (this.state === 'frozen') await this.end()
      else if (isGone(tree)) this.rest(refused)
      else {
        // It failed once there was a process, as where no file descriptor is left to look at it.
        this.move('stopping', refused)
        await this.end()
      }
      return
    }
    this.serving = machine.serving(port, pid)
    this.tell({ kind: 'started' })
    this.watchClocks()
  }

  /** The end of this start is under way, or has come: it is told by itself. */
  private isEnding(tree: ProcessTree): boolean {
    return this.tree !== tree || this.state === 'stopping' || this.state === 'unstoppable'
  }

  private serves(): void {
    const { orderedAt, servedSince, loss } = this.workload
    if (orderedAt !== null) this.change({ servedSince: servedSince ?? this.machine.clock.mono() })
    // Its master has made another one. A master is made by nobody.
    if (loss?.role === 'worker') this.change({ loss: null })
  }

  /** The first process has ended; others of its tree may go on serving without it. */
  private exited(tree: ProcessTree, exit: Exit): void {
    if (tree !== this.tree || this.state === 'idle' || this.state === 'unstoppable') return
    if (this.state === 'stopping') {
      // Whoever it would have passed the signal on to has yet to hear of it.
      if (!this.isBeingKilled) this.tellToEnd()
      return
    }
    this.move('stopping', { kind: 'exited', ...exit })
    void this.end()
  }

  private endAll(): void {
    if (this.state !== 'idle') void this.end()
  }

  /** A start that still waits for its standby is over: what waits counts as the workload from the order to start on. */
  private abandonStart(): void {
    if (this.serving === null) this.machine.standby()?.discard()
  }

  /**
   * SIGTERM to what runs, SIGKILL once `graceMs` have passed; again, it can only be earlier. What it is still doing is cut off
   * in time before that; where nobody can be told to, whoever is hurried has had that time.
   */
  private endInOrder(graceMs: number): void {
    const { clock } = this.machine
    // Before any look at the processes, which takes its time.
    const since = clock.mono()
    if (this.state === 'running') {
      this.move('stopping', { kind: 'stopping' })
      this.abandonStart()
      this.tellToEnd()
    }
    const { killAt: before } = this
    this.killAt = Math.min(before ?? Number.POSITIVE_INFINITY, since + graceMs)
    this.hurried = before !== null && (this.hurried || graceMs <= CUT_OFF_MS)
    if (before !== null) return
    let cut = false
    const look = async () => {
      this.serving?.finish()
      const gone = isGone(this.tree) && (await this.machine.portHolder(this.port)) === null
      if (!this.isEndingInOrder || this.killAt === null) return
      const now = clock.mono()
      if (gone) {
        this.rest({ kind: 'stopped', durationMs: now - since })
        return
      }
      if (!cut && now >= this.killAt - CUT_OFF_MS) {
        cut = true
        const hears = this.serving?.cutOff() ?? false
        if (!hears && this.hurried) this.killAt = Math.min(this.killAt, since + CUT_OFF_MS)
      }
      if (now >= this.killAt) void this.end()
      else this.stopTimer = clock.after(Math.min(STOP_CHECK_MS, this.killAt - now), () => void look())
    }
    void look()
  }

  private tellToEnd(): void {
    try {
      this.tree?.terminate()
    } catch {
      // Who lives cannot be told: whoever has not heard of it is killed once the time for that is over.
    }
  }

  /** SIGKILL until nothing lives, and the port is free; an alarm for as long as that fails. */
  private async end(): Promise<void> {
    if (this.isBeingKilled) return
    const { clock } = this.machine
    this.isBeingKilled = true
    this.tree ??= this.machine.tree()
    this.stopTimer?.cancel()
    this.killAt = null
    const since = clock.mono()
    if (this.state !== 'stopping') this.move('stopping', { kind: 'stopping' })
    this.abandonStart()
    for (;;) {
      const left = await this.killOnce(this.tree)
      if (left === null) break
      this.move('unstoppable', { kind: 'stop_failed', reason: left })
      await pause(clock, KILL_AGAIN_MS)
    }
    this.isBeingKilled = false
    this.rest({ kind: 'killed', durationMs: clock.mono() - since })
  }

  /** What is left afterwards, in one sentence; `null`: nothing lives, and the port is free. What cannot be told counts as left. */
  private async killOnce(tree: ProcessTree): Promise<string | null> {
    const { clock } = this.machine
    try {
      const survivors = await tree.kill(KILL_WITHIN_MS)
      if (survivors.length > 0) {
        const names = survivors.map(({ pid, comm, state }) => `${comm} (pid ${pid}, state ${state})`)
        return `SIGKILL did not end ${names.slice(0, 5).join(', ')}`
      }
      // The kernel closes a killed process's sockets a moment after it is gone.
      const until = clock.mono() + KILL_WITHIN_MS
      for (;;) {
        const holder = await this.machine.portHolder(this.port)
        if (holder === null || clock.mono() >= until) return holder
        await pause(clock, PORT_CHECK_MS)
      }
    } catch (error) {
      return (error as Error).message
    }
  }

  private rest(cause: WorkloadCause): void {
    this.killAt = null
    this.frozenSince = null
    this.tree = null
    this.serving = null
    this.machine.standby()?.prepare(STANDBY_AFTER_MS)
    this.change({ state: 'idle', loss: null, pid: null, orderedAt: null, servedSince: null })
    this.watchClocks()
    this.tell(cause)
  }

  private change(facts: Partial<WorkloadView>): void {
    this.workload = { ...this.workload, ...facts }
  }

  private move(state: WorkloadState, cause: WorkloadCause): void {
    this.change({ state })
    this.tell(cause)
  }

  private tell(cause: WorkloadCause): void {
    const { deadmanFirings, freezes } = this.workload
    if (cause.kind === 'deadman') this.change({ deadmanFirings: deadmanFirings + 1 })
    else if (cause.kind === 'frozen') this.change({ freezes: freezes + 1 })
    this.told(this.view(), cause)
  }
}

/** Whether nothing of a tree lives. What cannot be told counts as alive. */
function isGone(tree: ProcessTree | null): boolean {
  try {
    return tree === null || tree.alive().length === 0
  } catch {
    return false
  }
}
