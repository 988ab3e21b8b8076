// What takes something from the whole node: nothing else may run there meanwhile.
import assert from 'node:assert/strict'
import { mono, until } from '../harness/wait.ts'
import { isReady } from './kube.ts'
import { assertPlanned, eventsOf, followed, momentOf, withoutApiServer } from './leadership.ts'
import { restartNode } from './processes.ts'
import { scenariosOn } from './scenario.ts'

/** LangFlow is frozen from the renew deadline until the API server is back. */
const PAUSE_MS = 4_000
const KILLED_AFTER_MS = 14_000

const scenario = scenariosOn({ base: 'production' })

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
  assertPlanned(one, from)
})

scenario(
  'an API server that is stopped for longer than a lease: killed in time, one leader later',
  async (one, t) => {
    const moment = await withoutApiServer(one, 25_000)
    const { leader, epoch, from, wall } = moment
    const last = Math.max(...one.beats.flatMap((beat) => (beat.epoch === epoch ? [beat.mono] : [])))
    t.diagnostic(`the last sign of life came ${(last - from).toFixed(0)} ms after the API server had stopped`)
    assert.ok(last < from + KILLED_AFTER_MS)
    await followed(one, t, moment)
    assert.deepEqual(eventsOf(one, leader, wall, 'lost'), ['lost'])
  },
)

scenario('a node that restarts leaves one leader', async (one, t) => {
  const moment = await momentOf(one)
  await restartNode()
  await followed(one, t, moment)
})
