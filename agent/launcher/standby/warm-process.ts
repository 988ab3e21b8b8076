import type { StdioOptions } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { isDeepStrictEqual } from 'node:util'
import * as z from 'zod/mini'
import type { Clock, Timer } from '../../clock.ts'
import { fileSignature } from '../../file-signature.ts'
import { readJsonLines } from '../../json-lines.ts'
import { type ProcessIdentity, readStat } from '../../processes/proc.ts'
import { signalSame } from '../../processes/signals.ts'
import { exitOf, firstProcess, type Reaper, type Started, spawnBelow } from '../../processes/spawn.ts'
import { CUT_OFF, readLangflowCommand } from '../langflow-command.ts'
import { Standby, type StandbyProcess, type StandbyReports } from './standby.ts'

/** In the bundle, deploy/bundle/build.mjs replaces this call with the text of the file. */
const WARM_LANGFLOW = readFileSync(new URL('./warm_langflow.py', import.meta.url), 'utf8')
const WARM_SCRIPT = `${WARM_LANGFLOW}${CUT_OFF}sys.exit(main())\n`

export interface WarmStandbyOptions {
  readonly command: readonly string[]
  /** The workload's environment, without the variables that a grant adds. */
  readonly environment: () => NodeJS.ProcessEnv
  readonly clock: Clock
  readonly reaper: Reaper
  readonly startTimeoutMs: number
  readonly changed: () => void
}

const LONGEST_MESSAGE = 4 * 1024 * 1024 // room for thousands of paths

const Word = z.string().check(z.maxLength(200))
const Waiting = z.object({
  type: z.literal('ready'),
  at: Word,
  without: z.array(Word).check(z.maxLength(50)),
  read: z.record(z.string(), Word), // path: its `fileSignature` at the time of reading
})
const Message = z.discriminatedUnion('type', [Waiting, z.object({ type: z.literal('error'), error: Word })])

const LINK_FD = 3
const KILLED =
  'it was killed (SIGKILL), probably because memory ran out: raise the memory limit of LangFlow’s container'

export type WarmStandby = Standby<WarmProcess>

export function warmStandby(options: WarmStandbyOptions): WarmStandby {
  return new Standby(options.clock, (reports) => new WarmProcess(options, reports), options.changed)
}

/** LangFlow's own `langflow run`, which waits for a grant before it creates its server (`warm_langflow.py`). */
class WarmProcess implements StandbyProcess {
  private readonly options: WarmStandbyOptions
  private readonly reports: StandbyReports
  /** At the preparation, without the variables of the command's script. */
  private readonly given: NodeJS.ProcessEnv
  private child: Started | null = null
  /** The child and, below tini, the interpreter. The interpreter has forked nothing. */
  private processes: ProcessIdentity[] = []
  private read: readonly (readonly [path: string, signature: string])[] = []
  private timer: Timer | null = null

  constructor(options: WarmStandbyOptions, reports: StandbyReports) {
    this.options = options
    this.reports = reports
    this.given = options.environment()
  }

  begin(): void {
    const { command, clock, startTimeoutMs } = this.options
    try {
      const start = readLangflowCommand(command, this.given, process.cwd())
      const late = `it took longer than ${startTimeoutMs / 1000} s`
      this.timer = clock.after(startTimeoutMs, () => this.fail(late))
      this.spawn(start)
    } catch (error) {
      this.fail((error as Error).message)
    }
  }

  get stale(): string | null {
    if (!isDeepStrictEqual(this.given, this.options.environment())) return 'its environment'
    return this.read.find(([path, then]) => fileSignature(path) !== then)?.[0] ?? null
  }

  /** Continues as the workload, with `env` added to its environment, unless it has just ended. */
  resume(env: NodeJS.ProcessEnv): Started | null {
    const { child } = this
    this.timer?.cancel()
    if (child === null || child.exitCode !== null || child.signalCode !== null) return null
    this.child = null
    child.removeAllListeners()
    const added = Object.entries(env).filter(([name, value]) => this.given[name] !== value)
    linkOf(child)?.end(`${JSON.stringify(Object.fromEntries(added))}\n`)
    return child
  }

  end(): void {
    const { child, processes } = this
    this.child = null
    this.timer?.cancel()
    if (child === null) return
    child.removeAllListeners()
    // A reaper ends with the process that it has forked. Until that process is identified, closing its link ends it.
    const first = processes.at(-1)
    if (first !== undefined) signalSame(first, 'SIGKILL')
    else if (child.pid !== undefined) child.kill('SIGKILL')
    linkOf(child)?.destroy()
  }

  private spawn(start: ReturnType<typeof readLangflowCommand>): void {
    const { reaper } = this.options
    const { interpreter, argv, importsFrom } = start
    const env = { ...this.given, ...start.environment }
    // Without `-s`, code that an earlier term's flow left in the user's site-packages would run before the grant.
    const command = [...interpreter, '-s', '-c', WARM_SCRIPT, String(LINK_FD), importsFrom, ...argv]
    const stdio: StdioOptions = ['ignore', 'inherit', 'inherit', 'pipe']
    const child = spawnBelow(reaper, command, env, stdio) as Started // or an error follows
    this.child = child
    child.once('error', (error) => this.fail(error.message))
    if (child.pid !== undefined) void this.identify(child)
    let fault: string | null = null
    child.once('exit', (...end) => {
      const { code, signal } = exitOf(...end, reaper)
      const how = signal === 'SIGKILL' ? KILLED : `it ended (${signal ?? `exit code ${code}`})`
      this.fail(fault ?? how)
    })
    const link = linkOf(child)
    if (link === undefined) return
    link.on('error', () => {}) // the process reports the end of the link
    const invalid = () => this.fail('its message is not valid')
    const received = (line: unknown) => {
      const { data: message } = Message.safeParse(line)
      if (message === undefined) invalid()
      else if (message.type === 'error') fault = message.error
      else {
        this.timer?.cancel()
        this.read = Object.entries(message.read)
        this.reports.ready(shortcoming(message.at, message.without))
      }
    }
    readJsonLines(link, LONGEST_MESSAGE, received, invalid)
  }

  private async identify(child: Started): Promise<void> {
    const self = readStat(child.pid)
    if (self !== undefined) this.processes.push(self)
    const first = await firstProcess(child, this.options.reaper, this.options.clock)
    if (this.child === child && first !== null && first.pid !== child.pid) this.processes.push(first)
  }

  private fail(reason: string): void {
    this.reports.failed(`LangFlow cannot be kept warm: ${reason}`)
  }
}

/** Missing if not even its pipes could be created. */
function linkOf({ stdio }: Started): Duplex | undefined {
  return (stdio as Started['stdio'] | undefined)?.[LINK_FD] as Duplex | undefined
}

/** Why the standby starts slower than it could. */
function shortcoming(at: string, without: readonly string[]): string | null {
  const causes: string[] = []
  if (at !== 'server') causes.push(`it waits too early, before ${at}`)
  if (without.length > 0) causes.push(`left out: ${without.join(', ')}`)
  return causes.length === 0 ? null : `the warm LangFlow saves less time than possible: ${causes.join('; ')}`
}
