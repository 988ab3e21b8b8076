import { closeSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs'

/** The fields of /proc/PID/stat that are used here (proc_pid_stat(5)). */
export interface ProcessStat {
  readonly pid: number
  readonly comm: string
  readonly state: string // letter of the main thread, such as R, S, T (stopped)
  readonly ppid: number
  readonly pgrp: number
  readonly flags: number // PF_* of include/linux/sched.h
  readonly threads: number
  readonly cpuTicks: number // of its threads and of the ended children that it waited for, in 10 ms (USER_HZ)
  /** Clock ticks since boot, as written. Together with the pid, it identifies a process permanently. */
  readonly startTime: string
}

export type ProcessIdentity = Pick<ProcessStat, 'pid' | 'startTime'>

export type ProcessTable = ReadonlyMap<number, ProcessStat>

/** Each round takes 0.1-1 ms. On a busy machine two or three are enough. */
const MAX_ROUNDS = 200

// All reads are synchronous, so one buffer is enough: a scan costs 8 us a process instead of 18.
let scratch = Buffer.allocUnsafeSlow(32 * 1024)

/** Reads a whole file to the start of `scratch`. Returns its length, or why it could not be read. */
function readProc(path: string): number | 'gone' | 'forbidden' {
  let fd: number | undefined
  try {
    fd = openSync(path, 'r')
    let length = readSync(fd, scratch)
    while (length === scratch.length) {
      scratch = Buffer.allocUnsafeSlow(scratch.length * 2)
      length = readSync(fd, scratch, 0, scratch.length, 0)
    }
    return length
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return 'gone'
    if (code === 'EACCES' || code === 'EPERM') return 'forbidden'
    // For example EMFILE: this must not look as if the process had ended.
    throw error
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

function readStatLine(pid: number | string): string | 'gone' | 'forbidden' {
  const length = readProc(`/proc/${pid}/stat`)
  return typeof length === 'number' ? scratch.toString('latin1', 0, length) : length
}

/** Parses /proc/PID/stat. `comm` may itself contain spaces, parentheses and newlines, so its end is the last `)`. */
export function parseStat(line: string): ProcessStat | undefined {
  const open = line.indexOf('(')
  const close = line.lastIndexOf(')')
  if (open < 0 || close < open) return undefined
  const fields = line.slice(close + 2).split(' ', 20)
  if (fields.length < 20) return undefined
  return {
    pid: Number.parseInt(line, 10),
    comm: line.slice(open + 1, close),
    state: fields[0]!,
    ppid: Number(fields[1]),
    pgrp: Number(fields[2]),
    flags: Number(fields[6]),
    threads: Number(fields[17]),
    cpuTicks: fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0),
    startTime: fields[19]!,
  }
}

export function readStat(pid: number): ProcessStat | undefined {
  return parseStat(readStatLine(pid))
}

/** The living processes are unknown, so none may count as dead. */
export class ProcTooFast extends Error {
  constructor() {
    super('cannot determine which processes are alive: they start and end faster than /proc can be read')
  }
}

/**
 * Every process that /proc shows. The result is not from one instant, but no process is missed: a process that ended
 * during the scan may have left a child, so the list is read again until each new entry was alive when it was read.
 * `settle` examines a process further, beside the `known` ones, and can return `false` for another round. Throws
 * `ProcTooFast`, or if /proc cannot be read.
 */
export function readProcesses(
  settle: (stat: ProcessStat, known: ProcessTable) => boolean = () => true,
): Map<number, ProcessStat> {
  const table = new Map<number, ProcessStat>()
  const done = new Set<string>()
  for (let round = 0; round < MAX_ROUNDS; round++) {
    let missed = false
    for (const name of readdirSync('/proc')) {
      if (!isPid(name) || done.has(name)) continue
      const line = readStatLine(name)
      const stat = parseStat(line)
      if (line === 'forbidden') done.add(name)
      else if (!stat || !settle(stat, table)) missed = true
      else {
        done.add(name)
        table.set(stat.pid, stat)
        missed ||= isEnding(stat)
      }
    }
    if (!missed) return table
  }
  throw new ProcTooFast()
}

/** The processes that one scan of /proc meets. Short-lived ones may be missing. */
export function listProcesses(): ProcessStat[] {
  return readdirSync('/proc')
    .filter(isPid)
    .flatMap((name) => readStat(Number(name)) ?? [])
}

/**
 * Whether a user process was executed with exactly this variable, given as `NAME=value\\0`. `no`: it was not, or its
 * environment may not be read. `blank`: it has no environment at the moment, within execve(2) or after its main thread
 * has ended.
 */
export function carries(pid: number, variable: Buffer): 'yes' | 'no' | 'blank' | 'gone' {
  const path = `/proc/${pid}/environ`
  let length = readProc(path)
  if (length === 0 || length === 'gone') {
    const layout = environmentLayout(pid)
    if (layout !== 'empty') return layout
    // The file is read twice, since execve also passes through this state.
    length = readProc(path)
  }
  if (typeof length !== 'number') return length === 'gone' ? 'gone' : 'no'
  for (let at = scratch.indexOf(variable); at >= 0; at = scratch.indexOf(variable, at + 1)) {
    // The bytes behind `length` are left over from another read.
    if (at + variable.length > length) return 'no'
    if (at === 0 || scratch[at - 1] === 0) return 'yes'
  }
  return 'no'
}

/** Distinguishes a program that was started without an environment from one within execve, or without memory. */
function environmentLayout(pid: number): 'empty' | 'blank' | 'gone' {
  const line = readStatLine(pid)
  if (line === 'gone') return 'gone'
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ')
  const [memory, start, end] = [fields[20], fields[47], fields[48]]
  return memory !== '0' && start === end && end !== '0' ? 'empty' : 'blank'
}

export function isKernelThread(stat: ProcessStat): boolean {
  return (stat.flags & 0x0020_0000) !== 0
}

/** The process executes no more instructions of its own, although it may not be a zombie yet. */
export function isEnding(stat: ProcessStat): boolean {
  return (stat.flags & 0x4) !== 0 && stat.threads <= 1
}

/** A main thread that ended before the others shows Z while they still run, so the number of threads counts as well. */
export function isDead(stat: ProcessStat): boolean {
  return 'ZXx'.includes(stat.state) && stat.threads <= 1
}

export function isSame<T extends ProcessIdentity>(a: ProcessIdentity, b: T | undefined): b is T {
  return b !== undefined && a.pid === b.pid && a.startTime === b.startTime
}

export function threadStates(pid: number): string[] {
  let names: string[]
  try {
    names = readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
  return names.flatMap((name) => parseStat(readStatLine(`${pid}/task/${name}`))?.state ?? [])
}

/** Its arguments, each with a final zero byte. Empty if they cannot be read. */
export function commandLineOf(pid: number): string {
  const length = readProc(`/proc/${pid}/cmdline`)
  return typeof length === 'number' ? scratch.toString('latin1', 0, length) : ''
}

function isPid(name: string): boolean {
  const first = name.charCodeAt(0)
  return first >= 0x31 && first <= 0x39
}

/** An id that changes with each boot of the machine. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
}
