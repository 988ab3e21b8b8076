import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import {
  accessSync,
  closeSync,
  constants as fileConstants,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { constants, getPriority, setPriority } from 'node:os'
import { delimiter, join } from 'node:path'
import { type Clock, pause } from '../clock.ts'
import { reasonOf } from '../errno.ts'
import { listProcesses, type ProcessIdentity, readStat } from './proc.ts'

/**
 * The command line, up to its `--`, of tini as a subreaper: processes of the workload are started below it, and it reaps
 * their orphans. Empty: they are started directly, because another process reaps.
 */
export type Reaper = readonly string[]

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** Live processes, and any that are killed later, stay zombies: tini, which would have reaped them, was killed. */
  readonly unreaped?: true
}

export type Started = ChildProcess & { readonly pid: number }

/**
 * Executes the command in its own session, without stdin and with its output passed through. Resolves before the event
 * loop turns again, so that the child cannot have been reaped yet. Rejects with one sentence.
 */
export async function spawnCommand(
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  reaper: Reaper,
): Promise<Started> {
  const [file = ''] = command
  if (file === '') throw new Error('cannot start the workload: give a command after "--"')
  try {
    // A reaper that cannot execute the command would report it only in its output.
    if (reaper.length > 0) findProgram(file, env)
    const child = spawnBelow(reaper, command, env)
    if (child.pid !== undefined) return child as Started
    return await new Promise((_, reject) => child.once('error', reject))
  } catch (error) {
    throw new Error(`cannot start "${file}": ${reasonOf(error)}`, { cause: error })
  }
}

/** A child that could not be started has no pid, and emits an error. */
export function spawnBelow(
  reaper: Reaper,
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  stdio: StdioOptions = ['ignore', 'inherit', 'inherit'],
): ChildProcess {
  const [file = '', ...args] = [...reaper, ...command]
  return spawn(file, args, { env, detached: true, stdio })
}

/**
 * The first process of a started command: the child itself, or the process that the reaper forked. `null`: it has ended
 * already. All its processes yield to this one (`deprioritize`).
 */
export async function firstProcess(
  child: Started,
  reaper: Reaper,
  clock: Clock,
): Promise<ProcessIdentity | null> {
  deprioritize(child.pid)
  for (;;) {
    const first = reaper.length === 0 ? readStat(child.pid) : eldestOf(child.pid)
    if (first !== undefined) {
      // A second time: a process that was being forked may have been missed the first time.
      deprioritize(child.pid)
      return first
    }
    if (child.exitCode !== null || child.signalCode !== null) return null
    // tini forks within a millisecond of its start if it gets the CPU.
    await pause(clock, 1)
  }
}

function eldestOf(parent: number) {
  const born = (stat: { startTime: string }) => Number(stat.startTime)
  return listProcesses()
    .filter(({ ppid }) => ppid === parent)
    .sort((a, b) => born(a) - born(b) || a.pid - b.pid)[0]
}

/** The end of a command, derived from the end of its reaper, which leaves its processes to PID 1 if it is killed. */
export function exitOf(code: number | null, signal: NodeJS.Signals | null, reaper: Reaper): Exit {
  if (reaper.length === 0) return { code, signal }
  if (signal !== null) return { code, signal, unreaped: true }
  // It ends in the same way as a shell.
  const [name] = Object.entries(constants.signals).find(([, number]) => code === 128 + number) ?? []
  return name === undefined ? { code, signal } : { code: null, signal: name as NodeJS.Signals }
}

/** In thousandths of the memory: the kernel kills processes with a high score first. */
const OOM_SCORE = 100
const NICE = 5

/**
 * Makes a process and its descendants yield to this one: they are killed first when memory is short, and wait when the
 * CPU is. Needs no privilege. Processes that they start later inherit it.
 */
export function deprioritize(root: number): void {
  const oomScore = Math.min(1000, Number(readFileSync('/proc/self/oom_score_adj', 'latin1')) + OOM_SCORE)
  const niceness = Math.min(constants.priority.PRIORITY_LOW, getPriority() + NICE)
  for (const pid of descendants(root))
    try {
      writeFileSync(`/proc/${pid}/oom_score_adj`, String(oomScore))
      // Linux counts the nice value for each thread.
      for (const thread of readdirSync(`/proc/${pid}/task`)) setPriority(Number(thread), niceness)
    } catch {
      // It has ended, or belongs to another user. LangFlow runs with or without this.
    }
}

function descendants(root: number): number[] {
  const children = Map.groupBy(listProcesses(), ({ ppid }) => ppid)
  const found = new Set([root])
  for (const pid of found) for (const child of children.get(pid) ?? []) found.add(child.pid)
  return [...found]
}

export function findProgram(program: string, env: NodeJS.ProcessEnv): string {
  const found = lookUp(program, env.PATH ?? '/bin:/usr/bin')
  if (found === undefined) throw new Error('there is no such file that this user may execute')
  return found
}

/** The file of this program in a PATH, if this user may execute it. */
export function lookUp(program: string, path: string): string | undefined {
  const isPath = program.includes('/')
  const places = isPath ? [program] : path.split(delimiter).map((directory) => join(directory, program))
  return places.find(isExecutable)
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, fileConstants.X_OK)
    return statSync(file).isFile()
  } catch {
    return false
  }
}

/** The first 1,024 bytes of a file. Opening or reading a FIFO does not wait for a writer. */
export function headOf(file: string): string {
  const head = Buffer.alloc(1024)
  return withFile(file, fileConstants.O_RDONLY | fileConstants.O_NONBLOCK, (fd) =>
    head.toString('utf8', 0, readSync(fd, head)),
  )
}

export function withFile<T>(file: string, flags: number, use: (fd: number) => T): T {
  const fd = openSync(file, flags)
  try {
    return use(fd)
  } finally {
    closeSync(fd)
  }
}
