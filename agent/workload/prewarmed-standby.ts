import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import type { Duplex } from 'node:stream'
import type { Clock } from '../clock.ts'
import { readLangflowCommand } from './langflow-command.ts'
import { PREWARM_SCRIPT } from './langflow-scripts.ts'
import { memoryOf } from './proc.ts'
import { COLD, type Rung, type StandbyView } from './standby.ts'

export interface PrewarmedStandbyOptions {
  /** The workload's command, as it stood after `--`. */
  readonly command: readonly string[]
  /** The workload's environment, but for what a grant adds to it. */
  readonly environment: () => NodeJS.ProcessEnv
  readonly clock: Clock
  /** How long the imports may take. */
  readonly patienceMs: number
  readonly changed: (view: StandbyView) => void
}

const LINK_FD = 3

/**
 * LangFlow's interpreter with everything imported that `langflow run` imports, waiting for a grant: no port, no
 * database, no file of LangFlow's is touched before. What cannot be prepared is cold, and says why.
 */
export class PrewarmedStandby implements Rung {
  private readonly options: PrewarmedStandbyOptions
  private child: (ChildProcess & { pid: number }) | null = null
  private initial: NodeJS.ProcessEnv = {}
  private settling: PromiseWithResolvers<void> = settledAlready()
  unfit = false
  view: StandbyView = COLD

  constructor(options: PrewarmedStandbyOptions) {
    this.options = options
  }

  prepare(): void {
    if (this.child !== null) return
    this.settling = Promise.withResolvers<void>()
    try {
      this.unfit = false
      this.begin()
    } catch (error) {
      this.unfit = true
      this.fail((error as Error).message)
    }
  }

  /** Its imports alone can tell. */
  async obstacle(): Promise<null> {
    return null
  }

  settled(): Promise<void> {
    return this.settling.promise
  }

  /** The process that goes on as the workload, with `env` added to its environment; `null`: start it cold. */
  take(env: NodeJS.ProcessEnv): (ChildProcess & { pid: number }) | null {
    const { child, view } = this
    if (child === null || view.state !== 'ready' || child.exitCode !== null || child.signalCode !== null)
      return null
    this.child = null
    child.removeAllListeners()
    const link = child.stdio[LINK_FD] as Duplex
    const added = Object.entries(env).filter(([name, value]) => this.initial[name] !== value)
    link.end(`${JSON.stringify(Object.fromEntries(added))}\n`)
    this.become({ ...COLD, mode: 'prewarmed' })
    return child
  }

  async discard(): Promise<void> {
    this.letGo()
    this.view = COLD
    this.settling.resolve()
  }

  private letGo(): void {
    const { child } = this
    this.child = null
    child?.removeAllListeners()
    child?.kill('SIGKILL')
  }

  private begin(): void {
    const { command, clock, patienceMs } = this.options
    const env = this.options.environment()
    const start = readLangflowCommand(command, env, process.cwd())
    this.initial = { ...env, ...start.environment }
    const [file, ...flags] = start.interpreter
    const child = spawn(
      file,
      [...flags, '-c', PREWARM_SCRIPT, String(LINK_FD), start.importsFrom, ...start.argv],
      {
        env: this.initial,
        detached: true,
        stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
      },
    )
    const link = child.stdio[LINK_FD] as Duplex
    this.child = child as ChildProcess & { pid: number }
    this.become({ ...COLD, mode: 'prewarmed', state: 'preparing' })
    const patience = clock.after(patienceMs, () => this.fail(`its imports took longer than ${patienceMs} ms`))
    let last = ''
    child.once('error', (error) => this.fail(error.message))
    child.once('exit', (code, signal) => this.fail(last || `it ended (${signal ?? `exit code ${code}`})`))
    link.on('error', () => {}) // its end is told by the process
    createInterface(link).on('line', (line) => {
      if (this.child !== child) return
      if (line !== 'ready') {
        last = line
        return
      }
      patience.cancel()
      this.become({ ...this.view, state: 'ready', memoryBytes: memoryOf(this.child.pid) })
      this.settling.resolve()
    })
    this.settling.promise.then(() => patience.cancel())
  }

  private fail(reason: string): void {
    this.letGo()
    this.become({ ...COLD, reason: `LangFlow cannot be prewarmed: ${reason}` })
    this.settling.resolve()
  }

  private become(view: StandbyView): void {
    this.view = view
    this.options.changed(view)
  }
}

function settledAlready(): PromiseWithResolvers<void> {
  const settled = Promise.withResolvers<void>()
  settled.resolve()
  return settled
}
