import type { FSWatcher } from 'node:fs'
import { dirname, resolve } from 'node:path'
import type { Clock, Timer } from '../clock.ts'
import type { ContentView, Digests } from '../link/link-messages.ts'
import { watchAll } from './change-notices.ts'
import type { EnvFiles } from './env-files.ts'
import { digestOfContent, digestOfInputs, digestOfSecretKey } from './keyed-digests.ts'
import { WatchedFiles } from './watched-files.ts'

/** LangFlow loads each `*.json` in this directory at each start, but not those in its subdirectories. */
const FLOWS_PATH = 'LANGFLOW_LOAD_FLOWS_PATH'
const MOST_EARLIER = 10
/** From the notice of a change to the look at it: one change usually consists of several. */
const DEBOUNCE_MS = 1_000
/** Time between two looks: where the kernel sends no notice of a change, and where it does but one may be lost. */
const POLL_MS = 5_000
const LOOK_MS = 300_000
/** Content is settled if it has not changed for this long. If it has not settled after the second time, this is reported. */
const SETTLES_MS = 10_000
const SETTLED_WITHIN_MS = 60_000
/** A network file system whose server is gone never answers. */
const READ_WITHIN_MS = 60_000
/** The running content if it is unknown: the files could not be read, or changed, while LangFlow started. */
const UNKNOWN = 'unknown'

export interface ContentWatchOptions {
  /** The paths of `--handover-on-change`. */
  readonly paths: readonly string[]
  readonly env: EnvFiles
  /** Resolves to why LangFlow's own check refuses the flows in a directory, or to `null`. `null`: there is no check. */
  readonly validate: ((directory: string, signal: AbortSignal) => Promise<string | null>) | null
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
  private watchers: FSWatcher[] = []
  private readonly isOn: boolean
  private looking = false
  private again = false
  private timer: Timer | null = null
  private noticed: Timer | null = null
  /** Monotonic ms of the last notice after the present look began, and before. `null`: no notice. */
  private noticedAt: number | null = null
  private changedAt: number | null = null
  private closed = false
  private validating = new AbortController()
  private view: ContentView = {
    digest: null,
    since: 0,
    running: null,
    startedAt: 0,
    differsSince: null,
    earlier: [],
    problem: null,
    unfit: false,
  }
  /** Whether the LangFlow that was started last has served. */
  private served = false
  /** Each file of the content, as text for its digest. `null`: not read yet. */
  private files: readonly string[] | null = null
  /** The file that has changed last. */
  private changed = ''
  /** The answers of the check so far, by the digests of the flows. */
  private readonly judged = new Map<string, string | null>()
  /** The current digests. `null`: not computed yet. */
  found: Digests | null = null

  constructor(options: ContentWatchOptions) {
    this.options = options
    this.isOn = options.paths.length > 0 || options.env.paths.length > 0
  }

  /** Looks now, then after each notice of a change, and at intervals. */
  look(): void {
    if (this.closed) return
    this.again = this.looking
    if (!this.looking) void this.run()
  }

  /** LangFlow is being started with the present environment. */
  noteStart(): void {
    this.options.env.noteStart()
    this.served = false
    const running = this.runningNow(this.view.problem)
    this.become({ ...this.view, running, startedAt: this.options.clock.mono() })
  }

  noteServing(): void {
    this.options.env.noteServing()
    this.served = true
  }

  /** LangFlow has ended. `failed`: it never served, for a reason of its own. */
  noteEnd(failed: boolean): void {
    if (failed) this.options.env.noteFailure()
    this.become({ ...this.view, running: null, startedAt: 0 })
  }

  /** LangFlow is ordered to start or to end. The check of the flows counts as LangFlow's process, so it must not go on. */
  interrupt(): void {
    this.validating.abort()
  }

  close(): void {
    this.closed = true
    this.interrupt()
    this.timer?.cancel()
    this.noticed?.cancel()
    for (const watcher of this.watchers) watcher.close()
  }

  private notice(): void {
    const { clock } = this.options
    this.noticedAt = clock.mono()
    this.noticed ??= clock.after(DEBOUNCE_MS, () => {
      this.noticed = null
      this.look()
    })
  }

  private async run(): Promise<void> {
    this.looking = true
    this.timer?.cancel()
    const isNoticed = await this.read()
    this.looking = false
    if (this.closed) return
    const nextMs = isNoticed && this.view.problem === null ? LOOK_MS : POLL_MS
    if (this.again) this.look()
    else this.timer = this.options.clock.after(nextMs, () => this.look())
  }

  /** Resolves to whether the next change will be noticed. */
  private async read(): Promise<boolean> {
    const { paths, env, clock } = this.options
    this.changedAt = this.noticedAt
    this.noticedAt = null
    await env.read()
    const { [FLOWS_PATH]: directory } = env.environment
    const flowsPath = directory ? resolve(directory) : null
    let isNoticed = false
    const late = clock.after(READ_WITHIN_MS, () =>
      this.accept(null, null, `${this.reader.at} does not answer`),
    )
    try {
      const look = this.reader.look(paths, flowsPath, async (directories) => {
        const ofEnvFiles = env.problem === null ? env.paths.map((path) => dirname(path)) : []
        const before = this.watchers
        this.watchers = []
        const all = this.isOn ? new Set([...ofEnvFiles, ...directories]) : []
        isNoticed = await watchAll(all, this.watchers, () => this.notice())
        for (const watcher of before) watcher.close()
      })
      const { files, flows, fault } = await look.finally(() => late.cancel())
      this.files = files
      this.accept(flows, fault ?? (flows && (await this.faultOf(flowsPath ?? '', flows))), null)
    } catch (error) {
      const { code, path = this.reader.at, message } = error as NodeJS.ErrnoException
      const problem = code === 'ENOENT' ? 'does not exist' : `cannot be read: ${code}`
      this.accept(null, null, code === undefined ? message : `${path} ${problem}`)
    }
    return isNoticed
  }

  /** Why LangFlow's own check refuses the flows. Rejects with one sentence if it was interrupted. */
  private async faultOf(directory: string, digest: string): Promise<string | null> {
    // LangFlow starts from the first flows at this moment.
    const validate = this.isOn && this.found !== null ? this.options.validate : null
    this.validating = new AbortController()
    const { signal } = this.validating
    if (!this.judged.has(digest)) this.judged.set(digest, (await validate?.(directory, signal)) ?? null)
    return this.judged.get(digest) ?? null
  }

  private accept(flows: string | null, fault: string | null, unread: string | null): void {
    if (this.closed) return
    const { env, clock } = this.options
    const { view: before, files, reader } = this
    const now = clock.mono()
    const digest = this.digestWith(env.present)
    const isNew = digest !== before.digest
    const replaced = isNew && before.digest !== null ? [before.digest] : []
    // What changed while new directories were found has had no notice.
    this.again ||= isNew
    if (isNew) this.changed = reader.changed ?? env.paths.join(' or ')
    // LangFlow may have been started before the first look had ended, and may read files while they change.
    const isUnsure = before.digest !== null && reader.changed !== null && !this.served
    const running = isUnsure ? UNKNOWN : (before.running ?? this.runningNow(unread))
    const since = isNew ? (this.changedAt ?? now) : before.since
    const isSettling = now - since < SETTLES_MS && now - (before.differsSince ?? now) >= SETTLED_WITHIN_MS
    const unsettled = `${this.changed} keeps changing: LangFlow starts again when it has not changed for 10 s`
    const view = {
      ...before,
      digest,
      since,
      running: before.startedAt === 0 ? null : running,
      earlier: [...replaced, ...before.earlier].filter((one) => one !== digest).slice(0, MOST_EARLIER),
      problem: isSettling ? unsettled : (unread ?? env.problem ?? fault),
      unfit: env.refusal !== null || fault !== null,
    }
    const { environment } = env
    const inputs = digestOfInputs(environment, flows, ...(files ?? []))
    this.become(view, { flows, secretKey: digestOfSecretKey(environment), inputs })
  }

  private become(view: ContentView, digests: Digests | null = this.found): void {
    const differs = view.running !== null && view.running !== view.digest
    const differsSince = differs ? (this.view.differsSince ?? this.options.clock.mono()) : null
    this.view = { ...view, differsSince }
    if (digests === null) return
    const found = this.isOn ? { ...digests, content: this.view } : digests
    const isNew = JSON.stringify(found) !== JSON.stringify(this.found)
    this.found = found
    if (isNew) this.options.changed()
  }

  /** The content from which LangFlow is started now. `null`: not read yet. */
  private runningNow(problem: string | null): string | null {
    return this.digestWith(this.options.env.started) ?? (problem === null ? null : UNKNOWN)
  }

  /** Of the files as last read, with variables of the env files. `null`: not read yet. */
  private digestWith(variables: string): string | null {
    const { environment } = this.options.env
    return this.files === null ? null : digestOfContent(environment, JSON.stringify([this.files, variables]))
  }
}
