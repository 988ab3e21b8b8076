import { type Clock, pause, type Timer } from '../clock.ts'
import type { Standby } from '../link/messages.ts'
import {
  CUT_OFF_MS,
  type Grant,
  type Loss,
  type WorkloadCause,
  type WorkloadState,
} from '../link/messages.ts'
import type { Exit, LiveProcess, ProcessTree } from '../processes/process-tree.ts'
import type { ServingProcesses } from './serving-processes.ts'

/** What the launcher needs of the machine; a seam for the simulation. */
export interface LauncherMachine {
  readonly clock: Clock
  /** Made anew for each start. */
  tree(): ProcessTree
  /** `null` where the port is free, otherwise one sentence that says who holds it. */
  portHolder(port: number): Promise<string | null>
  /** Watches who serves the port, beginning with the start of the workload's first process. */
  serving(port: number, child: number): Pick<ServingProcesses, 'check' | 'finish' | 'cutOff' | 'close'>
  /** What the workload is started from; `null`: from nothing. */
  standby(): Standby | null
  /** The workload's environment under a grant. */
  environment(grant: Grant): NodeJS.ProcessEnv
}

export interface WorkloadHandlers {
  /** Whether anything may execute now. */
  mayExecute(): boolean
  /** Something executes from now on, or nothing but a spare may live any more: the clocks have to be watched for it. */
  watch(): void
  /** What has happened, once `state` and the like say so. */
  told(cause: WorkloadCause): void
}

/** How long SIGKILL may take before what lives on counts as unstoppable. */
const KILL_WITHIN_MS = 3_000
/** How often it is looked whether the kernel has closed a killed process's sockets. */
const PORT_CHECK_MS = 10
/** How often a stop is looked after. */
const STOP_CHECK_MS = 25
/** From the first SIGSTOP on: by then nobody can still be on its way to a stop, or be born. */
const FREEZE_SETTLES_MS = 1_000
/** How often in a row somebody may be met awake after that. */
const AWAKE_LOOKS = 2
/** How often a kill that failed is tried again. */
const KILL_AGAIN_MS = 1_000
/** From when the workload is healthy: its first users come before its spare. */
const SPARE_AFTER_MS = 10_000
/** From its end: its successor starts now, perhaps on the same node, and comes before the next standby. */
const STANDBY_AFTER_MS = 3_000

/**
 * The workload's processes, from the order to start until nothing of them lives, and the state they are in. When they are
 * to be started, frozen, thawed or ended is for others to say; but what fails to start, ends by itself, or can be neither
 * frozen nor thawed is ended without being told to.
 */
export class WorkloadProcesses {
  private readonly command: readonly string[]
  private readonly machine: LauncherMachine
  private readonly handlers: WorkloadHandlers
  private port = 0
  private tree: ProcessTree | null = null
  private serving: ReturnType<LauncherMachine['serving']> | null = null
  private stopTimer: Timer | null = null
  /** Monotonic ms: when what was told to end is killed; `null`: it is not waited for. */
  private killAt: number | null = null
  /** It was told again to end, and to be quick. */
  private hurried = false
  /** Monotonic ms, of the first freeze since they last ran. */
  private frozenSince: number | null = null
  private awakeLooks = 0
  /** SIGKILL is under way. */
  isBeingKilled = false
  /** The standby is also to be kept beside them. */
  private wantsSpare = false
  /** The standby, where it was begun beside them. */
  private spare: Standby | null = null
  state: WorkloadState = 'idle'
  /** Their first process. */
  pid: number | null = null
  /** Monotonic ms, when they were ordered to start, and when they were first said to be healthy. */
  orderedAt: number | null = null
  servedSince: number | null = null
  /** What they have lost of those that served. */
  loss: Loss | null = null
  /** Under which grant they run or last ran; `null` before the first. */
  ran: { readonly epoch: number; readonly identity: string } | null = null

  constructor(command: readonly string[], machine: LauncherMachine, handlers: WorkloadHandlers) {
    this.command = command
    this.machine = machine
    this.handlers = handlers
  }

  /** The epoch of those that live; `null`: none do, or it is unknown. */
  get livingEpoch(): number | null {
    return this.state === 'idle' && !this.hasSpare ? null : (this.ran?.epoch ?? null)
  }

  /** One waits that their flows may have reached: it is to live only as long as the grant under which it was begun. */
  get hasSpare(): boolean {
    return (this.spare?.view.state ?? 'none') !== 'none'
  }

  /** They were told to end, and may still do so by themselves. */
  get isEndingInOrder(): boolean {
    return this.state === 'stopping' && !this.isBeingKilled
  }

  /** Where they serve, and what may be left of earlier ones: that is killed before these count as idle. */
  meet(port: number, remains: ProcessTree | null, wantsSpare: boolean): void {
    this.port = port
    this.wantsSpare = wantsSpare
    if (this.state !== 'idle' || remains === null || isGone(remains)) return
    this.tree = remains
    void this.end()
  }

  /** Only from `idle`. Told once they run, or why they do not. */
  async start(grant: Grant): Promise<void> {
    const waiting = this.machine.tree()
    this.tree = waiting
    this.ran = { epoch: grant.epoch, identity: grant.identity }
    this.state = 'running'
    this.orderedAt = this.machine.clock.mono()
    // Before any look at the clocks: it may take as long as a cold start.
    await this.machine.standby()?.use()
    // Otherwise it was ended meanwhile, which is told by itself.
    if (this.tree === waiting) await this.launch(grant, waiting)
  }

  /** They are healthy. */
  serves(): void {
    if (this.orderedAt !== null) this.servedSince ??= this.machine.clock.mono()
    this.keepSpare()
  }

  /** SIGKILL to what waits beside them. That it is gone is confirmed with their end. */
  dropSpare(): void {
    this.spare?.discard()
    this.spare = null
  }

  private keepSpare(): void {
    const standby = this.machine.standby()
    if (!this.wantsSpare || standby === null || this.state !== 'running' || this.servedSince === null) return
    this.spare = standby
    standby.prepare(SPARE_AFTER_MS)
  }

  /** Those that run, or once more those that are frozen. */
  freeze(): void {
    const now = this.machine.clock.mono()
    this.frozenSince ??= now
    let awake = 0
    const stopped = this.signal('frozen', (tree) => {
      awake = tree.freeze().awake
    })
    if (!stopped) return
    const settled = now - this.frozenSince >= FREEZE_SETTLES_MS
    this.awakeLooks = settled && awake > 0 ? this.awakeLooks + 1 : 0
    if (this.awakeLooks >= AWAKE_LOOKS) this.giveUp('the workload does not stay frozen')
    else if (this.state === 'running') this.move('frozen', { kind: 'frozen' })
  }

  /** Only from `frozen`. */
  thaw(): void {
    this.frozenSince = null
    if (!this.signal('thawed', (tree) => tree.thaw())) return
    this.move('running', { kind: 'thawed' })
    this.keepSpare()
  }

  /** Only from `running`: SIGTERM. `killAfter` has to follow: it confirms the end. */
  terminate(): void {
    this.move('stopping', { kind: 'stopping' })
    this.tellToEnd()
  }

  /**
   * Waits for the end of what was told to end, and kills it once `graceMs` have passed. What it is still doing by then is cut
   * off in time. Again, it can only be earlier: then who cannot be told to cut anything off has had its time.
   */
  killAfter(graceMs: number): void {
    const { clock } = this.machine
    const since = clock.mono()
    const { killAt: before } = this
    this.killAt = Math.min(before ?? Number.POSITIVE_INFINITY, since + graceMs)
    this.hurried = before !== null && (this.hurried || graceMs <= CUT_OFF_MS)
    if (before !== null) return
    let cut = false
    const look = async () => {
      this.serving?.finish()
      // Twice: a spare may be dropped meanwhile.
      const gone = isGone(this.tree) && (await this.portHolder()) === null && isGone(this.tree)
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

  /**
   * SIGKILL until nothing lives, but for a spare that was not dropped, and the port is free; an alarm, and another try, for as
   * long as that fails.
   */
  async end(): Promise<void> {
    if (this.isBeingKilled) return
    const { clock } = this.machine
    this.isBeingKilled = true
    this.tree ??= this.machine.tree()
    this.stopTimer?.cancel()
    this.killAt = null
    const since = clock.mono()
    if (this.state !== 'stopping') this.move('stopping', { kind: 'stopping' })
    for (;;) {
      const left = await this.killAll(this.tree)
      if (left === null && isGone(this.tree)) break
      // A spare was dropped meanwhile.
      if (left === null) continue
      // Without it the whole PID namespace can be killed.
      this.dropSpare()
      this.move('unstoppable', { kind: 'stop_failed', reason: left })
      await pause(clock, KILL_AGAIN_MS)
    }
    this.isBeingKilled = false
    this.rest({ kind: 'killed', durationMs: clock.mono() - since })
  }

  /**
   * One round of SIGKILL. Resolves to `null` where nothing lives any more and the port is free, otherwise to one sentence that
   * says what is left. Never rejects: what cannot be told counts as left.
   */
  private async killAll(tree: ProcessTree): Promise<string | null> {
    const { clock } = this.machine
    try {
      const survivors = await tree.kill(KILL_WITHIN_MS)
      if (survivors.length > 0) return describe(survivors)
      // The kernel closes a killed process's sockets a moment after it is gone.
      const until = clock.mono() + KILL_WITHIN_MS
      for (;;) {
        const holder = await this.portHolder()
        if (holder === null || clock.mono() >= until) return holder
        await pause(clock, PORT_CHECK_MS)
      }
    } catch (error) {
      return (error as Error).message
    }
  }

  private portHolder(): Promise<string | null> {
    return this.machine.portHolder(this.port)
  }

  /** Only in `running`. Whether to go on without them is the agent's to say, who closes the gate first. */
  lookAfterServing(): void {
    const loss = this.serving?.check() ?? null
    if (loss === null) return
    this.loss = loss
    this.handlers.told({ kind: 'bereft', loss })
  }

  /** From nothing, or from the standby. */
  private async launch(grant: Grant, tree: ProcessTree): Promise<void> {
    try {
      const holder = await this.portHolder()
      if (this.isEnding(tree)) return
      if (holder !== null) throw new Error(holder)
      if (!this.handlers.mayExecute()) throw new Error('the grant ended before the start')
      const { pid } = await tree.start(this.command, this.machine.environment(grant), (exit) =>
        this.exited(tree, exit),
      )
      this.pid = pid
      // The grant ended while the command was being started.
      if (this.tree !== tree) {
        await tree.kill(KILL_WITHIN_MS)
        return
      }
      // It has ended already, or is to.
      if (this.isBeingKilled) return
      // An end that was ordered meanwhile could not reach it yet.
      if (this.isEndingInOrder) this.tellToEnd()
    } catch (error) {
      if (this.isEnding(tree)) return
      // In doubt before it was started: a standby that stands still now would never take up its work again.
      if (this.state === 'frozen') await this.end()
      else this.rest({ kind: 'start_refused', reason: (error as Error).message })
      return
    }
    this.spare = null
    this.serving = this.machine.serving(this.port, this.pid as number)
    this.handlers.told({ kind: 'started' })
    this.handlers.watch()
  }

  /** The end of this start is under way, or has come: it is told by itself. */
  private isEnding(tree: ProcessTree): boolean {
    return this.tree !== tree || this.state === 'stopping' || this.state === 'unstoppable'
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

  private tellToEnd(): void {
    try {
      this.tree?.terminate()
    } catch {
      // Who lives cannot be told: whoever has not heard of it is killed once the time for that is over.
    }
  }

  /** Returns false where it cannot be told what to signal: then all of it is killed. */
  private signal(outcome: 'frozen' | 'thawed', send: (tree: ProcessTree) => void): boolean {
    try {
      if (this.tree !== null) send(this.tree)
      return true
    } catch {
      this.giveUp(`the workload could not be ${outcome}`)
      return false
    }
  }

  private giveUp(reason: string): void {
    this.dropSpare()
    this.handlers.told({ kind: 'deadman', reason })
    void this.end()
  }

  private rest(cause: WorkloadCause): void {
    this.killAt = null
    this.frozenSince = null
    this.tree = null
    this.serving?.close()
    this.serving = null
    this.loss = null
    this.pid = null
    this.orderedAt = null
    this.servedSince = null
    if (!this.hasSpare) this.dropSpare()
    this.machine.standby()?.prepare(STANDBY_AFTER_MS)
    this.state = 'idle'
    this.handlers.watch()
    this.handlers.told(cause)
  }

  private move(state: WorkloadState, cause: WorkloadCause): void {
    this.state = state
    this.handlers.told(cause)
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

function describe(survivors: readonly LiveProcess[]): string {
  const names = survivors.slice(0, 5).map(({ pid, comm, state }) => `${comm} (pid ${pid}, state ${state})`)
  return `SIGKILL did not end ${names.join(', ')}`
}
