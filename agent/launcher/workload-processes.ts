import { type Clock, pause, type Timer } from '../clock.ts'
import type { Grant } from '../link/link-messages.ts'
import type { ProcessTree } from '../processes/process-tree.ts'
import type { LauncherEvent } from './launcher-phase.ts'
import type { ServingProcesses } from './serving-processes.ts'
import type { Standby } from './standby/kept-standby.ts'

/** What the workload's processes need of the machine; a seam for the simulation. */
export interface WorkloadMachine {
  readonly clock: Clock
  /** Made anew for each start, and for what is to end without one. */
  tree(mark: string): ProcessTree
  /** `null` where the port is free, otherwise one sentence that says who holds it. */
  portHolder(port: number): Promise<string | null>
  /** Watches who serves the port, beginning with the start of the workload's first process. */
  serving(port: number, child: number): Pick<ServingProcesses, 'check' | 'finish' | 'cutOff'>
  /** The workload's environment under a grant. */
  environment(grant: Pick<Grant, 'epoch' | 'identity'>): NodeJS.ProcessEnv
}

/** How long SIGKILL may take before what lives on counts as unstoppable. */
const KILL_WITHIN_MS = 3_000
/** How often it is looked whether the kernel has closed a killed process's sockets. */
const PORT_CHECK_MS = 10

/** The workload's processes: does to them what the launcher decided, and reports what came of it. */
export class WorkloadProcesses {
  private readonly command: readonly string[]
  private readonly machine: WorkloadMachine
  private readonly report: (event: LauncherEvent) => void
  private tree: ProcessTree | null = null
  private serving: ReturnType<WorkloadMachine['serving']> | null = null
  private stopTimer: Timer | null = null
  /** Marks them, so that they are found wherever they went. */
  mark = ''
  port = 0

  constructor(command: readonly string[], machine: WorkloadMachine, report: WorkloadProcesses['report']) {
    this.command = command
    this.machine = machine
    this.report = report
  }

  /** Whether processes of an earlier launcher live, which are the workload then. */
  findRemains(): boolean {
    const tree = this.machine.tree(this.mark)
    if (isGone(tree)) return false
    this.tree = tree
    return true
  }

  async prepare(start: number, standby: Standby | null): Promise<void> {
    const tree = this.machine.tree(this.mark)
    this.tree = tree
    // Before any look at the clocks: it may take as long as a cold start.
    await standby?.use()
    if (this.tree !== tree) return
    const holder = await this.machine.portHolder(this.port).catch((error: Error) => error.message)
    this.report({ type: 'prepared', start, holder })
  }

  async launch(start: number, grant: Grant): Promise<void> {
    const tree = this.tree as ProcessTree
    try {
      const { pid } = await tree.start(this.command, this.machine.environment(grant), (exit) =>
        this.report({ type: 'exited', start, exit }),
      )
      if (this.tree === tree) this.report({ type: 'launched', start, pid })
      // The grant ended while the command was being started.
      else await tree.kill(KILL_WITHIN_MS)
    } catch (error) {
      const { message } = error as Error
      this.report({ type: 'launch failed', start, reason: message, gone: isGone(tree) })
    }
  }

  watchServing(pid: number): void {
    this.serving = this.machine.serving(this.port, pid)
  }

  checkServing(): void {
    const loss = this.serving?.check() ?? null
    if (loss !== null) this.report({ type: 'lost', loss })
  }

  freeze(at: number): void {
    try {
      this.report({ type: 'frozen', at, awake: this.tree?.freeze().awake ?? 0 })
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
      // It is unknown which processes live: those without the signal are killed at the deadline of the stop.
    }
  }

  checkStop(start: number, afterMs: number): void {
    const check = async () => {
      this.serving?.finish()
      const gone = isGone(this.tree) && (await this.machine.portHolder(this.port)) === null
      this.report({ type: 'stop checked', start, gone })
    }
    if (afterMs === 0) void check()
    else this.stopTimer = this.machine.clock.after(afterMs, () => void check())
  }

  cutOff(): void {
    this.report({ type: 'cut off', heard: this.serving?.cutOff() ?? false })
  }

  async kill(afterMs: number): Promise<void> {
    this.stopTimer?.cancel()
    this.tree ??= this.machine.tree(this.mark)
    if (afterMs > 0) await pause(this.machine.clock, afterMs)
    this.report({ type: 'killed', left: await this.killOnce(this.tree) })
  }

  /** Nothing lives. */
  rest(): void {
    this.tree = null
    this.serving = null
  }

  /** What is left afterwards, in one sentence; `null`: nothing lives, and the port is free. If that is unknown, something is left. */
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
}

/** Whether nothing of a tree lives. If that is unknown, something counts as alive. */
function isGone(tree: ProcessTree | null): boolean {
  try {
    return tree === null || tree.alive().length === 0
  } catch {
    return false
  }
}
