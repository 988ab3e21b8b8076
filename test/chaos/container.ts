import type { ChildProcess } from 'node:child_process'
import { isDead, isSame, type ProcessStat, readProcesses, readStat } from '../../agent/processes/proc.ts'
import type { LoggedProcess } from '../support/logged-process.ts'
import type { Pod } from '../support/pod.ts'
import { Missed } from './faults/fault.ts'

export interface ContainerTree {
  /** PID 1. */
  readonly launcher: ProcessStat
  /** What reaps for the workload; `undefined` while none runs. */
  readonly tini: ProcessStat | undefined
  /** Everything else that lives in the container, the oldest first. */
  readonly workload: readonly ProcessStat[]
}

/** The living children of a process, the oldest first. */
function lineage(): (pid: number) => ProcessStat[] {
  const living = [...readProcesses().values()].filter((stat) => !isDead(stat))
  return (pid) =>
    living
      .filter(({ ppid }) => ppid === pid)
      .sort((a, b) => Number(a.startTime) - Number(b.startTime) || a.pid - b.pid)
}

/** PID 1 of a pod's container, as seen from here; `undefined` before it is started and after its end. */
export function launcherOf(pod: Pod): ProcessStat | undefined {
  return lineage()(pod.container.pid)[0]
}

/** The processes of a pod's container, as seen from here. Throws `Missed` while it is not up. */
export function treeOf(pod: Pod): ContainerTree {
  const childrenOf = lineage()
  const launcher = childrenOf(pod.container.pid)[0]
  if (launcher === undefined) throw new Missed('its container is not up')
  const [tini] = childrenOf(launcher.pid)
  const workload = tini === undefined ? [] : childrenOf(tini.pid)
  for (const one of workload) workload.push(...childrenOf(one.pid))
  return { launcher, tini, workload }
}

/** Signals the process that was looked at, and no other that has its number by now. */
export function signalSame(stat: ProcessStat, signal: NodeJS.Signals): void {
  if (isSame(stat, readStat(stat.pid))) process.kill(stat.pid, signal)
}

export function resume(process: LoggedProcess): void {
  if (!process.ended) process.signal('SIGCONT')
}

/** Resolves with the end of the process, although somebody may still hold its output. */
export function exitOf({ process: child }: { readonly process: ChildProcess }): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => child.once('exit', () => resolve()))
}
