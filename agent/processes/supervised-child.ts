import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import type { Clock, Timer } from '../clock.ts'

/** Pause between two starts, which doubles with each failed one. */
const RESTART_MS = 100
const LONGEST_RESTART_MS = 10_000
/** After this time, it did not fail at its start. */
const LIVED_MS = 30_000

export interface SupervisedChildOptions {
  readonly command: readonly [string, ...string[]]
  readonly env: NodeJS.ProcessEnv
  /** At least one pipe ties the process to this one: it closes when this process ends in any way. */
  readonly stdio: StdioOptions
  readonly clock: Clock
  readonly started?: (child: ChildProcess) => void
  /** Receives the cause, such as `has ended (SIGKILL)`. */
  readonly gone?: (cause: string) => void
}

/** A process that is started again when it dies. */
export class SupervisedChild {
  readonly #options: SupervisedChildOptions
  #phase: 'idle' | 'active' | 'retired' = 'idle'
  #child: ChildProcess | null = null
  #restart: Timer | null = null
  #failures = 0

  constructor(options: SupervisedChildOptions) {
    this.#options = options
  }

  /** Does nothing after the first call: later starts are automatic. */
  start(): void {
    if (this.#phase !== 'idle') return
    this.#phase = 'active'
    this.#spawn()
  }

  retire(): void {
    this.#phase = 'retired'
    this.#restart?.cancel()
  }

  kill(): void {
    this.#child?.kill('SIGKILL')
  }

  /** Resolves when the current process is gone. It gets the signal, and SIGKILL if it is alive after `withinMs`. */
  async ended(signal: NodeJS.Signals | null, withinMs: number): Promise<void> {
    const gone = this.exit()
    if (signal !== null) this.#child?.kill(signal)
    const late = this.#options.clock.after(withinMs, () => this.kill())
    await gone
    late.cancel()
  }

  exit(): Promise<void> {
    const child = this.#child
    return child === null ? Promise.resolve() : new Promise((resolve) => child.once('exit', () => resolve()))
  }

  #spawn(): void {
    const { command, env, stdio, clock, started } = this.#options
    const [program, ...args] = command
    const startedAt = clock.mono()
    let child: ChildProcess
    try {
      // The process has its own session: a terminal's signals to the agent do not reach it.
      child = spawn(program, args, { env, detached: true, stdio })
    } catch (error) {
      // Node throws for some of the causes, such as too little memory.
      this.#gone(null, startedAt, `cannot be started: ${(error as Error).message}`)
      return
    }
    this.#child = child
    child.on('error', ({ message }) => this.#gone(child, startedAt, `cannot be started: ${message}`))
    child.on('exit', (code, signal) =>
      this.#gone(child, startedAt, `has ended (${signal ?? `exit code ${code}`})`),
    )
    // The exit, or the error of the start, is reported instead.
    for (const stream of child.stdio) stream?.on('error', () => {})
    if (child.pid !== undefined) started?.(child)
  }

  #gone(child: ChildProcess | null, startedAt: number, cause: string): void {
    const { clock, gone } = this.#options
    if (this.#child !== child) return
    this.#child = null
    if (this.#phase === 'active') {
      if (clock.mono() - startedAt >= LIVED_MS) this.#failures = 0
      const pauseMs = Math.min(RESTART_MS * 2 ** this.#failures++, LONGEST_RESTART_MS)
      this.#restart = clock.after(pauseMs, () => this.#spawn())
    }
    gone?.(cause)
  }
}
