import type { ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { isDead, isSame, type ProcessStat, readProcesses, readStat } from '../../agent/processes/proc.ts'
import type { LoggedProcess } from '../harness/logged-process.ts'
import type { Pod } from '../harness/pod.ts'
import { mono } from '../harness/wait.ts'
import { Missed } from './faults/fault.ts'
import type { Slot } from './slot.ts'

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

/** After a launcher runs again: it looks at its clocks each 100 ms, as documented. */
const LOOK_MS = 100
/**
 * And from that look until the kernel has ended what it kills: the fault table allows 150 ms for a pair of replicas, and
 * here more than twice as many processes want the same cores.
 */
const KILL_MS = 300
const WAKING_MS = LOOK_MS + KILL_MS

interface Period {
  readonly from: number
  to: number
}

/**
 * When launchers were kept from executing by the run itself. In a pod only the launcher can end the workload: the one
 * documented limit under which a workload may outlive its Lease (`launcher stands still`, `machine woke up`).
 */
export class Stillness {
  readonly #periods = new Map<string, Period[]>()

  /** The launcher of this identity stands still, until what is returned is called; calls after the first do nothing. */
  begin(identity: string): () => void {
    const period: Period = { from: mono(), to: Number.POSITIVE_INFINITY }
    this.#periods.set(identity, [...(this.#periods.get(identity) ?? []), period])
    return () => {
      if (period.to === Number.POSITIVE_INFINITY) period.to = mono()
    }
  }

  /** Since when the launcher stood still at that time, both in monotonic ms, or had only just gone on. */
  since(identity: string, time: number): number | undefined {
    const periods = this.#periods.get(identity) ?? []
    return periods.find(({ from, to }) => time >= from && time <= to + WAKING_MS)?.from
  }
}

/** Resident MB of the agents and launchers that run now. */
export interface Memory {
  readonly agents: number[]
  readonly launchers: number[]
}

export function measureMemory(slots: readonly Slot[]): Memory {
  const memory: Memory = { agents: [], launchers: [] }
  for (const { pod } of slots) {
    add(memory.agents, () => pod.agent.pid)
    add(memory.launchers, () => treeOf(pod).launcher.pid)
  }
  return memory
}

function add(list: number[], pidOf: () => number): void {
  try {
    const status = readFileSync(`/proc/${pidOf()}/status`, 'latin1')
    const [, kilobytes] = /^VmRSS:\s+(\d+) kB$/m.exec(status) ?? []
    if (kilobytes !== undefined) list.push(Math.round(Number(kilobytes) / 102.4) / 10)
  } catch {
    // It is being started again.
  }
}
