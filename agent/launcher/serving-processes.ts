import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { basename } from 'node:path'
import type { Clock } from '../clock.ts'
import type { Loss } from '../link/link-messages.ts'
import type { Log } from '../observe/log.ts'
import { listeners } from '../processes/port.ts'
import type { ProcessIdentity, ProcessStat } from '../processes/proc.ts'
import { commandLineOf, isDead, isEnding, isSame, listProcesses, readStat } from '../processes/proc.ts'
import { signalSame } from '../processes/signals.ts'
import { CUT_OFF } from './langflow-command.ts'

interface ServingOptions {
  readonly port: number
  /** The workload's first process, whose end is reported elsewhere. */
  readonly child: number
  readonly clock: Clock
  readonly log: Pick<Log, 'info'>
}

/** A process, and its ancestors, nearest first. */
type Descendant = { readonly self: ProcessIdentity; readonly masters: readonly ProcessIdentity[] }
type Worker = Descendant & { readonly command: string }

const SEARCH_MS = 1_000
/** Searches use at most a 20th of a core: one takes 1-5 ms, and 80 ms on a busy machine with a thousand processes. */
const SEARCH_COST = 20
/** Of a process that is searched. A flow may open any number, and the launcher is blocked meanwhile. */
const MOST_FDS = 4_096

/**
 * Notices that a workload no longer serves while its first process is alive: LangFlow's worker was killed for its
 * memory, and the next one takes 7 s to start, or the gunicorn master was killed.
 */
export class ServingProcesses {
  private readonly options: ServingOptions
  private workers: readonly Worker[] = []
  private searchAt: number // monotonic ms

  constructor(options: ServingOptions) {
    this.options = options
    this.searchAt = options.clock.mono() + SEARCH_MS
  }

  /** The loss of all serving processes, reported once. Not for a workload that is stopped or ordered to end. */
  check(): Loss | null {
    const before = this.workers
    const watched = [...before.map(({ self }) => self), ...this.masters()]
    const ended = new Set(watched.filter((one) => !this.lives(one)).map(({ pid }) => pid))
    if ((before.length > 0 && ended.size === 0) || this.options.clock.mono() < this.searchAt) return null
    // Other workers may have joined. A worker that the master starts in place of a lost one does not accept yet.
    const found = this.search()
    if (found === 'unknown') return null
    const alive = before.filter(({ self }) => !ended.has(self.pid))
    const orphans = alive.filter(({ masters }) => masters.some(({ pid }) => ended.has(pid)))
    // A worker that does not accept for a moment, for example because of too few file descriptors, is still a worker.
    this.serves(found.length > 0 ? found : alive.filter((one) => !orphans.includes(one)))
    if (ended.size === 0 || this.workers.length > 0) return null
    const [role, lost] =
      orphans.length > 0
        ? (['master', orphans.flatMap(({ masters }) => masters)] as const)
        : (['worker', before.map(({ self }) => self)] as const)
    const pids = new Set(lost.map(({ pid }) => pid).filter((pid) => ended.has(pid)))
    return { role, pids: [...pids] }
  }

  /**
   * For a workload that was ordered to end: when all serving processes of LangFlow have ended, sends SIGKILL to their
   * parents. Requests, background tasks and pending writes belong to the workers. Their parents only have to free their
   * memory, which takes 2 to 8 s (LangFlow 1.13). The parent of another program may have other work, so it is left
   * alone.
   */
  finish(): void {
    const [first] = this.workers
    const words = first?.command.split('\0').map((word) => basename(word))
    if (first === undefined || !words?.includes('langflow') || !words.includes('run')) return
    if (this.workers.some(({ self }) => this.lives(self))) return
    try {
      // A worker that joined later is not in the list.
      if (this.forked(first).length > 0) return
      for (const master of this.masters())
        if (commandLineOf(master.pid) === first.command) signalSame(master, 'SIGKILL')
    } catch {
      // The parents end by themselves.
    }
  }

  /** Orders LangFlow's workers to cancel their requests. Returns false if none was started with `CUT_OFF`. */
  cutOff(): boolean {
    const [first] = this.workers
    if (first === undefined || !first.command.includes(CUT_OFF)) return false
    try {
      const workers = this.forked(first)
      for (const worker of workers) signalSame(worker, 'SIGINT')
      return workers.length > 0
    } catch {
      return false
    }
  }

  private masters(): ProcessIdentity[] {
    return [...new Map(this.workers.flatMap((one) => one.masters.map((each) => [each.pid, each]))).values()]
  }

  /** Live workers, including those that joined later: the processes that the same masters have forked. */
  private forked({ command }: Worker): ProcessStat[] {
    const masters = new Set(this.masters().map(({ pid }) => pid))
    return listProcesses()
      .filter(({ pid, ppid }) => masters.has(ppid) && !masters.has(pid))
      .filter((stat) => executes(stat) && commandLineOf(stat.pid) === command)
  }

  /** Only descendants of the first process count: a worker may accept without its master, and so may its orphans. */
  private search(): readonly Worker[] | 'unknown' {
    const { clock, port, child } = this.options
    const began = clock.mono()
    try {
      const living = listProcesses().filter((stat) => stat.pid === child || executes(stat))
      const tree = descendants(living, child)
      const pids = findAcceptors(port, [...tree.keys()])
      const workers = pids.map((pid) => ({ ...(tree.get(pid) as Descendant), command: commandLineOf(pid) }))
      // A process that was forked by a worker shares its epoll instance, but does not accept.
      return workers.filter(({ masters }) => !masters.some(({ pid }) => pids.includes(pid)))
    } catch {
      return 'unknown'
    } finally {
      const now = clock.mono()
      this.searchAt = now + Math.max(SEARCH_MS, (now - began) * SEARCH_COST)
    }
  }

  private serves(workers: readonly Worker[]): void {
    const isNew = workers.length > 0 && pidsOf(workers) !== pidsOf(this.workers)
    this.workers = workers
    if (workers.length > 0) this.searchAt = 0
    if (isNew) this.options.log.info(`LangFlow is served by pid ${pidsOf(workers)}`)
  }

  private lives(one: ProcessIdentity): boolean {
    if (one.pid === this.options.child) return true
    try {
      const stat = readStat(one.pid)
      return isSame(one, stat) && executes(stat)
    } catch {
      return true
    }
  }
}

function executes(stat: ProcessStat): boolean {
  return !isDead(stat) && !isEnding(stat)
}

function descendants(processes: readonly ProcessStat[], root: number): Map<number, Descendant> {
  const children = Map.groupBy(processes, ({ ppid }) => ppid)
  const found = new Map<number, Descendant>()
  const add = (self: ProcessIdentity, masters: readonly ProcessIdentity[]) => {
    // No process descends from itself. If it seems so, pids were reused during the scan.
    if (found.has(self.pid)) return
    found.set(self.pid, { self, masters })
    for (const child of children.get(self.pid) ?? []) add(child, [self, ...masters])
  }
  for (const one of processes) if (one.pid === root) add(one, [])
  return found
}

function pidsOf(workers: readonly Worker[]): string {
  return workers.map(({ self }) => self.pid).join(', ')
}

/**
 * The processes that wait for connections on a local TCP port. An open listening socket is not enough: gunicorn's
 * master has it and never accepts, and so does a worker that is still starting. A waiting process has the socket in an
 * epoll instance, as every event loop does (uvicorn, asyncio, Node), and proc_pid_fdinfo(5) shows the socket's inode. A
 * process that blocks in accept(2) or waits in select(2) instead is not found. Throws if the answer is unknown now.
 */
function findAcceptors(port: number, pids: readonly number[]): number[] {
  const inodes = listeners(port)?.map((inode) => ` ino:${Number(inode).toString(16)} `)
  if (inodes === undefined) throw new Error('/proc/net/tcp cannot be read')
  return pids.filter((pid) => {
    const polled = inodes.length === 0 ? '' : readEpolls(pid)
    return inodes.some((inode) => polled.includes(inode))
  })
}

/** The entries of all epoll instances of a process. Empty if it has none, has ended, or may not be examined. */
function readEpolls(pid: number): string {
  const fds = `/proc/${pid}/fd`
  const open = unlessHidden(() => readdirSync(fds), [])
  if (open.length > MOST_FDS) return ''
  // If a file is closed during the loop, the others still count.
  return open
    .filter((fd) => unlessHidden(() => readlinkSync(`${fds}/${fd}`), '') === 'anon_inode:[eventpoll]')
    .map((fd) => unlessHidden(() => readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'latin1'), ''))
    .join('')
}

/** Any other error, such as EMFILE, must not look as if no process accepted. */
function unlessHidden<T>(read: () => T, otherwise: T): T {
  try {
    return read()
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (['ENOENT', 'ESRCH', 'EACCES', 'EPERM'].includes(code)) return otherwise
    throw error
  }
}
