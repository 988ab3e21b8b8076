import { readlinkSync } from 'node:fs'
import { isSame, type ProcessIdentity, type ProcessStat, type ProcessTable, readProcesses } from './proc.ts'

/**
 * Whether this process and its children are alone in a PID namespace: the process is PID 1, as a container's command
 * is. In that case no process inside can kill or stop it, and the kernel kills all others when it ends. Call it once,
 * before the workload starts. Throws if /proc cannot be read.
 */
export function isAlone(): boolean {
  // A /proc of another PID namespace shows other processes.
  if (process.pid !== 1 || readlinkSync('/proc/self') !== '1') return false
  return findAloneMembers(readProcesses()).size === 0
}

/**
 * All processes of the workload's own namespace, except those that entered from outside (`kubectl exec`, exec probes):
 * these descend from a process without a parent in it.
 */
export function findAloneMembers(table: ProcessTable): Map<number, ProcessStat> {
  const members = new Map<number, ProcessStat>()
  for (const stat of table.values()) {
    if (stat.pid !== 1 && !cameFromOutside(table, stat)) members.set(stat.pid, stat)
  }
  return members
}

function cameFromOutside(table: ProcessTable, stat: ProcessStat): boolean {
  // Bounded by the table's size: a scan is not atomic, and reused pids could form a circle.
  let current: ProcessStat | undefined = stat
  for (let steps = 0; current && steps <= table.size; steps++) {
    if (current.pid === 1) return false
    if (current.ppid === 0) return true
    current = table.get(current.ppid)
  }
  // The parent ended during the scan, so the child now belongs to PID 1.
  return false
}

/** Members of the last scan, by pid. */
export type Seen = ReadonlyMap<number, ProcessIdentity>

/**
 * The members of the workload if other processes share the PID namespace. A process is a member if
 *
 * 1. it was one in the last scan, or
 * 2. it has the marker, which survives setsid, double forks and reparenting, or
 * 3. its parent is a member.
 *
 * 1 is for processes without a readable marker: a cleared environment, one that setproctitle wrote over (gunicorn,
 * PostgreSQL), or a process that is not dumpable. Such a process is lost if it leaves its parent between two scans.
 *
 * `marked` contains the pids that have the marker. It may leave out those of rule 1. `self` and its ancestors are never
 * members, even if they have the marker.
 */
export function findMembers(
  table: ProcessTable,
  seen: Seen,
  marked: ReadonlySet<number>,
  self: number,
): Map<number, ProcessStat> {
  const excluded = ancestry(table, self)
  const candidates = [...table.values()].filter(({ pid }) => !excluded.has(pid))
  const children = Map.groupBy(candidates, ({ ppid }) => ppid)
  const members = new Map<number, ProcessStat>()
  for (const stat of candidates)
    if (isSame(stat, seen.get(stat.pid)) || marked.has(stat.pid)) members.set(stat.pid, stat)
  // A Map's iterator also visits entries added during the loop, so this descends to the leaves. Scans are not atomic:
  // the parent's pid may already belong to another process.
  for (const [pid, parent] of members)
    for (const child of children.get(pid) ?? [])
      if (Number(child.startTime) >= Number(parent.startTime)) members.set(child.pid, child)
  return members
}

function ancestry(table: ProcessTable, self: number): Set<number> {
  const pids = new Set<number>([self, 1])
  for (let pid = table.get(self)?.ppid; pid && !pids.has(pid); pid = table.get(pid)?.ppid) pids.add(pid)
  return pids
}
