import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { mono, until } from '../harness/wait.ts'
import type { Installation } from './installation.ts'
import { changeOf, type Pod } from './kube.ts'

/** Limit for a takeover that doesn't wait until the Lease expires, 15 s after its last renewal. */
export const SWITCHOVER_MS = 12_000

/** Limit for a rollout of two replicas. */
const ALL_NEW_MS = 120_000

/** The leader with its epoch and process, right before the test acts. */
export interface Moment {
  readonly leader: Pod
  readonly epoch: number
  /** The PID of LangFlow's worker, in its own PID namespace. */
  readonly pid: number
  /** CLOCK_MONOTONIC in ms. */
  readonly from: number
  /** The same time as wall clock in ms. */
  readonly wall: number
}

/** Waits until the installation is settled, and returns its leader. */
export async function momentOf(one: Installation, replicas = 2): Promise<Moment> {
  await one.settled(replicas)
  const leader = await one.leader()
  const { pid } = await one.askPod(leader, '/')
  return { leader, epoch: one.lease.epoch, pid, from: mono(), wall: Date.now() }
}

/** The given kinds of events that one pod has logged since `since` (wall clock in ms), in the order of their times. */
export function eventsOf(one: Installation, pod: Pod, since: number, ...events: readonly string[]): string[] {
  return one.logs
    .ours(pod.metadata.name)
    .filter(({ time }) => Date.parse(time) >= since)
    .sort((a, b) => a.time.localeCompare(b.time))
    .flatMap(({ event }) => (event && events.includes(event) ? [event] : []))
}

/** Asserts that calls through the Service don't fail and that only the leader answers. */
export async function onlyLeaderAnswers(one: Installation): Promise<void> {
  const { from } = await momentOf(one)
  await until('100 calls', () => one.client.since(from).calls >= 100)
  assert.equal(one.client.since(from).failed, 0)
  const since = one.answers.filter((answer) => answer.mono >= from)
  assert.deepEqual([...new Set(since.map(({ replica }) => replica))], [one.lease.holder])
}

/** Asserts that a leader whose pod is deleted drains, stops LangFlow, releases the Lease and has a successor. */
export async function deletedLeaderHandsOver(one: Installation, t: TestContext): Promise<void> {
  const moment = await momentOf(one)
  const { leader, wall, from } = moment
  await one.kubectl('delete', 'pod', leader.metadata.name, '--wait=false')
  await followed(one, t, moment)
  const ended = ['draining', 'workload_stopped', 'released']
  assert.deepEqual(eventsOf(one, leader, wall, ...ended), ended)
  assertPlanned(one, from)
}

/** Asserts that clients saw only a short pause and, with fronts, no failed request. */
export function assertPlanned(one: Installation, from: number): void {
  const { longestSilenceMs, failed, failures } = one.client.since(from)
  assert.ok(longestSilenceMs < SWITCHOVER_MS)
  if (one.traffic === 'front') assert.equal(failed, 0, JSON.stringify(failures))
}

/** Asserts that exactly one new term begins and that the installation settles in it. */
export async function followed(one: Installation, t: TestContext, { epoch, from }: Moment): Promise<void> {
  await one.served(epoch + 1)
  await one.settled()
  t.diagnostic(JSON.stringify(one.client.since(from)))
  assert.equal(one.lease.epoch, epoch + 1)
}

/** Asserts that a rollout replaces all pods with one handover. In readiness mode, `kubectl rollout status` never ends. */
export async function rollsOut(one: Installation, t: TestContext): Promise<void> {
  const ready = one.traffic === 'readiness' ? 1 : 2
  await one.settled()
  await one.available(ready)
  const { epoch } = one.lease
  const from = mono()
  const change = await one.changeTemplate()
  const isNew = (pod: Pod) => changeOf(pod) === change && !pod.metadata.deletionTimestamp
  await until('all pods are new', async () => (await one.pods()).every(isNew), ALL_NEW_MS)
  await one.settled()
  if (one.traffic === 'front') await one.kubectl('rollout', 'status', one.name, '--timeout=60s')
  t.diagnostic(`${Math.round(mono() - from)} ms; ${JSON.stringify(one.client.since(from))}`)
  assert.equal(one.lease.epoch, epoch + 1)
  assertPlanned(one, from)
}
