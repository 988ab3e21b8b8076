// These tests disturb the whole node, so no other test may run beside them.
import assert from 'node:assert/strict'
import { mono, until } from '../harness/wait.ts'
import { isReady } from './kube.ts'
import { assertPlanned, followed, momentOf } from './leadership.ts'
import { killContainers, nodeProgram, restartNode } from './processes.ts'
import { scenariosOn } from './scenario.ts'

const scenario = scenariosOn({ file: 'langflow-production.yaml', values: { reportLostPods: true } })

/** From the last sign of life until the address of a lost pod must have left the Service, and new connections are answered. */
const LEFT_MS = 20_000

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

scenario(
  'the address of a lost leader leaves the Service, and comes back when its kubelet lives',
  async (one, t) => {
    const { leader, epoch } = await momentOf(one)
    const kubelet = nodeProgram('kubelet').pid
    process.kill(kubelet, 'SIGSTOP')
    let lostAt: number
    try {
      killContainers(leader)
      lostAt = mono()
      const ready = '{.items[*].endpoints[?(@.conditions.ready==true)].addresses[*]}'
      const service = ['--selector=kubernetes.io/service-name=langflow', `--output=jsonpath=${ready}`]
      const listed = async () => (await one.kubectl('get', 'endpointslices', ...service)).split(' ')
      await until(
        'the end of its endpoint',
        async () => !(await listed()).includes(String(leader.status.podIP)),
      )
      const leftMs = mono() - lostAt
      t.diagnostic(`${Math.round(leftMs)} ms until its address left the Service`)
      assert.ok(leftMs < LEFT_MS)
      const lost = (await one.pods()).find(({ metadata }) => metadata.uid === leader.metadata.uid)
      const condition = lost?.status.conditions?.find(({ type }) => type === 'Ready')
      assert.equal(condition?.reason, 'LangflowLeaderLost')
      await one.served(epoch + 1)
      const later = mono()
      await until('100 calls', () => one.client.since(later).calls >= 100)
      assert.equal(one.client.since(later).failed, 0)
    } finally {
      process.kill(kubelet, 'SIGCONT')
    }
    await one.settled()
    await one.available(2)
    const failed = one.client.failed(lostAt).map(({ sentAt }) => Math.round(sentAt - lostAt))
    t.diagnostic(`${failed.length} calls failed, the last one sent after ${Math.max(0, ...failed)} ms`)
    assert.ok(Math.max(0, ...failed) < LEFT_MS)
  },
)
