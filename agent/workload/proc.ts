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

/** Each takes 0.1-1 ms. On a busy machine two or three do. */
const MAX_ROUNDS = 200

export type ProcessTable = ReadonlyMap<number, ProcessStat>

// Everything here reads synchronously, so that one buffer does: a scan costs 8 us a process instead of 18.
const scratch = Buffer.allocUnsafeSlow(64 * 1024)
const FORBIDDEN = Buffer.alloc(0)

/** A whole file, valid until the next call; `undefined` where the process has gone, FORBIDDEN if not to be read. */
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
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return undefined
    if (code === 'EACCES' || code === 'EPERM') return FORBIDDEN
    // E.g. EMFILE: it must not look as if the process had ended.
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
 * Every process that /proc shows. Not one instant, but none is missed: whatever ended before it was read may have left
 * a child behind, so that the list is read again until each of its entries was read. `settle` looks further into a
 * process; its `false` asks for another round. Throws where /proc cannot be read, or not fast enough: then nothing may
 * be called dead.
 */
export function readProcesses(
  settle: (stat: ProcessStat, round: number) => boolean = () => true,
): Map<number, ProcessStat> {
  const table = new Map<number, ProcessStat>()
  const done = new Set<string>()
  for (let round = 0; round < MAX_ROUNDS; round++) {
    let missed = false
    for (const name of readdirSync('/proc')) {
      if (!isPid(name) || done.has(name)) continue
      const bytes = readProc(`/proc/${name}/stat`)
      const stat = bytes && parseStat(bytes.toString('latin1'))
      if (bytes === FORBIDDEN || (stat && settle(stat, round))) done.add(name)
      else missed = true
      if (stat && done.has(name)) table.set(stat.pid, stat)
    }
    if (!missed) return table
  }
  throw new Error('cannot tell which processes live: they come and go faster than /proc can be read')
}

/**
 * Whether the process was executed with exactly this variable, given as `NAME=value`. Also `no` where its environment
 * may not be read; `blank` where it has none yet, because it is within execve(2) (some never get one).
 */
export function carries(pid: number, variable: string): 'yes' | 'no' | 'blank' | 'gone' {
  const path = `/proc/${pid}/environ`
  let environ = readProc(path)
  if (environ?.length === 0 && environ !== FORBIDDEN) {
    if (!hasEmptyEnvironment(pid)) return 'blank'
    // Twice, since execve also passes through this state.
    environ = readProc(path)
  }
  if (!environ) return 'gone'
  const wanted = Buffer.from(`${variable}\0`)
  for (let at = environ.indexOf(wanted); at >= 0; at = environ.indexOf(wanted, at + 1)) {
    if (at === 0 || environ[at - 1] === 0) return 'yes'
  }
  return 'no'
}

/** Kernel threads and zombies (no memory), and programs started with none; not those within execve(2). */
function hasEmptyEnvironment(pid: number): boolean {
  const line = readProc(`/proc/${pid}/stat`)?.toString('latin1') ?? ''
  const fields = line.slice(line.lastIndexOf(')') + 2).split(' ')
  const [memory, start, end] = [fields[20], fields[47], fields[48]]
  return memory === '0' || (start === end && end !== '0')
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
