import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { constants, getPriority, setPriority } from 'node:os'
import { glanceAtProcesses } from './proc.ts'

/** By how much the kernel takes them for killing first, in thousandths of the memory that there is. */
const OOM_SCORE = 100
const MOST_OOM_SCORE = 1000
/** By how much their nice value is higher. */
const NICE = 5

/**
 * Lets a process and all that descend from it give way to this one: where memory is short they are killed first, where the
 * CPU is they wait. Needs no privilege. What they fork or start later inherits it; what they had before this call is found
 * by looking until a look finds nobody new. Returns why one of them could not be made to; `null`: all do.
 */
export function giveWay(root: number): string | null {
  let problem: string | null = null
  const attempt = (act: () => void) => {
    try {
      act()
    } catch (error) {
      if (!isGone(error as NodeJS.ErrnoException)) problem ??= (error as Error).message
    }
  }
  const told = new Set<number>()
  for (let fresh = [root]; fresh.length > 0; fresh = descendants(root).filter((pid) => !told.has(pid))) {
    for (const pid of fresh) {
      told.add(pid)
      attempt(() => writeFileSync(`/proc/${pid}/oom_score_adj`, String(oomScore())))
      // Linux counts it for each thread.
      attempt(() => {
        for (const thread of readdirSync(`/proc/${pid}/task`)) setPriority(Number(thread), niceness())
      })
    }
  }
  return problem
}

function oomScore(): number {
  return Math.min(MOST_OOM_SCORE, Number(readFileSync('/proc/self/oom_score_adj', 'latin1')) + OOM_SCORE)
}

function niceness(): number {
  return Math.min(constants.priority.PRIORITY_LOW, getPriority() + NICE)
}

function descendants(root: number): number[] {
  const children = Map.groupBy(glanceAtProcesses(), ({ ppid }) => ppid)
  const found = [root]
  for (const pid of found)
    for (const child of children.get(pid) ?? []) if (!found.includes(child.pid)) found.push(child.pid)
  return found
}

function isGone({ errno }: NodeJS.ErrnoException): boolean {
  return errno === -constants.errno.ENOENT || errno === -constants.errno.ESRCH
}
