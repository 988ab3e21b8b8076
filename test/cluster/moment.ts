import { mono } from './client.ts'
import type { Installation } from './installation.ts'
import type { Pod } from './objects.ts'
import { type Process, processesOf, theOne } from './processes.ts'

/** Who leads, in which epoch and with which process: right before something happens. */
export interface Moment {
  readonly leader: Pod
  readonly epoch: number
  /** LangFlow's worker, as it calls itself. */
  readonly pid: number
  /** CLOCK_MONOTONIC in ms. */
  readonly from: number
  /** The same in wall clock ms. */
  readonly wall: number
}

export async function momentOf(one: Installation): Promise<Moment> {
  const leader = await one.leader()
  const { pid } = await one.askPod(leader, '/')
  return { leader, epoch: one.lease.epoch, pid, from: mono(), wall: Date.now() }
}

/** The agent's own process, not the init above it. */
export function agentOf(pod: Pod): Process {
  const inside = processesOf(pod, 'agent').filter(({ command }) => !command.includes('tini'))
  return theOne(inside, 'langflow-leader.mjs')
}

export function workerOf(pod: Pod): Process {
  return theOne(processesOf(pod, 'langflow'), 'stand-in.mjs', 'worker')
}

/** Those of these events that one pod has logged since then (wall clock, in ms), in the order in which they happened. */
export function eventsOf(one: Installation, pod: Pod, since: number, ...events: readonly string[]): string[] {
  one.logs.read()
  return one.logs
    .ours(pod.metadata.name)
    .filter(({ time }) => Date.parse(time) >= since)
    .sort((a, b) => a.time.localeCompare(b.time))
    .flatMap(({ event }) => (event && events.includes(event) ? [event] : []))
}
