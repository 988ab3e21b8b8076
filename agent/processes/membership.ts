import { readlinkSync } from 'node:fs'
import { type ProcessStat, type ProcessTable, readProcesses } from './proc.ts'

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
 * The workload's processes if it has its own namespace: all of them, regardless of their environment, session and
 * parent, except processes that entered from outside (`kubectl exec`, exec probes). These descend from a process
 * without a parent in this namespace.
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

/**
 * Findings of earlier scans, which outlive the evidence: start times, by the pid of each member and the id of each
 * session.
 */
export interface Seen {
  /** Members of the last scan. */
  readonly members: ReadonlyMap<number, string>
  /** Sessions that a member created, with the start time of their leader. */
  readonly sessions: ReadonlyMap<number, string>
}

export const NOTHING_SEEN: Seen = { members: new Map(), sessions: new Map() }

/**
 * The members of the workload if other processes share the PID namespace. A process is a member if
 *
 * 1. it was one in the last scan (same pid and start time), or
 * 2. a member created its session: no process can join a session from outside, or
 * 3. it has the marker, which survives setsid, double forks and reparenting, or
 * 4. its parent is a member.
 *
 * 1 and 2 are for processes without a readable marker: a cleared environment, one that setproctitle wrote over
 * (gunicorn, PostgreSQL), or a process that is not dumpable. Such a process is lost only if it also left its session
 * and its parent between two scans.
 *
 * `marked` contains the pids that have the marker. It may leave out those of rule 1 (`wasMember`). `self` and its
 * ancestors are never members, even if they have the marker.
 */
export function findMembers(
  table: ProcessTable,
  seen: Seen,
  marked: ReadonlySet<number>,
  self: number,
): { members: Map<number, ProcessStat>; seen: Seen } {
  const excluded = ancestry(table, self)
  // The kernel does not reuse a pid while it is the id of a session. If the leader is alive, it is the one that was
  // seen, or it proves that the old session is empty.
  const sessions = new Map(
    [...seen.sessions].filter(([id, start]) => (table.get(id)?.startTime ?? start) === start),
  )
  const candidates = [...table.values()].filter(({ pid }) => !excluded.has(pid))
  const children = Map.groupBy(candidates, ({ ppid }) => ppid)
  const members = new Map<number, ProcessStat>()
  for (const stat of candidates)
    if (wasMember(seen, stat) || sessions.has(stat.session) || marked.has(stat.pid))
      members.set(stat.pid, stat)
  // A Map's iterator also visits entries added during the loop, so this descends to the leaves. Scans are not atomic:
  // the parent's pid may already belong to another process.
  for (const [pid, parent] of members)
    for (const child of children.get(pid) ?? [])
      if (Number(child.startTime) >= Number(parent.startTime)) members.set(child.pid, child)
  return { members, seen: remember(members, sessions) }
}

/** Whether the process needs no other evidence. */
export function wasMember(seen: Seen, stat: ProcessStat): boolean {
  return seen.members.get(stat.pid) === stat.startTime
}

function remember(members: ReadonlyMap<number, ProcessStat>, sessions: ReadonlyMap<number, string>): Seen {
  const starts = new Map<number, string>()
  const made = new Map<number, string>()
  for (const stat of members.values()) {
    starts.set(stat.pid, stat.startTime)
    // Only sessions whose leader is a member count: a marked process may be in the session of a user's terminal.
    const start = members.get(stat.session)?.startTime ?? sessions.get(stat.session)
    if (start !== undefined) made.set(stat.session, start)
  }
  return { members: starts, sessions: made }
}

function ancestry(table: ProcessTable, self: number): Set<number> {
  const pids = new Set<number>([self, 1])
  for (let pid = table.get(self)?.ppid; pid && !pids.has(pid); pid = table.get(pid)?.ppid) pids.add(pid)
  return pids
}
