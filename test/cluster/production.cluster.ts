import assert from 'node:assert/strict'
import { mono, until } from '../harness/wait.ts'
import { eventsOf, momentOf, onlyLeaderAnswers, withoutApiServer } from './leadership.ts'
import { isReady } from './objects.ts'
import { rollOut } from './rollout.ts'
import { scenariosOn } from './scenario.ts'

const SWITCHOVER_MS = 6_000
/** LangFlow is frozen from the renew deadline until the API server is back. */
const PAUSE_MS = 4_000

const scenario = scenariosOn({ base: 'production' })

scenario(
  'deploy/production installs, both of its pods are Ready, and only the leader is asked',
  async (one) => {
    await one.kubectl('rollout', 'status', one.workload, '--timeout=60s')
    await onlyLeaderAnswers(one)
    assert.equal((await one.pods()).filter(isReady).length, 2)
    const { status } = await one.leader()
    assert.deepEqual(
      (await one.endpoints()).flatMap(({ addresses }) => addresses),
      [status.podIP],
    )
  },
)

scenario('a rollout of deploy/production ends with success and one handover', async (one, t) => {
  await one.settled()
  const rollout = await rollOut(one, 2)
  t.diagnostic(JSON.stringify(rollout))
  assert.notEqual(rollout.allNewMs, null)
  assert.notEqual(rollout.statusMs, null)
  assert.equal(rollout.handovers, 1)
  assert.ok(rollout.awayMs < SWITCHOVER_MS)
})

scenario(
  'an API server that is stopped for 12 s costs a pause and no request: the same LangFlow goes on, in the same term',
  async (one, t) => {
    const { epoch, pid, leader, from, wall } = await withoutApiServer(one, 12_000)
    await until('LangFlow is thawed', () => eventsOf(one, leader, wall, 'workload_thawed').length > 0, 10_000)
    const thawed = mono()
    await until('100 calls after it', () => one.client.since(thawed).calls >= 100, 20_000)
    const tally = one.client.since(from)
    t.diagnostic(JSON.stringify(tally))
    const pause = ['doubt', 'workload_frozen', 'workload_thawed']
    assert.deepEqual(eventsOf(one, leader, wall, ...pause), pause)
    assert.deepEqual([one.lease.epoch, (await one.askPod(leader, '/')).pid], [epoch, pid])
    assert.equal(tally.failed, 0)
    assert.ok(tally.longestSilenceMs < PAUSE_MS)
  },
)

scenario('a drain evicts one pod, waits for its successor, and ends', async (one, t) => {
  await one.settled()
  await one.available(2)
  const { epoch, from } = await momentOf(one)
  const before = new Set((await one.pods()).map(({ metadata }) => metadata.uid))
  const node = (await one.leader()).spec.nodeName as string
  const drain = one.kubectl(
    'drain',
    node,
    '--ignore-daemonsets',
    '--delete-emptydir-data',
    '--pod-selector=app.kubernetes.io/name=langflow',
    '--timeout=120s',
  )
  try {
    // The only node: whoever replaces the first pod has nowhere to go until it takes pods again.
    await until(
      'the first pod is gone, the second serves, and a third waits for a node',
      async () => {
        const pods = await one.pods()
        const left = pods.filter(({ metadata: { uid } }) => before.has(uid))
        return (
          left.length === 1 &&
          left.every((pod) => isReady(pod) && pod.metadata.deletionTimestamp === undefined) &&
          pods.some(({ status }) => status.phase === 'Pending')
        )
      },
      60_000,
    )
  } finally {
    await one.kubectl('uncordon', node)
  }
  await drain
  await one.settled()
  t.diagnostic(JSON.stringify(one.client.since(from)))
  assert.ok((await one.pods()).every(({ metadata: { uid } }) => !before.has(uid)))
  assert.ok(one.lease.epoch > epoch)
  assert.ok(one.client.since(from).longestSilenceMs < SWITCHOVER_MS)
})
