// These tests disturb the whole node, so no other test may run beside them.
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { lives } from '../harness/scene.ts'
import { mono, until } from '../harness/wait.ts'
import type { Installation } from './installation.ts'
import { isReady } from './kube.ts'
import { assertPlanned, eventsOf, followed, type Moment, momentOf } from './leadership.ts'
import { nodeProgram, restartNode } from './processes.ts'
import { scenariosOn } from './scenario.ts'

/** Limit for the pause of clients: LangFlow is frozen from the renew deadline until the API server is back. */
const PAUSE_MS = 8_000

const scenario = scenariosOn({ file: 'langflow-production.yaml' })

/** Stops the API server for `ms`, right after a renewal, when the grant has almost its full length left. */
async function withoutApiServer(one: Installation, ms: number): Promise<Moment> {
  const { leader } = await momentOf(one)
  const isRenewed = async () => ((await one.status(leader)).leadership.killInMs ?? 0) > 13_700
  await until('an acknowledged renewal', isRenewed, 10_000)
  const { pid } = nodeProgram('kube-apiserver')
  const worker = await one.askPod(leader, '/')
  const moment = { leader, epoch: one.lease.epoch, pid: worker.pid, from: mono(), wall: Date.now() }
  process.kill(pid, 'SIGSTOP')
  try {
    await sleep(ms)
  } finally {
    if (lives(pid)) process.kill(pid, 'SIGCONT')
  }
  return moment
}

scenario(
  'if the API server stops for 12 s, clients see a pause and no error, and the same LangFlow continues in the same term',
  async (one, t) => {
    const { epoch, pid, leader, from, wall } = await withoutApiServer(one, 12_000)
    await until(
      'the thaw of LangFlow',
      () => eventsOf(one, leader, wall, 'workload_thawed').length > 0,
      10_000,
    )
    const thawed = mono()
    await until('100 calls after the thaw', () => one.client.since(thawed).calls >= 100, 20_000)
    const tally = one.client.since(from)
    t.diagnostic(JSON.stringify(tally))
    const pause = ['doubt', 'workload_frozen', 'workload_thawed']
    assert.deepEqual(eventsOf(one, leader, wall, ...pause), pause)
    assert.deepEqual([one.lease.epoch, (await one.askPod(leader, '/')).pid], [epoch, pid])
    assert.equal(tally.failed, 0)
    assert.ok(tally.longestSilenceMs < PAUSE_MS)
  },
)

scenario('a drain evicts one pod at a time, waits for its replacement, and ends', async (one, t) => {
  await one.available(2)
  const { epoch, from, leader } = await momentOf(one)
  const before = new Set((await one.pods()).map(({ metadata }) => metadata.uid))
  const node = leader.spec.nodeName
  const which = [
    '--ignore-daemonsets',
    '--delete-emptydir-data',
    '--pod-selector=app.kubernetes.io/name=langflow',
  ]
  const drain = one.kubectl('drain', node, ...which, '--timeout=120s')
  try {
    // The cluster has one node, so the replacement of the first pod stays Pending until the node is uncordoned.
    await until(
      'the first pod is gone, the second serves, and a third is Pending',
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
  assertPlanned(one, from)
})

scenario('after a restart of the node, one new leader serves', async (one, t) => {
  const moment = await momentOf(one)
  await restartNode()
  await followed(one, t, moment)
})
