import { readFileSync } from 'node:fs'
import { treeOf } from './container.ts'
import type { Seat } from './seat.ts'

/** Resident MB of the agents and launchers that run now. */
export interface Memory {
  readonly agents: number[]
  readonly launchers: number[]
}

export function measureMemory(seats: readonly Seat[]): Memory {
  const memory: Memory = { agents: [], launchers: [] }
  for (const { pod } of seats) {
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
