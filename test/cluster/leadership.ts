import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { eventually } from '../bench/takeover/wait.ts'
import { mono } from './client.ts'
import type { Installation } from './installation.ts'
import { eventsOf, momentOf } from './moment.ts'

/** However it was installed: what a leader is to be asked. */
export async function onlyLeaderAnswers(one: Installation): Promise<void> {
  await one.settled()
  const from = mono()
  await eventually('100 calls', 10_000, () => one.client.since(from).calls >= 100)
  assert.equal(one.client.since(from).failed, 0)
  const since = one.client.answers.filter((answer) => answer.mono >= from)
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
