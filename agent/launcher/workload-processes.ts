import { type Clock, pause, type Timer } from '../clock.ts'
import type { Grant } from '../link/link-messages.ts'
import type { ProcessTree } from '../processes/process-tree.ts'
import type { LauncherEvent } from './launcher-phase.ts'
import type { ServingProcesses } from './serving-processes.ts'
import type { KeptStandby } from './standby/standby.ts'

/** A seam for the simulation. */
export interface LauncherMachine {
  readonly clock: Clock
  /** Starts the workload. */
  readonly command: readonly string[]
  tree(mark: string): ProcessTree
  /** One sentence that names the process on it, unless the port is free. */
  portHolder(port: number): Promise<string | null>
  serving(port: number, child: number): Pick<ServingProcesses, 'check' | 'finish' | 'cutOff'>
  /** Reads the environment again before a start. Resolves to why none is possible, in one sentence. */
  readEnvironment(): Promise<string | null>
  environment(grant: Pick<Grant, 'epoch' | 'identity'>): NodeJS.ProcessEnv
  newStandby(mark: () => string, startTimeoutMs: number, changed: () => void): KeptStandby
  /** Takes the lock that proves this launcher's death, and keeps it while the returned object exists. */
  lock(): object | null
}

/** Time for SIGKILL. Processes that are alive after it count as unstoppable. */
const KILL_WITHIN_MS = 3_000
const PORT_CHECK_MS = 10

/** Carries out the launcher's decisions on the workload's processes, and reports the results. */
export class WorkloadProcesses {
  private readonly machine: LauncherMachine
  private readonly report: (event: LauncherEvent) => void
  private tree: ProcessTree | null = null
  private serving: ReturnType<LauncherMachine['serving']> | null = null
  private stopTimer: Timer | null = null
  mark = ''
  port = 0

  constructor(machine: LauncherMachine, report: WorkloadProcesses['report']) {
    this.machine = machine
    this.report = report
  }

  /** Whether processes of an earlier launcher are alive. They are then the workload. */
  findRemains(): boolean {
    const tree = this.machine.tree(this.mark)
    if (isGone(tree)) return false
    this.tree = tree
    return true
  }

  async prepare(start: number, standby: KeptStandby | null): Promise<void> {
    const tree = this.machine.tree(this.mark)
    this.tree = tree
    // This comes before the clocks are compared, because it may take as long as a cold start.
    const refusal = await this.machine.readEnvironment()
    if (this.tree === tree) await standby?.use()
    if (this.tree !== tree) return
    const onPort = await this.machine.portHolder(this.port).catch((error: Error) => error.message)
    this.report({ type: 'prepared', start, holder: refusal ?? onPort })
  }

  async launch(start: number, grant: Grant): Promise<void> {
    const { machine } = this
    const tree = this.tree as ProcessTree
    try {
      const { pid } = await tree.start(machine.command, machine.environment(grant), (exit) =>
        this.report({ type: 'exited', start, exit }),
      )
      if (this.tree === tree) this.report({ type: 'launched', start, pid })
      // The grant ended while the command was being started.
      else await tree.kill(KILL_WITHIN_MS)
    } catch (error) {
      const reason = (error as Error).message
      this.report({ type: 'launch failed', start, reason, gone: isGone(tree) })
    }
  }

  watchServing(pid: number): void {
    this.serving = this.machine.serving(this.port, pid)
  }

  checkServing(): void {
    const loss = this.serving?.check() ?? null
    if (loss !== null) this.report({ type: 'lost', loss })
  }

  cpuMs(): number | null {
    try {
      return this.tree?.cpuMs() ?? null
    } catch {
      return null
    }
  }

  freeze(at: number): void {
    try {
      this.report({ type: 'frozen', at, awake: this.tree?.freeze() ?? 0 })
    } catch {
      this.report({ type: 'signal failed', reason: 'the workload could not be frozen' })
    }
  }

  thaw(): void {
    try {
      this.tree?.thaw()
    } catch {
      this.report({ type: 'signal failed', reason: 'the workload could not be thawed' })
    }
  }

  terminate(): void {
    try {
      this.tree?.terminate()
    } catch {
      // The live processes are unknown. Those that did not receive the signal are killed at the deadline of the stop.
    }
  }

  checkStop(start: number, afterMs: number): void {
    const check = async () => {
      this.serving?.finish()
      // If that is unknown, a process counts as alive.
      const stopped = this.tree === null || (await this.tree.isStopped().catch(() => false))
      const gone = stopped && (await this.machine.portHolder(this.port)) === null
      this.report({ type: 'stop checked', start, gone })
    }
    if (afterMs === 0) void check()
    else this.stopTimer = this.machine.clock.after(afterMs, () => void check())
  }

  cutOff(): void {
    this.report({ type: 'cut off', supported: this.serving?.cutOff() ?? false })
  }

  async kill(afterMs: number, isUrgent: boolean): Promise<void> {
    this.stopTimer?.cancel()
    this.tree ??= this.machine.tree(this.mark)
    if (afterMs > 0) await pause(this.machine.clock, afterMs)
    this.report({ type: 'killed', left: await this.killOnce(this.tree, isUrgent) })
  }

  rest(): void {
    this.tree = null
    this.serving = null
  }

  /** `null` only if it is certain that no process is alive and the port is free. Else the remains, in one sentence. */
  private async killOnce(tree: ProcessTree, isUrgent: boolean): Promise<string | null> {
    const { clock } = this.machine
    try {
      const survivors = await tree.kill(KILL_WITHIN_MS, isUrgent)
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
}

/** Whether no process of a tree is alive. If that is unknown, the tree counts as alive. */
function isGone(tree: ProcessTree | null): boolean {
  try {
    return tree === null || tree.alive().length === 0
  } catch {
    return false
  }
}
