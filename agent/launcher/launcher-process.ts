import { type ChildProcess, spawn } from 'node:child_process'
import type { Clock, Timer } from '../clock.ts'

export interface LauncherProcessOptions {
  /** The program and arguments that make a launcher of this same program. */
  readonly command: readonly [string, ...string[]]
  readonly env: NodeJS.ProcessEnv
  readonly clock: Clock
}

const RESTART_MS = 500
const END_WITHIN_MS = 2_000

/** The launcher of `run`: a child of the agent, started again when it dies, and never outliving it. */
export class LauncherProcess {
  private readonly options: LauncherProcessOptions
  private child: ChildProcess | null = null
  private restart: Timer | null = null
  private closing = false

  constructor(options: LauncherProcessOptions) {
    this.options = options
  }

  start(): void {
    const [program, ...args] = this.options.command
    // Its standard input is the leash: it closes with this process, however that ends.
    const child = spawn(program, args, { env: this.options.env, stdio: ['pipe', 'inherit', 'inherit'] })
    this.child = child
    const gone = () => {
      if (this.child !== child) return
      this.child = null
      if (!this.closing) this.restart = this.options.clock.after(RESTART_MS, () => this.start())
    }
    child.on('error', gone)
    child.on('exit', gone)
    child.stdin?.on('error', () => {})
  }

  /** SIGKILL; resolves once it is gone. A new one is started. */
  async kill(): Promise<void> {
    await this.signal('SIGKILL')
  }

  /** Ends an idle launcher for good. */
  async close(): Promise<void> {
    this.closing = true
    this.restart?.cancel()
    await this.signal('SIGTERM')
  }

  private async signal(signal: NodeJS.Signals): Promise<void> {
    const { child } = this
    if (child === null) return
    const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
    child.kill(signal)
    // It is idle; one that is frozen would never hear the first signal.
    const last = this.options.clock.after(END_WITHIN_MS, () => child.kill('SIGKILL'))
    await gone
    last.cancel()
  }
}
