import type { Loss } from '../../agent/link/link-messages.ts'
import type { LiveProcess, ProcessTree } from '../../agent/processes/process-tree.ts'
import type { Exit } from '../../agent/processes/spawn.ts'
import { Process } from './process.ts'
import type { Random } from './random.ts'
import type { Replica } from './replica.ts'

/** The current behaviour of a replica's workload and standby. Faults change it. */
export interface Behaviour {
  /** Milliseconds from a cold start until the workload is healthy. */
  startMs: number
  /** The same for a start from a prepared standby. */
  preparedStartMs: number
  /** Milliseconds until a standby is ready. */
  prepareMs: number
  preparingFails: boolean
  preparingHangs: boolean
  healthy: boolean
  /** It uses CPU time while it is not healthy. */
  works: boolean
  ignoresTerm: boolean
  /** Milliseconds for which a killed process still exists in the kernel, without executing. */
  lingersMs: number
  diesAtStart: boolean
  portTaken: boolean
  /** Clients keep connections open, so that a drain lasts its whole timeout. */
  connected: boolean
}

export const GOOD_BEHAVIOUR: Omit<Behaviour, 'startMs' | 'preparedStartMs' | 'prepareMs'> = {
  preparingFails: false,
  preparingHangs: false,
  healthy: true,
  works: false,
  ignoresTerm: false,
  lingersMs: 0,
  diesAtStart: false,
  portTaken: false,
  connected: false,
}

export function wellBehaved(random: Random): Behaviour {
  const startMs = random.between(300, LONGEST_START_MS)
  const preparedStartMs = startMs * random.between(0.05, 0.3)
  return { startMs, preparedStartMs, prepareMs: random.between(200, LONGEST_PREPARING_MS), ...GOOD_BEHAVIOUR }
}

const LONGEST_START_MS = 3_000
const LONGEST_PREPARING_MS = 8_000
/** How long the kernel takes to end a process after SIGKILL. */
const KILL_TAKES_MS = 20
/** An idle LangFlow takes seconds to end after SIGTERM. */
const LONGEST_TERM_MS = 4_000

export interface Start {
  readonly epoch: number
  readonly prepared: boolean
}

/** The processes of one start of the workload. The judge reads these, not the product's reports, to find two that act. */
export class Workload {
  readonly epoch: number
  /** Separate from the launcher's process: a frozen launcher doesn't freeze the workload. */
  readonly process: Process
  /** The launcher that started it. No other process can end it in time. */
  readonly guard: Process
  readonly startedAt: number
  stopped = false
  /** Whether its processes are alive. They execute unless they are stopped or the machine sleeps. */
  live = true
  /** Another process than the launcher stopped it. */
  private halted = false
  private loss: Loss | null = null
  /** The same, until the launcher has found it. */
  private unreportedLoss: Loss | null = null
  /** One of its processes is still in the process table, and holds the port. */
  present = true
  readonly startMs: number
  /** Called when it is continued. The judge must see the shortest execution, too. */
  continued = (): void => {}
  private exited: (exit: Exit) => void
  private readonly random: Random
  private readonly behaviour: Behaviour
  private dying = false

  constructor(
    { kernel, behaviour }: Replica,
    random: Random,
    guard: Process,
    { epoch, prepared }: Start,
    exited: (exit: Exit) => void,
  ) {
    this.epoch = epoch
    this.process = new Process(kernel, random)
    this.guard = guard
    this.random = random
    this.behaviour = behaviour
    this.exited = exited
    this.startedAt = kernel.timeline.now
    this.startMs = prepared ? behaviour.preparedStartMs : behaviour.startMs
  }

  get executes(): boolean {
    return this.live && !this.stopped && !this.halted && !this.process.kernel.asleep
  }

  get healthy(): boolean {
    const age = this.process.kernel.timeline.now - this.startedAt
    const serves = this.behaviour.healthy && this.loss?.role !== 'worker'
    return this.executes && serves && age >= this.startMs
  }

  private workedMs = 0
  private measuredAt = 0

  /** Between two readings, it works all the time or not at all. */
  measure(): number {
    const { now } = this.process.kernel.timeline
    if (this.executes && this.behaviour.works) this.workedMs += now - this.measuredAt
    this.measuredAt = now
    return this.workedMs
  }

  freeze(): void {
    this.stopped = true
  }

  thaw(): void {
    this.stopped = this.halted = false
    this.continued()
  }

  terminated: { readonly at: number; readonly healthy: boolean } | null = null

  terminate(): void {
    this.terminated ??= { at: this.process.kernel.timeline.now, healthy: this.healthy }
    this.stopped = this.halted = false
    if (this.behaviour.ignoresTerm) return
    this.process.after(this.random.between(10, LONGEST_TERM_MS), () => {
      if (!this.stopped) this.gone({ code: 0, signal: null })
    })
  }

  kill(withinMs = KILL_TAKES_MS): void {
    if (this.dying) return
    this.dying = true
    this.process.after(this.random.between(0, withinMs), () => {
      this.live = false
      this.process.after(this.behaviour.lingersMs, () => this.gone({ code: null, signal: 'SIGKILL' }))
    })
  }

  /** SIGSTOP by another process. The returned function continues it, unless the launcher has frozen it since. */
  halt(): () => void {
    this.halted = true
    return () => {
      if (this.halted && !this.stopped) this.thaw()
    }
  }

  /** One serving process is killed. The launcher's direct child continues. */
  lose(role: Loss['role']): void {
    this.loss ??= { role, pids: [43] }
    this.unreportedLoss = this.loss
  }

  /** Returns each loss once, as the launcher's check finds it. */
  takeLoss(): Loss | null {
    const loss = this.unreportedLoss
    this.unreportedLoss = null
    return loss
  }

  /** The launcher's direct child exits. `leaving`: its own children continue. `tini`: tini was killed, their parent. */
  exit(leaving: boolean, tini = false): void {
    const exit: Exit = tini ? { code: null, signal: 'SIGKILL', unreaped: true } : { code: 1, signal: null }
    if (leaving) this.reportExit(exit)
    else this.gone(exit)
  }

  private gone(exit: Exit): void {
    if (!this.present) return
    this.live = false
    this.present = false
    this.process.kill()
    this.reportExit(exit)
  }

  private reportExit(exit: Exit): void {
    this.exited(exit)
    this.exited = () => {}
  }
}

const LOOK_MS = 5

/** The process tree that the launcher uses to start, signal and kill the workload. */
export function workloadTree(
  launcher: Process,
  spawn: (epoch: number, exited: (exit: Exit) => void) => Workload,
  workload: Workload | null,
): ProcessTree {
  const alive = (): LiveProcess[] =>
    workload?.present ? [{ pid: 42, startTime: '1', state: 'S', comm: 'langflow' }] : []
  return {
    alive,
    isStopped: async () => alive().length === 0,
    async start(_command, env, exited) {
      launcher.act(() => {
        workload = spawn(Number(env.LEADER_EPOCH), (exit) => launcher.deliver(() => exited(exit)))
      })
      return { pid: 42 }
    },
    cpuMs: () => workload?.measure() ?? 0,
    terminate() {
      launcher.act(() => workload?.terminate())
    },
    freeze() {
      const awake = workload?.executes ? 1 : 0
      launcher.act(() => workload?.freeze())
      return awake
    },
    thaw() {
      launcher.act(() => workload?.thaw())
    },
    kill(withinMs) {
      launcher.act(() => workload?.kill())
      const until = launcher.mono() + withinMs
      return new Promise((resolve) => {
        const look = () => {
          const left = alive()
          if (left.length === 0 || launcher.mono() >= until) resolve(left)
          else launcher.after(LOOK_MS, look)
        }
        look()
      })
    },
  }
}
