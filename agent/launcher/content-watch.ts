import { resolve } from 'node:path'
import type { Clock, Timer } from '../clock.ts'
import type { ContentView, Digests } from '../link/link-messages.ts'
import type { EnvFiles } from './env-files.ts'
import { digestOfContent, digestOfInputs, digestOfSecretKey } from './keyed-digests.ts'
import { type FoundFiles, WatchedFiles } from './watched-files.ts'

/** LangFlow loads each `*.json` in this directory at each start, but not those in its subdirectories. */
const FLOWS_PATH = 'LANGFLOW_LOAD_FLOWS_PATH'
const MOST_EARLIER = 10
const POLL_MS = 5_000

export interface ContentWatchOptions {
  /** The paths of `--handover-on-change`. */
  readonly paths: readonly string[]
  readonly env: EnvFiles
  readonly clock: Pick<Clock, 'after' | 'mono'>
  /** Called with the first digests, and after each change. */
  readonly changed: () => void
}

/** Watches the files that LangFlow reads at its start, with one look at a time: a slow volume delays only the digests. */
export class ContentWatch {
  private readonly options: ContentWatchOptions
  private readonly reader = new WatchedFiles()
  private readonly isOn: boolean
  private isClosed = false
  private looks = Promise.resolve()
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
  private files: FoundFiles['files'] | null = null
  /** The variables of the env files when the live LangFlow was started. */
  private startedWith: EnvFiles['variables'] | null = null
  found: Digests | null = null

  constructor(options: ContentWatchOptions) {
    this.options = options
    this.isOn = options.paths.length > 0 || options.env.paths.length > 0
  }

  /** Looks now, and then at intervals. */
  look(): void {
    this.looks = this.looks.then(() => this.run())
  }

  started(): void {
    this.startedWith = this.options.env.variables
    const running = this.runningNow(this.view.problem !== null)
    this.become({ ...this.view, running, startedAt: this.options.clock.mono() })
    this.look()
  }

  ended(): void {
    this.startedWith = null
    this.become({ ...this.view, running: null, startedAt: 0 })
    this.look()
  }

  close(): void {
    this.isClosed = true
    this.timer?.cancel()
  }

  private async run(): Promise<void> {
    const { paths, env } = this.options
    this.timer?.cancel()
    await env.read()
    const { [FLOWS_PATH]: directory } = env.environment
    const found = await this.reader
      .look(paths, directory ? resolve(directory) : null)
      .catch(({ message }: Error) => message)
    if (this.isClosed) return
    this.accept(found)
    this.timer = this.options.clock.after(POLL_MS, () => this.look())
  }

  /** `found`: the files, or why they could not be read, in one sentence. */
  private accept(found: FoundFiles | string): void {
    const { env, clock } = this.options
    const { view: before } = this
    const isRead = typeof found !== 'string'
    if (isRead) this.files = found.files
    const { flows, fault } = isRead ? found : { flows: null, fault: null }
    const digest = this.digestWith(env.variables)
    const isNew = digest !== before.digest
    const replaced = isNew && before.digest !== null ? [before.digest] : []
    const view = {
      ...before,
      digest,
      since: isNew ? clock.mono() : before.since,
      // LangFlow may have been started before the first look had ended.
      running: before.running ?? this.runningNow(!isRead),
      earlier: [...replaced, ...before.earlier].filter((one) => one !== digest).slice(0, MOST_EARLIER),
      problem: isRead ? (env.problem ?? fault) : found,
      unfit: env.refusal !== null || fault !== null,
    }
    const inputs = digestOfInputs(env.environment, flows, ...(this.files ?? []))
    this.become(view, { flows, secretKey: digestOfSecretKey(env.environment), inputs })
  }

  private become(view: ContentView, digests: Digests | null = this.found): void {
    this.view = view
    if (digests === null) return
    const found = this.isOn ? { ...digests, content: view } : digests
    const isNew = JSON.stringify(found) !== JSON.stringify(this.found)
    this.found = found
    if (isNew) this.options.changed()
  }

  /** The content from which the live LangFlow was started: `unknown` if the files could not be read then. */
  private runningNow(isUnread: boolean): string | null {
    if (this.startedWith === null) return null
    return this.digestWith(this.startedWith) ?? (isUnread ? 'unknown' : null)
  }

  private digestWith(variables: EnvFiles['variables']): string | null {
    if (this.files === null) return null
    return digestOfContent(this.options.env.environment, JSON.stringify([this.files, variables]))
  }
}
