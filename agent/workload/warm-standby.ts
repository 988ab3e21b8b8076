import { accessSync, constants, existsSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import type { Duplex } from 'node:stream'
import * as z from 'zod/mini'
import type { Clock } from '../clock.ts'
import { readLangflowCommand } from './langflow-command.ts'
import { memoryOf, type ProcessIdentity } from './proc.ts'
import { signalSame } from './signals.ts'
import { exitOf, firstProcess, type Parentage, type Started, spawnBelow } from './spawn.ts'
import { COLD, type Preparable, type StandbyView } from './standby.ts'
import { WARM_SCRIPT } from './warm-script.ts'

export interface WarmStandbyOptions {
  /** The workload's command, as it stood after `--`. */
  readonly command: readonly string[]
  /** The workload's environment, but for what a grant adds to it. */
  readonly environment: () => NodeJS.ProcessEnv
  readonly clock: Clock
  readonly parentage: Parentage
  /** How long it may take until it waits. */
  readonly patienceMs: number
  readonly changed: (view: StandbyView) => void
}

/** What the process says on its link. */
const Said = z.union([
  z.object({ ready: z.literal(true), at: z.string(), without: z.array(z.string()) }),
  z.object({ error: z.string() }),
])

const LINK_FD = 3
/** Where it waits once everything was done ahead that can be. */
const SEAM = 'server'

/**
 * LangFlow's own `langflow run`, waiting for a grant where its server would be made: no port, no database, no other process,
 * no file that others see is touched before. What cannot be prepared is cold, and says why.
 */
export class WarmStandby implements Preparable {
  private readonly options: WarmStandbyOptions
  private child: Started | null = null
  /** The interpreter: the child itself, or what its reaper has forked. */
  private first: ProcessIdentity | null = null
  private initial: NodeJS.ProcessEnv = {}
  private settling: PromiseWithResolvers<void> = settledAlready()
  unfit = false
  view: StandbyView = COLD

  constructor(options: WarmStandbyOptions) {
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

  settled(): Promise<void> {
    return this.settling.promise
  }

  /** The process that goes on as the workload, with `env` added to its environment; `null`: start it cold. */
  take(env: NodeJS.ProcessEnv): Started | null {
    const { child, view } = this
    if (child === null || view.state !== 'ready' || child.exitCode !== null || child.signalCode !== null)
      return null
    this.child = null
    this.first = null
    child.removeAllListeners()
    const link = child.stdio[LINK_FD] as Duplex
    const added = Object.entries(env).filter(([name, value]) => this.initial[name] !== value)
    link.end(`${JSON.stringify(Object.fromEntries(added))}\n`)
    this.become({ ...COLD, mode: 'warm' })
    return child
  }

  async discard(): Promise<void> {
    this.letGo()
    this.view = COLD
    this.settling.resolve()
  }

  private letGo(): void {
    const { child, first } = this
    this.child = null
    this.first = null
    if (child === null) return
    child.removeAllListeners()
    // A reaper ends with what it has forked; in the moment before it is known, that ends with its link.
    if (first === null) child.kill('SIGKILL')
    else signalSame(first, 'SIGKILL')
    const link = child.stdio[LINK_FD] as Duplex
    link.destroy()
  }

  private begin(): void {
    const { command, clock, patienceMs, parentage } = this.options
    const env = this.options.environment()
    const start = readLangflowCommand(command, env, process.cwd())
    this.initial = { ...env, ...start.environment }
    const [file, ...flags] = start.interpreter
    const child = spawnBelow(
      parentage,
      [
        file,
        ...flags,
        ...(ownsUserSite(this.initial) ? ['-s'] : []),
        '-c',
        WARM_SCRIPT,
        String(LINK_FD),
        start.importsFrom,
        ...start.argv,
      ],
      this.initial,
      ['ignore', 'inherit', 'inherit', 'pipe'],
    ) as Started // or an error follows
    const link = child.stdio[LINK_FD] as Duplex
    this.child = child
    if (child.pid !== undefined) void this.know(child)
    this.become({ ...COLD, mode: 'warm', state: 'preparing' })
    const patience = clock.after(patienceMs, () => this.fail(`it took longer than ${patienceMs / 1000} s`))
    let last = ''
    child.once('error', (error) => this.fail(error.message))
    child.once('exit', (...end) => {
      const { code, signal } = exitOf(...end, parentage)
      this.fail(last || `it ended (${signal ?? `exit code ${code}`})`)
    })
    link.on('error', () => {}) // its end is told by the process
    createInterface(link).on('line', (line) => {
      if (this.child !== child) return
      const said = Said.parse(JSON.parse(line))
      if ('error' in said) {
        last = said.error
        return
      }
      patience.cancel()
      const memoryBytes = memoryOf((this.first ?? child).pid)
      this.become({ ...this.view, state: 'ready', reason: shortcoming(said), memoryBytes })
      this.settling.resolve()
    })
    this.settling.promise.then(() => patience.cancel())
  }

  private async know(child: Started): Promise<void> {
    const first = await firstProcess(child, this.options.parentage, this.options.clock)
    if (this.child === child) this.first = first
  }

  private fail(reason: string): void {
    this.letGo()
    this.become({ ...COLD, reason: `LangFlow cannot be kept warm: ${reason}` })
    this.settling.resolve()
  }

  private become(view: StandbyView): void {
    this.view = view
    this.options.changed(view)
  }
}

/** Why it starts slower than it could; `null`: it does not. */
function shortcoming({
  at,
  without,
}: {
  readonly at: string
  readonly without: readonly string[]
}): string | null {
  const causes = [
    ...(at === SEAM ? [] : [`it waits before ${at} already`]),
    ...(without.length === 0 ? [] : [`left out: ${without.join(', ')}`]),
  ]
  return causes.length === 0 ? null : `LangFlow is kept less warm than it could be: ${causes.join('; ')}`
}

/**
 * Whether a flow of an earlier term may have left code in the user's site-packages: Python would run it before the grant
 * (`usercustomize`, `.pth`), so that the directory is left out (`-s`).
 */
function ownsUserSite(env: NodeJS.ProcessEnv): boolean {
  let path = resolve(env.PYTHONUSERBASE || join(env.HOME || '/', '.local'))
  while (!existsSync(path) && path !== '/') path = dirname(path)
  try {
    accessSync(path, constants.W_OK)
    return true
  } catch {
    return false
  }
}

function settledAlready(): PromiseWithResolvers<void> {
  const settled = Promise.withResolvers<void>()
  settled.resolve()
  return settled
}
