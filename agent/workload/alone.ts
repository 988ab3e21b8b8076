import { readlinkSync } from 'node:fs'
import { type ProcessStat, type ProcessTable, readProcesses, readStat } from './proc.ts'

/** Names of init programs that end when their only child ends; the kernel then kills the whole namespace. */
const INITS = new Set(['tini', 'tini-static', 'docker-init', 'catatonit', 'dumb-init'])

/**
 * Whether this process has a PID namespace for itself and what it starts: it is PID 1, or the only child of a known
 * init that is. Ask once, before the workload starts. Throws where /proc cannot be read.
 */
export function isAlone(): boolean {
  return ownsNamespace() && findAloneMembers(readProcesses(), process.pid).size === 0
}

/**
 * Who belongs to the workload in a namespace of one's own: everybody, whatever they cleared or left, except what
 * came in from outside (`kubectl exec`, exec probes), which descends from a process without a parent in here.
 */
export function findAloneMembers(table: ProcessTable, self: number): Map<number, ProcessStat> {
  const members = new Map<number, ProcessStat>()
  for (const stat of table.values()) {
    if (stat.pid !== 1 && stat.pid !== self && !cameFromOutside(table, stat)) members.set(stat.pid, stat)
  }
  return members
}

/**
 * SIGKILL to everything in the namespace but PID 1 and the caller (kill(2)), in one step that no fork escapes.
 * Looks again before it fires, because anywhere else this would end a whole login session.
 */
export function killNamespace(): void {
  if (!ownsNamespace()) return
  try {
    process.kill(-1, 'SIGKILL')
  } catch (error) {
    // ESRCH: nobody else is left. EPERM: only processes of other users are.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}

function ownsNamespace(): boolean {
  // A /proc of another PID namespace would tell about other processes.
  if (readlinkSync('/proc/self') !== String(process.pid)) return false
  return process.pid === 1 || (process.ppid === 1 && INITS.has(readStat(1)?.comm ?? ''))
}

function cameFromOutside(table: ProcessTable, stat: ProcessStat): boolean {
  // Bounded by the table's size: a scan is not atomic, and reused pids could close a circle.
  let current: ProcessStat | undefined = stat
  for (let steps = 0; current && steps <= table.size; steps++) {
    if (current.pid === 1) return false
    if (current.ppid === 0) return true
    current = table.get(current.ppid)
  }
  // The parent ended during the scan: by now the child belongs to PID 1.
  return false
}
