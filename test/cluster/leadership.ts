import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { mono, until } from '../harness/wait.ts'
import type { Installation } from './installation.ts'
import type { Pod } from './objects.ts'
import { isAlive, nodeProgram, type Process, processesOf, theOne } from './processes.ts'

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
  return theOne(processesOf(pod, 'langflow'), 'workload.mjs', 'worker')
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

/** Stops the API server for so long, right after a renewal: some of the grant is used up in any case. */
export async function withoutApiServer(one: Installation, ms: number): Promise<Moment> {
  await one.settled()
  const leader = await one.leader()
  await until(
    'a renewal was acknowledged',
    async () => {
      const { leadership } = await one.status(leader)
      return (leadership.killInMs ?? 0) > 13_700
    },
    10_000,
  )
  const { pid } = nodeProgram('kube-apiserver')
  const moment = { ...(await momentOf(one)), from: mono(), wall: Date.now() }
  process.kill(pid, 'SIGSTOP')
  try {
    await until(`${ms} ms have passed`, () => mono() - moment.from >= ms, 2 * ms)
  } finally {
    if (isAlive(pid)) process.kill(pid, 'SIGCONT')
  }
  return moment
}

/** However it was installed: what a leader is to be asked. */
export async function onlyLeaderAnswers(one: Installation): Promise<void> {
  await one.settled()
  const from = mono()
  await until('100 calls', () => one.client.since(from).calls >= 100, 10_000)
  assert.equal(one.client.since(from).failed, 0)
  const since = one.answers.filter((answer) => answer.mono >= from)
  assert.deepEqual([...new Set(since.map(({ replica }) => replica))], [one.lease.holder])
}

/** However it was installed: how a leader ends whose pod is deleted. */
export async function deletedLeaderHandsOver(one: Installation, t: TestContext): Promise<void> {
  await one.settled()
  const { leader, epoch, from, wall } = await momentOf(one)
  await one.kubectl('delete', 'pod', leader.metadata.name, '--wait=false')
  await one.served(epoch + 1)
  t.diagnostic(JSON.stringify(one.client.since(from)))
  await one.settled()
  assert.equal(one.lease.epoch, epoch + 1)
  const ended = ['draining', 'workload_stopped', 'released']
  assert.deepEqual(eventsOf(one, leader, wall, ...ended), ended)
  assert.ok(one.client.since(from).longestSilenceMs < 6_000)
}
