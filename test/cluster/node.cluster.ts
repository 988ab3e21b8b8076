// These tests disturb the whole node, so no other test may run beside them.
import assert from 'node:assert/strict'
import { until } from '../harness/wait.ts'
import { isReady } from './kube.ts'
import { assertPlanned, followed, momentOf } from './leadership.ts'
import { restartNode } from './processes.ts'
import { scenariosOn } from './scenario.ts'

const scenario = scenariosOn({ file: 'langflow-production.yaml' })

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
