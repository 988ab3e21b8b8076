import { closeSync, openSync, readdirSync, readSync } from 'node:fs'

/** One line of /proc/PID/stat, as far as it is needed here (proc_pid_stat(5)). */
export interface ProcessStat {
  readonly pid: number
  readonly comm: string
  /** State letter of the main thread. */
  readonly state: string
  readonly ppid: number
  readonly pgrp: number
  readonly session: number
  readonly threads: number
  /** Clock ticks since boot, as written; with the pid it names a process for good. */
  readonly startTime: string
}

export type ProcessTable = ReadonlyMap<number, ProcessStat>

// Everything here reads synchronously, so that one buffer does: a scan costs 8 us a process instead of 18.
const scratch = Buffer.allocUnsafeSlow(64 * 1024)

/** What a process that ended, or one of another user, answers. Anything else (EMFILE…) must not look like that. */
const NOT_OURS_TO_SEE = new Set(['ENOENT', 'ESRCH', 'EACCES', 'EPERM'])

/** A whole file, valid until the next call; `undefined` where the process has gone or may not be looked at. */
function readProc(path: string): Buffer | undefined {
  let fd: number | undefined
  try {
    fd = openSync(path, 'r')
    let length = readSync(fd, scratch)
    if (length < scratch.length) return scratch.subarray(0, length)
    const chunks: Buffer[] = []
    for (; length > 0; length = readSync(fd, scratch)) chunks.push(Buffer.from(scratch.subarray(0, length)))
    return Buffer.concat(chunks)
  } catch (error) {
    if (NOT_OURS_TO_SEE.has((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw error
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

/** Parses /proc/PID/stat; `comm` may itself hold spaces, parentheses and newlines, so its end is the last `)`. */
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
    session: Number(fields[3]),
    threads: Number(fields[17]),
    startTime: fields[19]!,
  }
}

/** The process as it is now; `undefined` where there is none, or none that may be looked at. */
export function readStat(pid: number): ProcessStat | undefined {
  const bytes = readProc(`/proc/${pid}/stat`)
  return bytes && parseStat(bytes.toString('latin1'))
}

/**
 * Every process that /proc shows, in the order of pids. Not one instant: a process can end or fork meanwhile.
 * Throws where /proc cannot be read, since nothing may then be called dead.
 */
export function readProcesses(): Map<number, ProcessStat> {
  const table = new Map<number, ProcessStat>()
  for (const name of readdirSync('/proc')) {
    if (!isPid(name)) continue
    const stat = readStat(Number(name))
    if (stat) table.set(stat.pid, stat)
  }
  return table
}

/**
 * Whether the process was executed with exactly this variable, given as `NAME=value`. False as well where its
 * environment is not readable.
 */
export function carries(pid: number, variable: string): boolean {
  const environ = readProc(`/proc/${pid}/environ`)
  if (!environ) return false
  const wanted = Buffer.from(`${variable}\0`)
  for (let at = environ.indexOf(wanted); at >= 0; at = environ.indexOf(wanted, at + 1)) {
    if (at === 0 || environ[at - 1] === 0) return true
  }
  return false
}

/**
 * Whether nothing of the process runs any more. A main thread that ended before the others shows Z while they
 * run on; only the number of threads tells it from a true zombie.
 */
export function isDead(stat: ProcessStat): boolean {
  return 'ZXx'.includes(stat.state) && stat.threads <= 1
}

/** The pid and start time name the same process. */
export function isSame(a: ProcessStat, b: ProcessStat | undefined): boolean {
  return b !== undefined && a.pid === b.pid && a.startTime === b.startTime
}

/** Whether a name in /proc is a process. */
export function isPid(name: string): boolean {
  const first = name.charCodeAt(0)
  return first >= 0x31 && first <= 0x39
}
