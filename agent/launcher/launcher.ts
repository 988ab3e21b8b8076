import { reached, type Timer, untilReached } from '../clock.ts'
import type { Grant, ToLauncher, WorkloadCause, WorkloadView } from '../link/messages.ts'
import { COLD } from '../link/messages.ts'
import type { ProcessTree } from '../processes/process-tree.ts'
import { type LauncherMachine, WorkloadProcesses } from './workload-processes.ts'

/**
 * How often the clocks are compared while something lives: a suspended machine wakes up without its timers firing. It is
 * also looked then whether those that serve still live.
 */
const CLOCK_CHECK_MS = 100

type Told = (view: WorkloadView, cause: WorkloadCause) => void

/**
 * Holds the workload: runs it only while a grant lasts, on its own clocks. It trusts the agent for the right to run,
 * never for the end of it: the deadman freezes and kills without any message.
 */
export class Launcher {
  private readonly machine: LauncherMachine
  private readonly told: Told
  private readonly processes: WorkloadProcesses
  /** The one in force, until it is ended here, whatever the clocks say. */
  private grant: Grant | null = null
  /** Grants of these epochs are over for good: the agent ordered a kill. */
  private closedEpoch = -1
  private deadmanFirings = 0
  private freezes = 0
  private timer: Timer | null = null
  /** The stop under way began with the doubt itself: it has until the end of the grant. */
  private stoppedInDoubt = false
  private met = false
  private refusing = false

  constructor(command: readonly string[], machine: LauncherMachine, told: Told) {
    this.machine = machine
    this.told = told
    this.processes = new WorkloadProcesses(command, machine, {
      mayExecute: () => this.mayExecute(),
      watch: () => this.watchClocks(),
      told: (cause) => this.tell(cause),
    })
  }

  view(): WorkloadView {
    const { state, ran, pid, orderedAt, servedSince, loss, hasSpare } = this.processes
    return {
      state,
      epoch: ran?.epoch ?? null,
      identity: ran?.identity ?? null,
      pid,
      killAt: this.grant?.killAt.mono ?? null,
      deadmanFirings: this.deadmanFirings,
      freezes: this.freezes,
      orderedAt,
      servedSince,
      loss,
      spare: hasSpare,
      standby: this.machine.standby()?.view ?? COLD,
    }
  }

  /**
   * What the agent tells a launcher when they meet: the workload's port, how its processes are marked, and whether a spare is
   * to be kept beside them: one that is kept for an earlier agent is ended otherwise. Remains of an earlier launcher are killed
   * before this one counts as idle; it leaves none itself.
   */
  meet(port: number, remains: ProcessTree | null, wantsSpare: boolean): void {
    if (!wantsSpare) this.endSpare()
    this.processes.meet(port, this.met ? null : remains, wantsSpare)
    this.met = true
    // First, so that nobody takes it for prepared.
    if (this.processes.state === 'idle') this.machine.standby()?.prepare()
    this.tell({ kind: 'met' })
  }

  /** The standby is another one now. */
  standbyChanged(): void {
    this.tell({ kind: 'standby' })
  }

  receive(message: ToLauncher): void {
    if (message.type === 'grant') this.accept(message.grant)
    else if (message.type === 'start') this.start(message.epoch)
    else if (message.type === 'healthy') this.processes.serves()
    else if (message.type === 'stop') this.stop(message.graceMs, message.restarts)
    else if (message.type === 'kill') this.kill()
  }

  /**
   * SIGTERM, SIGKILL after `graceMs`, confirm; again, it can only be earlier. What is frozen, or in doubt, must not execute:
   * it is killed. `restarts`: a start follows under the same grant.
   */
  stop(graceMs: number, restarts = false): void {
    const { processes } = this
    if (!restarts) this.endSpare()
    if (processes.state === 'idle') {
      this.tell({ kind: 'nothing' })
      return
    }
    if (processes.state === 'frozen' || !this.mayExecute()) {
      this.endAll()
      return
    }
    if (processes.state === 'running') {
      this.stoppedInDoubt = false
      processes.terminate()
    }
    if (processes.isEndingInOrder) processes.killAfter(graceMs)
  }

  /** SIGKILL everything now. The grant is over, and its epoch with it. */
  kill(): void {
    if (this.grant !== null) this.closedEpoch = Math.max(this.closedEpoch, this.grant.epoch)
    this.grant = null
    this.endAll()
  }

  /** Alone, or with what it waits beside: that confirms its end as well. */
  private endSpare(): void {
    if (this.processes.state === 'idle') this.endAll()
    else this.processes.dropSpare()
  }

  private endAll(): void {
    const { processes } = this
    const lives = processes.state !== 'idle' || processes.hasSpare
    processes.dropSpare()
    if (lives) void processes.end()
  }

  private accept(grant: Grant): void {
    const { processes } = this
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
    if (processes.state === 'frozen' && this.mayExecute()) processes.thaw()
    this.watchClocks()
  }

  /** Why a grant cannot take the place of the one in force, for people; `null`: it can. */
  private refusalOf(grant: Grant): string | null {
    const now = this.machine.clock.now()
    const { grant: held, closedEpoch } = this
    const { livingEpoch } = this.processes
    if (grant.epoch <= closedEpoch || (held !== null && grant.epoch < held.epoch))
      return `epoch ${grant.epoch} is over`
    if (held !== null && grant.epoch === held.epoch && grant.killAt.mono < held.killAt.mono)
      return 'it is older than the one in force'
    if (reached(now, grant.killAt)) return 'it has expired'
    if (livingEpoch === null || livingEpoch === grant.epoch) return null
    return `processes of epoch ${livingEpoch} still live`
  }

  /** Whether processes may execute: not without a grant, in doubt, or where it is over by the wall clock alone. */
  private mayExecute(): boolean {
    if (this.grant === null) return false
    const now = this.machine.clock.now()
    return !reached(now, this.grant.doubtAt) && now.wall < this.grant.killAt.wall
  }

  private start(epoch: number): void {
    const { grant, processes } = this
    if (grant?.epoch !== epoch || !this.mayExecute() || processes.state !== 'idle') {
      this.tell({ kind: 'start_refused', reason: `no grant of epoch ${epoch} allows it` })
      return
    }
    void processes.start(grant)
  }

  /** The deadman: looks at the clocks at each deadline of the grant, and in between for a machine that slept. */
  private watchClocks(): void {
    this.timer?.cancel()
    this.timer = null
    const { grant } = this
    if (grant === null || (this.processes.state === 'idle' && !this.processes.hasSpare)) return
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
    if (this.processes.state === 'running') this.processes.lookAfterServing()
  }

  private fire(): void {
    const { processes } = this
    // A newer one of the same epoch may follow.
    this.grant = null
    processes.dropSpare()
    if (processes.isBeingKilled) return
    this.deadman('the grant is over')
    void processes.end()
  }

  private suspend(grant: Grant, doubt: boolean): void {
    const { processes } = this
    this.endSpare()
    if (processes.state === 'stopping') {
      // Frozen it could not end, and going on would be execution: by either clock.
      const over = this.machine.clock.now().wall >= grant.killAt.wall
      if (processes.isEndingInOrder && (!this.stoppedInDoubt || over)) {
        this.deadman('leadership is in doubt while stopping')
        this.endAll()
      }
      return
    }
    // Once more: what was being born during the first freeze may have got away.
    if (processes.state === 'frozen') processes.freeze()
    if (processes.state !== 'running') return
    if (grant.onDoubt === 'freeze' || !doubt) {
      processes.freeze()
    } else {
      this.stoppedInDoubt = true
      this.deadman('leadership is in doubt')
      processes.terminate()
      processes.killAfter(grant.killAt.mono - this.machine.clock.mono())
    }
  }

  private deadman(reason: string): void {
    this.tell({ kind: 'deadman', reason })
  }

  private tell(cause: WorkloadCause): void {
    if (cause.kind === 'deadman') this.deadmanFirings++
    else if (cause.kind === 'frozen') this.freezes++
    this.told(this.view(), cause)
  }
}
