import { watch } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import type { Clock, Timer } from '../clock.ts'
import type { ContentView, Digests } from '../link/link-messages.ts'
import type { EnvFiles } from './env-files.ts'
import { digestOfContent, digestOfInputs, digestOfSecretKey } from './keyed-digests.ts'
import { WatchedFiles } from './watched-files.ts'

/** LangFlow loads each `*.json` in this directory at each start, but not those in its subdirectories. */
const FLOWS_PATH = 'LANGFLOW_LOAD_FLOWS_PATH'
const MOST_EARLIER = 10
/** From the notice of a change to the look at it: one change usually consists of several. */
const DEBOUNCE_MS = 500
/** Time between two looks: where the kernel sends no notice of a change, and where it does but one may be lost. */
const POLL_MS = 5_000
const LOOK_MS = 300_000
/** A network file system whose server is gone never answers. */
const READ_WITHIN_MS = 60_000
/** The running content if the files could not be read when LangFlow started. */
const UNKNOWN = 'unknown'
/**
 * File systems that no other machine or program changes, by statfs(2): ext, XFS, Btrfs, tmpfs, overlayfs, ramfs, F2FS,
 * ZFS. Only on these does the kernel send a notice of each change (inotify).
 */
const LOCAL = [0xef53, 0x58465342, 0x9123683e, 0x1021994, 0x794c7630, 0x858458f6, 0xf2f52010, 0x2fc12fc1]

export type LangflowPhase = 'down' | 'starting' | 'serving' | 'ending'

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
  private readonly isOn: boolean
  private phase: 'resting' | 'looking' | 'looking again' | 'closed' = 'resting'
  private langflow: LangflowPhase = 'down'
  private watching = new AbortController()
  /** Whether the kernel sends a notice of the next change. */
  private isNoticed = false
  private timer: Timer | null = null
  private noticed: Timer | null = null
  private view: ContentView = {
    digest: null,
    since: 0,
    running: null,
    startedAt: 0,
    earlier: [],
    problem: null,
    unfit: false,
  }
  /** Each file of the content, as text for its digest. `null`: not read yet. */
  private files: readonly string[] | null = null
  /** The answers of the check since LangFlow's start, by the digests of the flows. */
  private judged = new Map<string, string | null>()
  /** The check that is under way, by the digest of its flows. */
  private check: { readonly flows: string; readonly quit: AbortController } | null = null
  /** The current digests. `null`: not computed yet. */
  found: Digests | null = null

  constructor(options: ContentWatchOptions) {
    this.options = options
    this.isOn = options.paths.length > 0 || options.env.paths.length > 0
  }

  /** Looks now, then after each notice of a change, and at intervals. */
  look(): void {
    if (this.phase === 'resting') void this.run()
    else if (this.phase === 'looking') this.phase = 'looking again'
  }

  /** LangFlow is in this phase. `failed`: it has ended without having served, for a reason of its own. */
  note(phase: LangflowPhase, failed = false): void {
    if (phase === this.langflow) return
    const { env, clock } = this.options
    this.langflow = phase
    env.note(phase, failed)
    // Until it has ended, the check counts as LangFlow's process.
    if (phase !== 'serving') this.interrupt()
    if (phase === 'starting')
      this.become({ ...this.view, running: this.runningNow(this.view.problem), startedAt: clock.mono() })
    else if (phase === 'down') this.become({ ...this.view, running: null, startedAt: 0 })
    this.look()
  }

  close(): void {
    this.phase = 'closed'
    this.interrupt()
    this.timer?.cancel()
    this.noticed?.cancel()
    this.watching.abort()
  }

  private async run(): Promise<void> {
    this.phase = 'looking'
    this.timer?.cancel()
    await this.read()
    this.rest(this.isNoticed && this.view.problem === null ? LOOK_MS : POLL_MS)
  }

  private rest(nextMs: number): void {
    if (this.phase === 'closed') return
    const again = this.phase === 'looking again'
    this.phase = 'resting'
    if (again) this.look()
    else this.timer = this.options.clock.after(nextMs, () => this.look())
  }

  private async read(): Promise<void> {
    const { paths, env, clock } = this.options
    await env.read()
    const { [FLOWS_PATH]: directory } = env.environment
    const flowsPath = directory ? resolve(directory) : null
    const late = clock.after(READ_WITHIN_MS, () =>
      this.accept(null, null, `${this.reader.at} does not answer`),
    )
    try {
      const look = this.reader.look(paths, flowsPath, async (directories) => {
        const ofEnvFiles = env.paths.map((path) => dirname(path))
        this.isNoticed = await this.watch(this.isOn ? new Set([...ofEnvFiles, ...directories]) : [])
      })
      const { files, flows, fault } = await look.finally(() => late.cancel())
      if (fault === null && !this.isJudged(flowsPath, flows)) return
      this.files = files
      this.accept(flows, fault ?? this.judged.get(flows ?? '') ?? null, null)
    } catch (error) {
      this.accept(null, null, (error as Error).message)
    }
  }

  /** Resolves to whether the kernel sends a notice of each change in these directories. */
  private async watch(directories: Iterable<string>): Promise<boolean> {
    const before = this.watching
    this.watching = new AbortController()
    const { signal } = this.watching
    try {
      for (const directory of directories) {
        if (!LOCAL.includes((await statfs(directory)).type)) return false
        watch(directory, { persistent: false, signal }, () => this.notice()).on('error', () => {})
      }
      return true
    } catch {
      // The kernel's limit is reached, or the directory is gone.
      return false
    } finally {
      before.abort()
    }
  }

  private notice(): void {
    this.noticed ??= this.options.clock.after(DEBOUNCE_MS, () => {
      this.noticed = null
      this.look()
    })
  }

  /** Whether the flows are not to be checked, or the check has ended. Its end leads to another look. */
  private isJudged(directory: string | null, flows: string | null): boolean {
    const { langflow, options } = this
    const validate = this.isOn ? options.validate : null
    if (validate === null || directory === null || flows === null) return true
    // LangFlow would start from them in any case.
    if (langflow === 'down' || this.found === null) this.judged = new Map([[flows, null]])
    if (this.check?.flows === flows) return false
    this.interrupt()
    if (this.judged.has(flows)) return true
    if (langflow !== 'serving') return false
    const check = { flows, quit: new AbortController() }
    this.check = check
    void validate(directory, check.quit.signal).then((fault) => {
      if (this.check !== check) return
      this.check = null
      this.judged.set(flows, fault)
      this.look()
    })
    return false
  }

  private interrupt(): void {
    this.check?.quit.abort()
    this.check = null
  }

  private accept(flows: string | null, fault: string | null, unread: string | null): void {
    if (this.phase === 'closed') return
    const { env, clock } = this.options
    const { view: before } = this
    const digest = this.digestWith(env.present)
    const isNew = digest !== before.digest
    const replaced = isNew && before.digest !== null ? [before.digest] : []
    // What changed while new directories were found has had no notice.
    if (isNew) this.look()
    // LangFlow may have been started before the first look had ended.
    const running = before.running ?? this.runningNow(unread)
    const view = {
      ...before,
      digest,
      since: isNew ? clock.mono() : before.since,
      running: before.startedAt === 0 ? null : running,
      earlier: [...replaced, ...before.earlier].filter((one) => one !== digest).slice(0, MOST_EARLIER),
      problem: unread ?? env.problem ?? fault,
      unfit: env.refusal !== null || fault !== null,
    }
    const { environment } = env
    const inputs = digestOfInputs(environment, flows, ...(this.files ?? []))
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
