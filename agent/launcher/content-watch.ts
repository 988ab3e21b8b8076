import { createHash } from 'node:crypto'
import { basename, dirname, extname, resolve } from 'node:path'
import type { Clock, Timer } from '../clock.ts'
import type { ContentView, Digests } from '../link/link-messages.ts'
import { ChangeNotices } from './change-notices.ts'
import type { EnvFiles } from './env-files.ts'
import { type FlowValidation, faultOfFlows } from './flow-faults.ts'
import { digestOfContent, digestOfInputs, digestOfSecretKey } from './keyed-digests.ts'
import { type Root, WatchedFiles, walkOf } from './watched-files.ts'

/** LangFlow loads each `*.json` in this directory at each start, but not those in its subdirectories. */
const FLOWS_PATH = 'LANGFLOW_LOAD_FLOWS_PATH'
const FLOWS_DIGITS = 12
const MOST_EARLIER = 10
/** From the notice of a change to the look at it: one change usually consists of several. */
const DEBOUNCE_MS = 1_000
/** Time between two looks: where the kernel sends no notice of a change, and where it does but one may be lost. */
const POLL_MS = 5_000
const LOOK_MS = 120_000

export interface ContentWatchOptions {
  /** The paths of `--handover-on-change`. */
  readonly paths: readonly string[]
  readonly env: Pick<EnvFiles, keyof EnvFiles>
  /** `null`: without `--validate-flows`. */
  readonly validation: Pick<FlowValidation, 'faultOf' | 'interrupt'> | null
  readonly clock: Pick<Clock, 'after' | 'mono'>
  /** Whether a standby is ready. */
  readonly prepared: () => boolean
  /** Called with the first digests, and after each change. */
  readonly changed: () => void
}

const UNREAD: ContentView = {
  digest: null,
  since: 0,
  running: null,
  startedAt: 0,
  prepared: false,
  earlier: [],
  problem: null,
  unfit: false,
}
/** The running content, if it could not be read at LangFlow's start. */
const UNREADABLE = 'unreadable'

/**
 * Watches the files that LangFlow reads at its start: the content whose change hands over, and the flows and the secret
 * key, which must be equal on all replicas. Only files whose metadata has changed are read, in small chunks and never
 * twice at a time: a slow volume delays only the digests.
 */
export class ContentWatch {
  private readonly options: ContentWatchOptions
  private readonly reader = new WatchedFiles()
  private readonly notices: ChangeNotices
  private looking = false
  private again = false
  private timer: Timer | null = null
  private noticed: Timer | null = null
  private closed = false
  private view = UNREAD
  /** Each file of the content, as text for its digest. `null`: not read yet. */
  private files: readonly string[] | null = null
  /** The faults of all flows so far, by their digests. */
  private readonly judged = new Map<string, string | null>()
  /** The current digests. `null`: not computed yet. */
  found: Digests | null = null

  constructor(options: ContentWatchOptions) {
    this.options = options
    this.notices = new ChangeNotices((path) => this.notice(path))
  }

  /** Looks now, then after each notice of a change, and at intervals. */
  look(): void {
    if (this.closed) return
    this.again = this.looking
    if (!this.looking) void this.run()
  }

  /** LangFlow is being started with the present environment. */
  started(): void {
    const { digest, view } = this
    const running = runningOf(digest, view.problem)
    this.become({ ...view, running, startedAt: this.options.clock.mono(), prepared: false })
  }

  /** LangFlow has ended. */
  ended(): void {
    this.become({ ...this.view, running: null, startedAt: 0 })
  }

  /** LangFlow is ordered to start or to end. */
  interrupt(): void {
    this.options.validation?.interrupt()
  }

  close(): void {
    this.closed = true
    this.interrupt()
    this.timer?.cancel()
    this.noticed?.cancel()
    this.notices.close()
  }

  private get isOn(): boolean {
    return this.options.paths.length > 0 || this.options.env.paths.length > 0
  }

  /** Of the files as last read and the present environment. `null`: not read yet. */
  private get digest(): string | null {
    const { text, environment } = this.options.env
    return this.files === null ? null : digestOfContent(environment, JSON.stringify([this.files, text]))
  }

  private notice(path: string): void {
    const { paths, env, clock } = this.options
    // The directory of a path may be busy with others. The kubelet swaps a link of its own.
    const isOurs = [...paths, ...env.paths].some((root) => isBelow(path, root))
    if (!isOurs && !basename(path).startsWith('..')) return
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
    const { paths, env } = this.options
    await env.read()
    const { [FLOWS_PATH]: directory } = env.environment
    const flowsPath = directory ? resolve(directory) : null
    const roots: Root[] = paths.map((path) => ({ path, kind: 'tree' }))
    const isCovered = paths.some((path) => isBelow(flowsPath ?? '', path))
    if (flowsPath !== null && !isCovered) roots.push({ path: flowsPath, kind: 'flows' })
    let isNoticed = !this.isOn
    let flows: string | null = null
    let problem: string | null = null
    let fault: string | null = null
    try {
      const walk = await walkOf(roots)
      // From here on no change is missed: after files are read, all are walked again.
      const ofEnvFiles = env.paths.map((path) => [dirname(path), ''] as const)
      if (this.isOn) isNoticed = await this.notices.follow(new Map([...ofEnvFiles, ...walk.directories]))
      const files = await this.reader.digests(roots, walk)
      if (flowsPath !== null && !walk.directories.has(flowsPath))
        throw new Error(`LangFlow would not start: ${flowsPath} is not a directory`)
      this.files = contentOf(paths, files)
      if (flowsPath !== null) {
        const loaded = [...files].filter(([path]) => dirname(path) === flowsPath && extname(path) === '.json')
        flows = digestOfFlows(loaded)
        if (this.isOn) fault = await this.faultOf(flowsPath, flows, [...new Map(loaded).keys()])
      }
    } catch (error) {
      problem = (error as Error).message
    }
    if (!this.closed)
      this.accept(flows, problem ?? env.problem ?? fault, env.refusal !== null || fault !== null)
    return isNoticed
  }

  /** Why LangFlow would not start from the flows. Rejects with one sentence if this is unknown. */
  private async faultOf(directory: string, digest: string, flows: readonly string[]): Promise<string | null> {
    const known = this.judged.get(digest)
    if (known !== undefined) return known
    const invalid = await faultOfFlows(flows)
    // LangFlow starts from the first flows at this moment.
    const validation = this.found === null || invalid !== null ? null : this.options.validation
    const fault = invalid ?? (await validation?.faultOf(directory)) ?? null
    this.judged.set(digest, fault)
    return fault
  }

  private accept(flows: string | null, problem: string | null, unfit: boolean): void {
    const { env, clock, paths } = this.options
    const { view: before, digest, files } = this
    const isNew = digest !== before.digest
    const replaced = isNew && before.digest !== null ? [before.digest] : []
    // LangFlow may have been started before the first look had ended.
    const running = before.startedAt === 0 ? null : (before.running ?? runningOf(digest, problem))
    const view = {
      ...before,
      digest,
      since: isNew ? clock.mono() : before.since,
      running,
      // A standby that the change has made outdated is discarded first.
      prepared: !isNew && this.options.prepared(),
      earlier: [...replaced, ...before.earlier].filter((one) => one !== digest).slice(0, MOST_EARLIER),
      problem,
      unfit,
    }
    this.again ||= isNew
    const { environment } = env
    const inputs = digestOfInputs(environment, flows, ...(paths.length > 0 ? (files ?? []) : []))
    this.become(view, { flows, secretKey: digestOfSecretKey(environment), inputs })
  }

  private become(view: ContentView, digests: Digests | null = this.found): void {
    this.view = view
    if (digests === null) return
    const found = this.isOn ? { ...digests, content: this.view } : digests
    const isNew = JSON.stringify(found) !== JSON.stringify(this.found)
    this.found = found
    if (isNew) this.options.changed()
  }
}

function runningOf(digest: string | null, problem: string | null): string | null {
  return digest ?? (problem === null ? null : UNREADABLE)
}

function isBelow(path: string, root: string): boolean {
  return path === root || path.startsWith(`${root}/`)
}

/** `sha256sum -- *.json | sha256sum | cut -c1-12`, with the names in the order of the C locale. */
function digestOfFlows(flows: readonly (readonly [path: string, digest: string])[]): string {
  const lines = flows.map(([path, digest]) => `${digest}  ${basename(path)}\n`)
  return createHash('sha256').update(lines.join('')).digest('hex').slice(0, FLOWS_DIGITS)
}

/** Each file, by its place below the path that the user named. */
function contentOf(paths: readonly string[], files: ReadonlyMap<string, string>): readonly string[] {
  return paths.flatMap((root, n) =>
    [...files].flatMap(([path, digest]) =>
      isBelow(path, root) ? [`${n} ${path.slice(root.length)} ${digest}`] : [],
    ),
  )
}
