import { isSame, type ProcessIdentity, type ProcessStat, type ProcessTable, readStat } from './proc.ts'

/** One scan of /proc, with the processes that belong to the workload. */
export type Scan = { readonly table: ProcessTable; readonly members: Map<number, ProcessStat> }

/**
 * Signals the targets, and a whole process group with one call if all its processes are members: a group signal reaches
 * children that are being forked, which no walk over pids can. Each target is read again right before its signal, so
 * that a reused pid is never hit.
 */
export function signalAll(
  targets: readonly ProcessStat[],
  { table, members }: Scan,
  signal: NodeJS.Signals,
): void {
  const shared = new Set<number>()
  for (const stat of table.values()) if (!members.has(stat.pid)) shared.add(stat.pgrp)
  const done = new Set<number>()
  for (const target of targets) {
    if (done.has(target.pgrp)) continue
    const now = readStat(target.pid)
    if (!isSame(target, now)) continue
    // While this process is in its group, the group's number cannot be reused.
    if (now.pgrp > 1 && now.pgrp === target.pgrp && !shared.has(now.pgrp)) {
      done.add(now.pgrp)
      send(-now.pgrp, signal)
    } else send(target.pid, signal)
  }
}

export function signalSame(one: ProcessIdentity, signal: NodeJS.Signals): void {
  if (isSame(one, readStat(one.pid))) send(one.pid, signal)
}

/** Signals a process group whose number is certain to be the workload's own. */
export function signalGroup(pgrp: number, signal: NodeJS.Signals): void {
  if (pgrp > 1) send(-pgrp, signal)
}

/**
 * To every process in the namespace except the caller (kill(2)), in one step that no fork escapes, and without /proc.
 * Outside of PID 1, this would end a whole login session.
 */
export function signalNamespace(signal: 'SIGSTOP' | 'SIGKILL'): void {
  if (process.pid === 1) send(-1, signal)
}

function send(target: number, signal: NodeJS.Signals): void {
  try {
    process.kill(target, signal)
  } catch (error) {
    // ESRCH: it has ended in the meantime. EPERM: it runs as another user, and will appear among the survivors.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}
