import { type ChildProcess, spawn } from 'node:child_process'
import type { Clock, Timer } from '../clock.ts'

const RESTART_MS = 500
const END_WITHIN_MS = 2_000

/** The launcher of `run`, a child of the agent. It is restarted when it dies, and never outlives the agent. */
export class LauncherProcess {
  private readonly command: readonly [string, ...string[]]
  private readonly env: NodeJS.ProcessEnv
  private readonly clock: Clock
  private child: ChildProcess | null = null
  private restart: Timer | null = null
  private closing = false

  /** `command` starts a launcher from this same program. */
  constructor(command: readonly [string, ...string[]], env: NodeJS.ProcessEnv, clock: Clock) {
    this.command = command
    this.env = env
    this.clock = clock
  }

  start(): void {
    const [program, ...args] = this.command
    // Its standard input ties it to this process: it closes when this process ends in any way. The launcher has its own
    // session, so that a key that stops or ends the agent does not reach the launcher, which then ends LangFlow.
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
      // Node throws for some of the causes, such as too little memory.
      gone()
      return
    }
    this.child = child
    child.on('error', gone)
    child.on('exit', gone)
    child.stdin?.on('error', () => {})
  }

  /** Sends SIGKILL. Resolves when the launcher is gone. A new one is started. */
  kill(): Promise<void> {
    return this.signal('SIGKILL')
  }

  /** Ends an idle launcher permanently. */
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
    // The launcher is idle. If it is frozen, it would never handle the first signal.
    const last = this.clock.after(END_WITHIN_MS, () => child.kill('SIGKILL'))
    await gone
    last.cancel()
  }
}
