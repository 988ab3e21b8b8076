import type { StdioOptions } from 'node:child_process'
import { accessSync, type BigIntStats, constants, existsSync, readFileSync, statSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { Duplex } from 'node:stream'
import { isDeepStrictEqual } from 'node:util'
import * as z from 'zod/mini'
import type { Clock, Timer } from '../../clock.ts'
import { readJsonLines } from '../../json-lines.ts'
import type { StandbyView } from '../../link/link-messages.ts'
import { memoryOf, type ProcessIdentity, readStat } from '../../processes/proc.ts'
import { signalSame } from '../../processes/signals.ts'
import { exitOf, firstProcess, type Reaper, type Started, spawnBelow } from '../../processes/spawn.ts'
import { CUT_OFF, readLangflowCommand } from '../langflow-command.ts'
import { KeptStandby, PREPARING } from './kept-standby.ts'

/** In the bundle, deploy/bundle/build.mjs replaces this call with the text of the file. */
const WARM_LANGFLOW = readFileSync(new URL('./warm_langflow.py', import.meta.url), 'utf8')
const WARM_SCRIPT = `${WARM_LANGFLOW}${CUT_OFF}sys.exit(main())\n`

export interface WarmStandbyOptions {
  /** The workload's command, as it stood after `--`. */
  readonly command: readonly string[]
  /** The workload's environment, without the variables that a grant adds. */
  readonly environment: () => NodeJS.ProcessEnv
  readonly clock: Clock
  readonly reaper: Reaper
  readonly startTimeoutMs: number
  readonly changed: (view: StandbyView) => void
}

const LONGEST_PATH = 4096
/** The same limit as in the script. */
const MOST_READ = 500

/** The one message of the process on its link. */
const Word = z.string().check(z.maxLength(200))
const Waiting = z.object({
  type: z.literal('ready'),
  at: Word,
  without: z.array(Word).check(z.maxLength(50)),
  /** Each path with its state at the time of reading. `null`: the path did not exist. */
  read: z
    .record(z.string().check(z.maxLength(LONGEST_PATH)), z.nullable(Word))
    .check(z.refine((read) => Object.keys(read).length <= MOST_READ)),
})
const Said = z.discriminatedUnion('type', [Waiting, z.object({ type: z.literal('error'), error: Word })])

const LINK_FD = 3
/** Room for some 500 paths. */
const MOST_SAID = 4 * 1024 * 1024
const MORE_MEMORY = 'raise the memory limit of LangFlow’s container'
const TOO_LITTLE = `there is too little memory: ${MORE_MEMORY}`
const KILLED = `it was killed (SIGKILL), probably because memory ran out: ${MORE_MEMORY}`
/** The point of its wait once all possible preparation is done. */
const SEAM = 'server'
/** Interval between two checks whether the files that it has read are unchanged. */
const LOOK_MS = 5_000

/**
 * LangFlow's own `langflow run`, which waits for a grant before it creates its server. Before that it touches no port,
 * no database, no other process, and no file that others see. If the preparation fails, the standby is cold and reports
 * the cause. The same holds if a file that it has read has changed since.
 */
export class WarmStandby extends KeptStandby {
  private readonly options: WarmStandbyOptions
  private child: Started | null = null
  /**
   * The processes that wait or prepare: the child and, below tini, the interpreter. The interpreter has forked nothing.
   */
  private processes: ProcessIdentity[] = []
  /** The environment at the preparation, without the variables of the command's script. */
  private given: NodeJS.ProcessEnv = {}
  private read: Read = []
  private timeout: Timer | null = null
  private nextLook: Timer | null = null

  constructor(options: WarmStandbyOptions) {
    super(options.clock, options.changed)
    this.options = options
  }

  /** A standby is given up if its environment or a file that it has read has changed since. */
  override async use(): Promise<void> {
    const used = super.use()
    this.wake()
    await used
    // If the launcher hangs here, for example on a network file system, nothing of the workload executes. The clocks
    // are compared afterwards.
    const { stale } = this
    if (stale !== null && this.view.state === 'ready') this.giveUp(stale)
  }

  protected override get stale(): string | null {
    if (!isDeepStrictEqual(this.given, this.options.environment())) return 'its environment'
    return this.read.find(([path, then]) => stateNow(path) !== then)?.[0] ?? null
  }

  /** The process that becomes the workload, with `env` added to its environment. `null`: start it cold. */
  take(env: NodeJS.ProcessEnv): Started | null {
    const { child, view } = this
    if (child === null || view.state !== 'ready' || child.exitCode !== null || child.signalCode !== null)
      return null
    this.nextLook?.cancel()
    this.wake()
    this.child = null
    this.processes = []
    child.removeAllListeners()
    const added = Object.entries(env).filter(([name, value]) => this.given[name] !== value)
    linkOf(child)?.end(`${JSON.stringify(Object.fromEntries(added))}\n`)
    this.goesOn()
    return child
  }

  protected override begin(): void {
    const env = this.options.environment()
    this.given = env
    this.read = []
    this.unfit = true
    try {
      const start = readLangflowCommand(this.options.command, env, process.cwd())
      this.unfit = false
      this.spawn(start, { ...env, ...start.environment })
    } catch (error) {
      this.failWarm((error as Error).message)
    }
  }

  protected override end(): void {
    const { child, processes } = this
    this.child = null
    this.processes = []
    this.timeout?.cancel()
    this.nextLook?.cancel()
    if (child === null) return
    child.removeAllListeners()
    // A reaper ends with the process that it has forked. Until that process is identified, closing its link ends it.
    const first = processes.at(-1)
    if (first !== undefined) signalSame(first, 'SIGKILL')
    else if (child.pid !== undefined) child.kill('SIGKILL')
    linkOf(child)?.destroy()
  }

  /** Another process of its container may have stopped it. */
  private wake(): void {
    for (const one of this.processes) signalSame(one, 'SIGCONT')
  }

  private spawn(start: ReturnType<typeof readLangflowCommand>, env: NodeJS.ProcessEnv): void {
    const { startTimeoutMs, reaper } = this.options
    const flags = ownsUserSite(env) ? ['-s', '-c'] : ['-c']
    const script = [WARM_SCRIPT, String(LINK_FD), start.importsFrom, ...start.argv]
    const command = [...start.interpreter, ...flags, ...script]
    const stdio: StdioOptions = ['ignore', 'inherit', 'inherit', 'pipe']
    const child = spawnBelow(reaper, command, env, stdio) as Started // or an error follows
    const link = linkOf(child)
    this.child = child
    child.once('error', (error) => this.failWarm(error.message))
    if (child.pid !== undefined) {
      const self = readStat(child.pid)
      this.processes = self === undefined ? [] : [self]
      void this.know(child)
    }
    this.become(PREPARING)
    const late = `it took longer than ${startTimeoutMs / 1000} s`
    this.timeout = this.clock.after(startTimeoutMs, () => this.failWarm(late))
    let last = ''
    child.once('exit', (...end) => {
      const { code, signal } = exitOf(...end, reaper)
      const how = signal === 'SIGKILL' ? KILLED : `it ended (${signal ?? `exit code ${code}`})`
      this.failWarm(last || how)
    })
    if (link === undefined) return
    link.on('error', () => {}) // the process reports the end of the link
    const isInvalid = () => {
      if (this.child === child) this.failWarm('its message is not valid')
    }
    let heard = false
    const received = (message: unknown) => {
      if (heard || this.child !== child) return
      heard = true
      const { data: said } = Said.safeParse(message)
      if (said === undefined) isInvalid()
      else if (said.type === 'error') last = said.error === 'MemoryError' ? TOO_LITTLE : said.error
      else this.waits(child, said)
    }
    readJsonLines(link, MOST_SAID, received, isInvalid)
  }

  private waits(child: Started, { at, without, read }: z.infer<typeof Waiting>): void {
    this.read = Object.entries(read)
    void this.look(child, () => {
      this.timeout?.cancel()
      const memoryBytes = memoryOf((this.processes.at(-1) ?? child).pid)
      this.ready({ reason: shortcoming(at, without), memoryBytes })
    })
  }

  private async know(child: Started): Promise<void> {
    const first = await firstProcess(child, this.options.reaper, this.clock)
    if (this.child === child && first !== null && first.pid !== child.pid) this.processes.push(first)
  }

  /** Checks now and at intervals whether the files that it has read are unchanged. */
  private async look(child: Started, isSame?: () => void): Promise<void> {
    for (const [path, then] of this.read) {
      const now = await stateOf(path)
      if (this.child !== child) return
      if (now !== then) return this.giveUp(path)
    }
    isSame?.()
    this.nextLook = this.clock.after(LOOK_MS, () => void this.look(child))
  }

  private giveUp(changed: string): void {
    this.fail(`the warm LangFlow was discarded: ${changed} has changed since it was read`)
  }

  private failWarm(reason: string): void {
    this.fail(`LangFlow cannot be kept warm: ${reason}`)
  }
}

/** `undefined` if not even its pipes could be created. */
function linkOf({ stdio }: Started): Duplex | undefined {
  return (stdio as Started['stdio'] | undefined)?.[LINK_FD] as Duplex | undefined
}

/** The state of each path at the time of reading. */
type Read = readonly (readonly [path: string, then: string | null])[]

// In the format of the script.
const describe = ({ ino, size, mtimeNs }: BigIntStats) => `${ino}:${size}:${mtimeNs}`
const stateOf = (path: string) => stat(path, { bigint: true }).then(describe, () => null)

function stateNow(path: string): string | null {
  try {
    return describe(statSync(path, { bigint: true }))
  } catch {
    return null
  }
}

/** Why the standby starts slower than it could. `null`: it does not. */
function shortcoming(at: string, without: readonly string[]): string | null {
  const causes: string[] = []
  if (at !== SEAM) causes.push(`it waits too early, before ${at}`)
  if (without.length > 0) causes.push(`left out: ${without.join(', ')}`)
  return causes.length === 0 ? null : `the warm LangFlow saves less time than possible: ${causes.join('; ')}`
}

/**
 * Whether a flow of an earlier term may have left code in the user's site-packages. Python would run it before the
 * grant (`usercustomize`, `.pth`), so the directory is left out (`-s`).
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
