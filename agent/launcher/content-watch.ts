import { resolve } from 'node:path'
import type { Clock, Timer } from '../clock.ts'
import type { ContentView, Digests } from '../link/link-messages.ts'
import type { EnvFiles } from './env-files.ts'
import { digestOfContent, digestOfInputs, digestOfSecretKey } from './keyed-digests.ts'
import { WatchedFiles } from './watched-files.ts'

/** LangFlow loads each `*.json` in this directory at each start, but not those in its subdirectories. */
const FLOWS_PATH = 'LANGFLOW_LOAD_FLOWS_PATH'
const MOST_EARLIER = 10
/** Time between two looks. */
const POLL_MS = 5_000
/** The running content if the files could not be read when LangFlow started. */
const UNKNOWN = 'unknown'

export interface ContentWatchOptions {
  /** The paths of `--handover-on-change`. */
  readonly paths: readonly string[]
  readonly env: EnvFiles
  readonly clock: Pick<Clock, 'after' | 'mono'>
  /** Called with the first digests, and after each change. */
  readonly changed: () => void
}

/**
 * Watches the files that LangFlow reads at its start: the content whose change hands over, and the flows and the secret
 * key, which must be equal on all replicas. One look at a time: a slow volume delays only the digests.
 */
export class ContentWatch {
  private readonly options: ContentWatchOptions
  private readonly reader = new WatchedFiles()
  private readonly isOn: boolean
  private phase: 'resting' | 'looking' | 'looking again' | 'closed' = 'resting'
  private timer: Timer | null = null
  private view: ContentView = {
    digest: null,
    since: 0,
    running: null,
    startedAt: 0,
    earlier: [],
    problem: null,
    unfit: false,
  }
  /** Each file of the content, as text for its digest. */
  private files: readonly string[] | 'not read yet' = 'not read yet'
  /** The variables of the env files when LangFlow was started. */
  private startedWith: EnvFiles['variables'] | 'not running' = 'not running'
  /** The current digests. `null`: not computed yet. */
  found: Digests | null = null

  constructor(options: ContentWatchOptions) {
    this.options = options
    this.isOn = options.paths.length > 0 || options.env.paths.length > 0
  }

  /** Looks now, and then at intervals. */
  look(): void {
    if (this.phase === 'resting') void this.run()
    else if (this.phase === 'looking') this.phase = 'looking again'
  }

  /** LangFlow is being started. */
  started(): void {
    this.startedWith = this.options.env.variables
    const running = this.runningNow(this.view.problem)
    this.become({ ...this.view, running, startedAt: this.options.clock.mono() })
    this.look()
  }

  /** No process of LangFlow is alive. */
  ended(): void {
    this.startedWith = 'not running'
    this.become({ ...this.view, running: null, startedAt: 0 })
    this.look()
  }

  close(): void {
    this.phase = 'closed'
    this.timer?.cancel()
  }

  private async run(): Promise<void> {
    this.phase = 'looking'
    this.timer?.cancel()
    await this.read()
    this.rest()
  }

  private rest(): void {
    if (this.phase === 'closed') return
    const again = this.phase === 'looking again'
    this.phase = 'resting'
    if (again) this.look()
    else this.timer = this.options.clock.after(POLL_MS, () => this.look())
  }

  private async read(): Promise<void> {
    const { paths, env } = this.options
    await env.read()
    const { [FLOWS_PATH]: directory } = env.environment
    try {
      const { files, ...flows } = await this.reader.look(paths, directory ? resolve(directory) : null)
      this.files = files
      this.accept(flows)
    } catch (error) {
      this.accept({ unread: (error as Error).message })
    }
  }

  /** `fault`: LangFlow could not start from the files. `unread`: they could not be read. One sentence each. */
  private accept({
    flows = null,
    fault = null,
    unread = null,
  }: Readonly<Record<string, string | null>>): void {
    if (this.phase === 'closed') return
    const { env, clock } = this.options
    const { view: before } = this
    const digest = this.digestWith(env.variables)
    const isNew = digest !== before.digest
    const replaced = isNew && before.digest !== null ? [before.digest] : []
    const view = {
      ...before,
      digest,
      since: isNew ? clock.mono() : before.since,
      // LangFlow may have been started before the first look had ended.
      running: before.running ?? this.runningNow(unread),
      earlier: [...replaced, ...before.earlier].filter((one) => one !== digest).slice(0, MOST_EARLIER),
      problem: unread ?? env.problem ?? fault,
      unfit: env.refusal !== null || fault !== null,
    }
    const { environment } = env
    const files = this.files === 'not read yet' ? [] : this.files
    const inputs = digestOfInputs(environment, flows, ...files)
    this.become(view, { flows, secretKey: digestOfSecretKey(environment), inputs })
  }

  private become(view: ContentView, digests: Digests | null = this.found): void {
    this.view = view
    if (digests === null) return
    const found = this.isOn ? { ...digests, content: view } : digests
    const isNew = JSON.stringify(found) !== JSON.stringify(this.found)
    this.found = found
    if (isNew) this.options.changed()
  }

  /** The content from which the live LangFlow was started. `null`: it is not running, or nothing was read yet. */
  private runningNow(problem: string | null): string | null {
    if (this.startedWith === 'not running') return null
    return this.digestWith(this.startedWith) ?? (problem === null ? null : UNKNOWN)
  }

  /** Of the files as last read, with variables of the env files. `null`: not read yet. */
  private digestWith(variables: EnvFiles['variables']): string | null {
    if (this.files === 'not read yet') return null
    return digestOfContent(this.options.env.environment, JSON.stringify([this.files, variables]))
  }
}
