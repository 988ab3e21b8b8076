import { type ChildProcess, spawn } from 'node:child_process'
import type { Clock, Timer } from '../clock.ts'

const RESTART_MS = 500
const END_WITHIN_MS = 2_000

/** The launcher of `run`: a child of the agent, started again when it dies, and never outliving it. */
export class LauncherProcess {
  private readonly command: readonly [string, ...string[]]
  private readonly env: NodeJS.ProcessEnv
  private readonly clock: Clock
  private child: ChildProcess | null = null
  private restart: Timer | null = null
  private closing = false

  /** `command` makes a launcher of this same program. */
  constructor(command: readonly [string, ...string[]], env: NodeJS.ProcessEnv, clock: Clock) {
    this.command = command
    this.env = env
    this.clock = clock
  }

  start(): void {
    const [program, ...args] = this.command
    // Its standard input is the leash: it closes with this process, however that ends. In a session of its own: a key that stops or
    // ends the agent must leave the one that then ends LangFlow.
    let child: ChildProcess | null = null
    const gone = () => {
      if (this.child !== child) return
      this.child = null
      if (!this.closing) this.restart = this.clock.after(RESTART_MS, () => this.start())
    }
    try {
      child = spawn(program, args, {
        env: this.env,
        detached: true,
        stdio: ['pipe', 'inherit', 'inherit'],
      })
    } catch {
      // Node throws some of the reasons, such as too little memory.
      gone()
      return
    }
    this.child = child
    child.on('error', gone)
    child.on('exit', gone)
    child.stdin?.on('error', () => {})
  }

  /** SIGKILL; resolves once it is gone. A new one is started. */
  kill(): Promise<void> {
    return this.signal('SIGKILL')
  }

  /** Ends an idle launcher for good. */
  close(): Promise<void> {
    this.closing = true
    this.restart?.cancel()
    return this.signal('SIGTERM')
  }

  private async signal(signal: NodeJS.Signals): Promise<void> {
    const { child } = this
    if (child === null) return
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    child.kill(signal)
    // It is idle; one that is frozen would never hear the first signal.
    const last = this.clock.after(END_WITHIN_MS, () => child.kill('SIGKILL'))
    await gone
    last.cancel()
  }
}
