import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { accessSync, constants, existsSync, statSync } from 'node:fs'
import { constants as os } from 'node:os'
import { delimiter, join } from 'node:path'
import { type Clock, pause } from '../clock.ts'
import { giveWay } from './precedence.ts'
import { glanceAtProcesses, type ProcessIdentity, readStat } from './proc.ts'
import type { Exit } from './process-tree.ts'
import { shebangOf } from './program.ts'

/** How processes of the workload come to life. */
export interface Parentage {
  /**
   * The command that they are started below, up to its `--`: tini, as a subreaper, which reaps what they leave. Empty: they
   * are started directly, where somebody else does that.
   */
  readonly reaper: readonly string[]
  /** One sentence for the log. */
  readonly warn: (sentence: string) => void
}

export const DIRECT: Parentage = { reaper: [], warn: () => {} }

export type Started = ChildProcess & { readonly pid: number }

const OUTPUT_ONLY: StdioOptions = ['ignore', 'inherit', 'inherit']

/**
 * Executes the command in a session of its own, without stdin, its output passed through. `spawned` is called before
 * this returns to the event loop, so that the child cannot have been reaped yet. Rejects with one sentence.
 */
export async function spawnCommand(
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  spawned: (child: Started) => void,
  { reaper }: Pick<Parentage, 'reaper'> = DIRECT,
): Promise<void> {
  const [file = ''] = command
  if (file === '') throw new Error('cannot start the workload: give a command after "--"')
  try {
    // A reaper that cannot execute it would only say so in its output.
    if (reaper.length > 0) checkProgram(file, env)
    const child = spawnBelow({ reaper }, command, env)
    if (child.pid !== undefined) return spawned(child as Started)
    await new Promise((_, reject) => child.once('error', reject))
  } catch (error) {
    throw new Error(`cannot start "${file}": ${reasonOf(error as NodeJS.ErrnoException, file)}`, {
      cause: error,
    })
  }
}

/** Of one that could not be started the pid is `undefined`, and it emits an error. */
export function spawnBelow(
  { reaper }: Pick<Parentage, 'reaper'>,
  command: readonly string[],
  env: NodeJS.ProcessEnv,
  stdio = OUTPUT_ONLY,
): ChildProcess {
  const [file = '', ...args] = [...reaper, ...command]
  return spawn(file, args, { env, detached: true, stdio })
}

/**
 * The first process of a command that was started: the child itself, or below a reaper the one that it has forked for it.
 * `null`: it has ended already. All that was started gives way to this process (`giveWay`).
 */
export async function firstProcess(
  child: Started,
  { reaper, warn }: Parentage,
  clock: Clock,
): Promise<ProcessIdentity | null> {
  let problem = giveWay(child.pid)
  for (;;) {
    const first = reaper.length === 0 ? readStat(child.pid) : eldestOf(child.pid)
    if (first !== undefined) {
      // Once more: the first time it may have been too early for what was being forked.
      problem ??= giveWay(child.pid)
      if (problem !== null) warn(`LangFlow does not give way to its launcher: ${problem}`)
      return first
    }
    if (child.exitCode !== null || child.signalCode !== null) return null
    await pause(clock, FORK_CHECK_MS)
  }
}

/** tini forks within a millisecond of its start, where it gets the CPU. */
const FORK_CHECK_MS = 1

function eldestOf(parent: number) {
  const born = (stat: { startTime: string }) => Number(stat.startTime)
  return glanceAtProcesses()
    .filter(({ ppid }) => ppid === parent)
    .sort((a, b) => born(a) - born(b) || a.pid - b.pid)[0]
}

/** How a command ended, from how its reaper did. `unreaped`: that one was killed itself, and left its processes to PID 1. */
export function exitOf(code: number | null, signal: NodeJS.Signals | null, { reaper }: Parentage): Exit {
  if (reaper.length === 0) return { code, signal }
  if (signal !== null) return { code, signal, unreaped: true }
  // It ends as a shell would.
  const [name] = Object.entries(os.signals).find(([, number]) => code === 128 + number) ?? []
  return name === undefined ? { code, signal } : { code: null, signal: name as NodeJS.Signals }
}

/** Throws what execve(2) would answer, as far as that can be foretold. */
function checkProgram(file: string, env: NodeJS.ProcessEnv): void {
  const places = file.includes('/')
    ? [file]
    : (env.PATH ?? '/bin:/usr/bin').split(delimiter).map((directory) => join(directory || '.', file))
  const answers = places.map(executable)
  const program = places[answers.indexOf(null)]
  if (program === undefined) throw withCode(answers.find((code) => code !== 'ENOENT') ?? 'ENOENT')
  const interpreter = shebangOf(program)
  if (interpreter !== undefined && !existsSync(interpreter)) throw withCode('ENOENT')
}

function executable(path: string): string | null {
  try {
    accessSync(path, constants.X_OK)
    return statSync(path).isFile() ? null : 'EACCES'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? 'ENOENT'
  }
}

function withCode(code: string): Error {
  return Object.assign(new Error(code), { code })
}

function reasonOf(error: NodeJS.ErrnoException, file: string): string {
  switch (error.code) {
    case 'ENOENT':
    case 'ENOTDIR':
      if (!file.includes('/')) return 'no such command in PATH'
      return existsSync(file) ? 'the interpreter that its first line names does not exist' : 'no such file'
    case 'EACCES':
      // A search that met a directory it may not read ends like this, too.
      if (!file.includes('/')) return 'no such command in PATH that this user may execute'
      return 'it is not an executable file, or this user may not execute it'
    case 'ENOEXEC':
      return 'it is no program for this machine, nor a script with a "#!" line'
    case 'E2BIG':
      return 'its arguments and environment are too long; shorten them'
    case 'EAGAIN':
    case 'ENOMEM':
      return 'too many processes or too little memory; raise the pod’s limits'
    default:
      return error.message
  }
}
