import type { Loss } from '../../agent/link/link-messages.ts'
import type { Exit, LiveProcess, ProcessTree } from '../../agent/processes/process-tree.ts'
import { Process } from './process.ts'
import type { Random } from './random.ts'
import type { Replica } from './replica.ts'

/** How workload and standby of a replica behave at the moment; faults change it. */
export interface Behaviour {
  /** Milliseconds from its start until it answers as healthy, from nothing and from a prepared standby. */
  startMs: number
  preparedStartMs: number
  /** Milliseconds until a standby is ready. */
  prepareMs: number
  /** What is being prepared ends before it is ready. */
  preparingFails: boolean
  /** What is begun to be prepared never gets ready. */
  preparingHangs: boolean
  healthy: boolean
  /** SIGTERM is ignored. */
  ignoresTerm: boolean
  /** Milliseconds that a killed process lingers in the kernel, executing nothing. */
  lingersMs: number
  /** Ends by itself right after its start. */
  diesAtStart: boolean
  /** The port is held by somebody else. */
  portTaken: boolean
  /** Open connections, which hold up a drain. */
  connected: boolean
}

export const GOOD_BEHAVIOUR: Omit<Behaviour, 'startMs' | 'preparedStartMs' | 'prepareMs'> = {
  preparingFails: false,
  preparingHangs: false,
  healthy: true,
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
/** SIGTERM of an idle LangFlow takes seconds. */
const LONGEST_TERM_MS = 4_000

export interface Start {
  readonly epoch: number
  /** From a standby that was ready. */
  readonly prepared: boolean
}

/** The processes of one started workload, from which alone it is judged whether two act at once. */
export class Workload {
  readonly epoch: number
  /** Of the machine's processes this one is no child: it is frozen and killed by signals. */
  readonly process: Process
  /** The launcher that started it, and that alone guards it. */
  readonly guard: Process
  readonly startedAt: number
  stopped = false
  /** Code runs in it, unless it is stopped or the machine sleeps. */
  live = true
  /** Somebody other than the launcher stopped it. */
  private halted = false
  /** What it lost of those that serve. */
  private loss: Loss | null = null
  private lossUntold: Loss | null = null
  /** Something of it is still in the process table, and holds the port. */
  present = true
  /** Milliseconds from its start until it answers as healthy. */
  readonly startMs: number
  /** Called when it is continued: however short, that is execution. */
  continued = (): void => {}
  private exited: (exit: Exit) => void
  private readonly random: Random
  private readonly behaviour: Behaviour
  private dying = false

  /** Of a replica, started by `guard`. */
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

  freeze(): void {
    this.stopped = true
  }

  thaw(): void {
    this.stopped = this.halted = false
    this.continued()
  }

  terminate(): void {
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

  /** SIGSTOP by somebody else, who continues it unless the launcher has frozen it meanwhile. */
  halt(): () => void {
    this.halted = true
    return () => {
      if (this.halted && !this.stopped) this.thaw()
    }
  }

  /** Of those that serve one is killed; the direct child goes on. */
  lose(role: Loss['role']): void {
    this.loss ??= { role, pids: [43] }
    this.lossUntold = this.loss
  }

  /** What the launcher finds when it looks, once. */
  takeLoss(): Loss | null {
    const loss = this.lossUntold
    this.lossUntold = null
    return loss
  }

  /** The direct child ends by itself; `leaving`: something it started goes on without it; `tini`: it was their parent. */
  exit(leaving: boolean, tini = false): void {
    const exit: Exit = tini ? { code: null, signal: 'SIGKILL', unreaped: true } : { code: 1, signal: null }
    if (leaving) this.tellExit(exit)
    else this.gone(exit)
  }

  private gone(exit: Exit): void {
    if (!this.present) return
    this.live = false
    this.present = false
    this.process.kill()
    this.tellExit(exit)
  }

  private tellExit(exit: Exit): void {
    this.exited(exit)
    this.exited = () => {}
  }
}

const LOOK_MS = 5

/** What the launcher does to the workload's processes. */
export function workloadTree(
  launcher: Process,
  spawn: (epoch: number, exited: (exit: Exit) => void) => Workload,
  workload: Workload | null,
): ProcessTree {
  const alive = (): LiveProcess[] =>
    workload?.present ? [{ pid: 42, startTime: '1', state: 'S', comm: 'langflow' }] : []
  return {
    alive,
    async start(_command, env, exited) {
      launcher.act(() => {
        workload = spawn(Number(env.LEADER_EPOCH), (exit) => launcher.deliver(() => exited(exit)))
      })
      return { pid: 42 }
    },
    terminate() {
      launcher.act(() => workload?.terminate())
    },
    freeze() {
      const awake = workload?.executes ? 1 : 0
      launcher.act(() => workload?.freeze())
      return { stopped: 1, awake }
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
