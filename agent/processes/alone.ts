import { readlinkSync } from 'node:fs'
import { isDead, type ProcessStat, type ProcessTable, readProcesses } from './proc.ts'

/**
 * Whether this process has a PID namespace for itself and what it starts: it is PID 1, as a container's command is. From
 * inside nobody can kill or stop it then, and the kernel kills all others when it ends. Ask once, before the workload
 * starts. Throws where /proc cannot be read.
 */
export function isAlone(): boolean {
  // A /proc of another PID namespace would tell about other processes.
  if (process.pid !== 1 || readlinkSync('/proc/self') !== '1') return false
  return findAloneMembers(readProcesses()).size === 0
}

/**
 * Who belongs to the workload in a namespace of one's own: everybody, whatever they cleared or left, except what
 * came in from outside (`kubectl exec`, exec probes), which descends from a process without a parent in here.
 */
export function findAloneMembers(table: ProcessTable): Map<number, ProcessStat> {
  const members = new Map<number, ProcessStat>()
  for (const stat of table.values()) {
    if (stat.pid !== 1 && !cameFromOutside(table, stat)) members.set(stat.pid, stat)
  }
  return members
}

/**
 * SIGKILL to everything in the namespace but the caller (kill(2)), in one step that no fork escapes, and without /proc.
 * Looks again before it fires, because from anywhere else this would end a whole login session.
 */
export function killNamespace(): void {
  if (process.pid !== 1) return
  try {
    process.kill(-1, 'SIGKILL')
  } catch (error) {
    // ESRCH: nobody else is left. EPERM: only processes of other users are.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}

/**
 * How many dead children PID 1 has. Node reaps only what it has started itself: what lost its parent otherwise, since
 * tini was killed together with it, or came in from outside, stays in the process table for as long as PID 1 lives.
 */
export function countUnreaped(): number {
  return [...readProcesses().values()].filter((stat) => stat.ppid === 1 && isDead(stat)).length
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
