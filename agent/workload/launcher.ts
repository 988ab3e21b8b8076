import { type Clock, reached, type Timer, untilReached } from '../clock.ts'
import type { Grant, Loss, ToLauncher, WorkloadCause, WorkloadState, WorkloadView } from './messages.ts'
import type { Exit, LiveProcess, ProcessTree } from './process-tree.ts'
import { COLD, type Standby } from './standby.ts'

/** What the launcher needs of the machine; a seam for the simulation. */
export interface LauncherMachine {
  readonly clock: Clock
  /** Made anew for each start. */
  tree(): ProcessTree
  /** `null` where the port is free, otherwise one sentence that says who holds it. */
  portHolder(port: number): Promise<string | null>
  /** Watches who serves the port, beginning with the start of the workload's first process. */
  serving(port: number, child: number): { check(): Loss | null; finish(): void }
  /** What the workload is started from; `null`: from nothing. */
  standby(): Standby | null
  /** The workload's environment under a grant. */
  environment(grant: Grant): NodeJS.ProcessEnv
}

/**
 * How often the clocks are compared while something lives: a suspended machine wakes up without its timers firing. It is
 * also looked then whether those that serve still live.
 */
const CLOCK_CHECK_MS = 100
/** How often a stop is looked after. */
const STOP_CHECK_MS = 25
/** How often it is looked whether the kernel has closed a killed process's sockets. */
const PORT_CHECK_MS = 10
/** How long SIGKILL may take before the workload counts as unstoppable, and how often it is tried again. */
const KILL_WITHIN_MS = 3_000
const KILL_AGAIN_MS = 1_000

type Told = (view: WorkloadView, cause: WorkloadCause) => void

/**
 * Holds the workload: runs it only while a grant lasts, on its own clocks. It trusts the agent for the right to run,
 * never for the end of it: the deadman freezes and kills without any message.
 */
export class Launcher {
  private readonly command: readonly string[]
  private readonly machine: LauncherMachine
  private readonly told: Told
  private grant: Grant | null = null
  /** Grants of these epochs are over for good: the agent ordered a kill. */
  private closedEpoch = -1
  private tree: ProcessTree | null = null
  private loss: Loss | null = null
  private serving: ReturnType<LauncherMachine['serving']> | null = null
  private state: WorkloadState = 'idle'
  private pid: number | null = null
  private ran: { epoch: number; identity: string } | null = null
  private deadmanFirings = 0
  private freezes = 0
  private timer: Timer | null = null
  private stopTimer: Timer | null = null
  private killing = false
  /** The stop under way began with the doubt itself: it has until the end of the grant. */
  private stoppedInDoubt = false
  private port = 0
  private met = false

  constructor(command: readonly string[], machine: LauncherMachine, told: Told) {
    this.command = command
    this.machine = machine
    this.told = told
  }

  view(): WorkloadView {
    return {
      state: this.state,
      epoch: this.ran?.epoch ?? null,
      identity: this.ran?.identity ?? null,
      pid: this.pid,
      killAt: this.grant?.killAt.mono ?? null,
      deadmanFirings: this.deadmanFirings,
      freezes: this.freezes,
      loss: this.loss,
      standby: this.machine.standby()?.view ?? COLD,
    }
  }

  /**
   * What the agent tells a launcher when they meet: the workload's port, and how its processes are marked. Remains
   * of an earlier launcher are killed before this one counts as idle; it leaves none itself.
   */
  meet(port: number, remains: ProcessTree | null): void {
    this.port = port
    if (this.state === 'idle' && !this.met && remains !== null && !isGone(remains)) {
      this.tree = remains
      void this.end()
    }
    this.met = true
    // First, so that nobody takes it for prepared.
    if (this.state === 'idle') this.machine.standby()?.prepare()
    this.tell({ kind: 'met' })
  }

  /** The standby is another one now. */
  standbyChanged(): void {
    this.tell({ kind: 'standby' })
  }

  receive(message: ToLauncher): void {
    if (message.type === 'grant') this.accept(message.grant)
    else if (message.type === 'start') void this.start(message.epoch)
    else if (message.type === 'stop') this.stop(message.graceMs)
    else if (message.type === 'kill') this.kill()
  }

  /** SIGTERM, SIGKILL after `graceMs`, confirm. What is frozen, or in doubt, must not execute: it is killed. */
  stop(graceMs: number): void {
    if (this.state === 'idle') {
      this.tell({ kind: 'nothing' })
      return
    }
    if (this.state === 'frozen' || !this.mayExecute()) {
      void this.end()
      return
    }
    if (this.state !== 'running') return
    this.move('stopping', { kind: 'stopping' })
    this.tree?.terminate()
    this.awaitEnd(graceMs)
  }

  /** SIGKILL everything now. */
  kill(): void {
    if (this.grant !== null) this.closedEpoch = Math.max(this.closedEpoch, this.grant.epoch)
    this.grant = null
    if (this.state !== 'idle') void this.end()
  }

  private accept(grant: Grant): void {
    const now = this.machine.clock.now()
    const held = this.grant
    const refused =
      grant.epoch <= this.closedEpoch || (held !== null && grant.epoch < held.epoch)
        ? `epoch ${grant.epoch} is over`
        : held !== null && grant.epoch === held.epoch && grant.killAt.mono <= held.killAt.mono
          ? 'it is no newer than the one in force'
          : reached(now, grant.killAt)
            ? 'it has expired'
            : this.state !== 'idle' && this.ran !== null && this.ran.epoch !== grant.epoch
              ? `processes of epoch ${this.ran.epoch} still live`
              : null
    if (refused !== null) {
      this.tell({ kind: 'grant_refused', reason: refused })
      return
    }
    this.grant = grant
    if (this.state === 'frozen' && this.mayExecute() && this.thaw()) this.move('running', { kind: 'thawed' })
    this.watchClocks()
  }

  private async start(epoch: number): Promise<void> {
    const { grant } = this
    if (grant === null || grant.epoch !== epoch || !this.mayExecute() || this.state !== 'idle') {
      this.tell({ kind: 'start_refused', reason: `no grant of epoch ${epoch} allows it` })
      return
    }
    const waiting = this.machine.tree()
    this.tree = waiting
    this.ran = { epoch, identity: grant.identity }
    this.state = 'running'
    // Before any look at the clocks: it may take as long as a cold start.
    await this.machine.standby()?.use()
    // Otherwise it was ended meanwhile, which is told by itself.
    if (this.tree === waiting && !(await this.wake())) await this.launch(grant, this.tree)
  }

  /** From nothing, or from what is prewarmed. */
  private async launch(grant: Grant, tree: ProcessTree): Promise<void> {
    try {
      const holder = await this.machine.portHolder(this.port)
      if (this.isEnding(tree)) return
      if (holder !== null) throw new Error(holder)
      if (!this.mayExecute()) throw new Error('the grant ended before the start')
      const { pid } = await tree.start(this.command, this.machine.environment(grant), (exit) =>
        this.exited(tree, exit),
      )
      this.pid = pid
      // The grant ended while the command was being started.
      if (this.tree !== tree) {
        await tree.kill(KILL_WITHIN_MS)
        return
      }
      // An end that was ordered meanwhile could not reach it yet.
      if (this.state === 'stopping' && !this.killing) tree.terminate()
    } catch (error) {
      if (this.isEnding(tree)) return
      // In doubt before it was started: a standby that stands still now would never take up its work again.
      if (this.state === 'frozen') await this.end()
      else this.rest({ kind: 'start_refused', reason: (error as Error).message })
      return
    }
    this.begun()
  }

  /** The end of this start is under way, or has come: it is told by itself. */
  private isEnding(tree: ProcessTree): boolean {
    return this.tree !== tree || this.state === 'stopping' || this.state === 'unstoppable'
  }

  private begun(): void {
    this.serving = this.machine.serving(this.port, this.pid as number)
    this.tell({ kind: 'started' })
    this.watchClocks()
  }

  /** Thaws what stands by frozen. False: there is none, or nothing of it is left, and it has to be started. */
  private async wake(): Promise<boolean> {
    if (!this.mayExecute() || this.state !== 'running') return false
    let replaced = false
    const frozen = this.machine.standby()?.takeFrozen((exit) => {
      if (!replaced && frozen) this.exited(frozen.tree, exit)
    })
    if (!frozen) return false
    const { tree, pid } = frozen
    const goesOn = () => this.tree === tree && this.state === 'running'
    this.tree = tree
    this.pid = pid
    if (!this.thaw()) return true
    this.watchClocks()
    const problem = await frozen.answers()
    // Ended meanwhile, which is told by itself, or in doubt: then its agent judges it once it is thawed again.
    if (problem === null || !goesOn()) {
      if (this.tree === tree) this.begun()
      return true
    }
    replaced = true
    const left = await this.leftOf(tree)
    // Also one that came to be in doubt: what is dead must not be thawed.
    if (!goesOn() || left !== null) {
      if (!this.isEnding(tree)) void this.end()
      return true
    }
    this.pid = null
    this.tree = this.machine.tree()
    return false
  }

  /** The direct child has ended; others of its tree may go on serving without it. */
  private exited(tree: ProcessTree, exit: Exit): void {
    if (tree !== this.tree || this.state === 'idle' || this.state === 'unstoppable') return
    if (this.state === 'stopping') {
      // Whoever it would have passed the signal on to has yet to hear of it.
      if (!this.killing) this.tree?.terminate()
      return
    }
    this.move('stopping', { kind: 'exited', code: exit.code, signal: exit.signal })
    void this.end()
  }

  private mayExecute(): boolean {
    const { grant } = this
    if (grant === null) return false
    const now = this.machine.clock.now()
    return !reached(now, grant.doubtAt) && now.wall < grant.killAt.wall
  }

  /** The deadman: looks at the clocks at each deadline of the grant, and in between for a machine that slept. */
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
    if (this.state === 'running') this.lookAfterServing()
  }

  /** Whether to go on is the agent's to say, who closes the gate first. */
  private lookAfterServing(): void {
    const loss = this.serving?.check() ?? null
    if (loss === null) return
    this.loss = loss
    this.tell({ kind: 'bereft', loss })
  }

  private fire(): void {
    this.grant = null
    if (this.state === 'idle' || this.killing) return
    this.deadman('the grant is over')
    void this.end()
  }

  private suspend(grant: Grant, doubt: boolean): void {
    if (this.state === 'stopping') {
      // Frozen it could not end, and going on would be execution: by either clock.
      const over = this.machine.clock.now().wall >= grant.killAt.wall
      if (!this.killing && (!this.stoppedInDoubt || over)) {
        this.deadman('leadership is in doubt while stopping')
        void this.end()
      }
      return
    }
    // Once more: what was being born during the first freeze may have got away.
    if (this.state === 'frozen') this.freeze()
    if (this.state !== 'running') return
    if (grant.onDoubt === 'freeze' || !doubt) {
      if (!this.freeze()) return
      this.freezes++
      this.move('frozen', { kind: 'frozen' })
    } else if (doubt) {
      this.stoppedInDoubt = true
      this.deadman('leadership is in doubt')
      this.move('stopping', { kind: 'stopping' })
      this.tree?.terminate()
      this.awaitEnd(grant.killAt.mono - this.machine.clock.mono())
    }
  }

  /** Returns false where it cannot be told what to freeze: then all of it is killed. */
  private freeze(): boolean {
    try {
      this.tree?.freeze()
      return true
    } catch {
      this.deadman('the workload could not be frozen')
      void this.end()
      return false
    }
  }

  /** The same for a thaw. */
  private thaw(): boolean {
    try {
      this.tree?.thaw()
      return true
    } catch {
      this.deadman('the workload could not be thawed')
      void this.end()
      return false
    }
  }

  private awaitEnd(graceMs: number): void {
    const { clock } = this.machine
    const since = clock.mono()
    const look = async () => {
      this.serving?.finish()
      const gone = isGone(this.tree) && (await this.machine.portHolder(this.port)) === null
      if (this.state !== 'stopping' || this.killing) return
      const waited = clock.mono() - since
      if (gone) {
        this.rest({ kind: 'stopped', durationMs: waited })
      } else if (waited >= graceMs) {
        void this.end()
      } else {
        this.stopTimer = clock.after(Math.min(STOP_CHECK_MS, graceMs - waited), () => void look())
      }
    }
    void look()
  }

  /** SIGKILL until nothing lives and the port is free; an alarm, and another try, for as long as that fails. */
  private async end(): Promise<void> {
    if (this.killing) return
    this.killing = true
    this.stopTimer?.cancel()
    const since = this.machine.clock.mono()
    if (this.state !== 'stopping') this.move('stopping', { kind: 'stopping' })
    for (;;) {
      const left = await this.leftOf(this.tree)
      if (left === null) break
      this.move('unstoppable', { kind: 'stop_failed', reason: left })
      await this.pause(KILL_AGAIN_MS)
    }
    this.killing = false
    this.rest({ kind: 'killed', durationMs: this.machine.clock.mono() - since })
  }

  /** SIGKILL to all; `null` where nothing lives any more and the port is free, otherwise what is left. */
  private async leftOf(tree: ProcessTree | null): Promise<string | null> {
    try {
      const survivors = (await tree?.kill(KILL_WITHIN_MS)) ?? []
      return survivors.length === 0 ? await this.portFreed() : describe(survivors)
    } catch (error) {
      return (error as Error).message
    }
  }

  /** The kernel closes a killed process's sockets a moment after it is gone. */
  private async portFreed(): Promise<string | null> {
    const { clock } = this.machine
    const until = clock.mono() + KILL_WITHIN_MS
    for (;;) {
      const holder = await this.machine.portHolder(this.port)
      if (holder === null || clock.mono() >= until) return holder
      await this.pause(PORT_CHECK_MS)
    }
  }

  private pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.machine.clock.after(ms, resolve))
  }

  private deadman(reason: string): void {
    this.deadmanFirings++
    this.tell({ kind: 'deadman', reason })
  }

  private rest(cause: WorkloadCause): void {
    this.timer?.cancel()
    this.tree = null
    this.serving = null
    this.loss = null
    this.pid = null
    this.stoppedInDoubt = false
    this.machine.standby()?.prepare()
    this.move('idle', cause)
  }

  private move(state: WorkloadState, cause: WorkloadCause): void {
    this.state = state
    this.tell(cause)
  }

  private tell(cause: WorkloadCause): void {
    this.told(this.view(), cause)
  }
}

/** What cannot be told counts as alive. */
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
