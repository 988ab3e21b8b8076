import assert from 'node:assert/strict'
import { eventually } from '../bench/takeover/wait.ts'
import { mono } from './client.ts'
import { onlyLeaderAnswers } from './leadership.ts'
import { eventsOf, momentOf, workerOf } from './moment.ts'
import { identityOf, isReady } from './objects.ts'
import { withoutApiServer } from './outage.ts'
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
  'with deploy/production a LangFlow that loses its worker is followed by the other at once',
  async (one, t) => {
    await one.settled()
    const { leader, epoch, from } = await momentOf(one)
    process.kill(workerOf(leader).pid, 'SIGKILL')
    await one.served(epoch + 1)
    t.diagnostic(JSON.stringify(one.client.since(from)))
    assert.notEqual(one.lease.holder, identityOf(leader))
    await one.settled()
    assert.equal(one.lease.epoch, epoch + 1)
  },
)

scenario(
  'with deploy/production an API server that is stopped for 12 s costs a pause and no request',
  async (one, t) => {
    const { epoch, pid, leader, from, wall } = await withoutApiServer(one, 12_000)
    await eventually(
      'LangFlow is thawed',
      10_000,
      () => eventsOf(one, leader, wall, 'workload_thawed').length > 0,
    )
    const thawed = mono()
    await eventually('100 calls after it', 20_000, () => one.client.since(thawed).calls >= 100)
    const tally = one.client.since(from)
    t.diagnostic(JSON.stringify(tally))
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
    await eventually(
      'the first pod is gone, the second serves, and a third waits for a node',
      60_000,
      async () => {
        const pods = await one.pods()
        const left = pods.filter(({ metadata: { uid } }) => before.has(uid))
        return (
          left.length === 1 &&
          left.every((pod) => isReady(pod) && pod.metadata.deletionTimestamp === undefined) &&
          pods.some(({ status }) => status.phase === 'Pending')
        )
      },
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
