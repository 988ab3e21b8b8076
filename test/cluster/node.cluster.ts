import assert from 'node:assert/strict'
import { momentOf } from './moment.ts'
import { killPods, startKubelet, stopKubelet } from './node.ts'
import { scenariosOn } from './scenario.ts'

const scenario = scenariosOn()

scenario('a node that restarts leaves one leader', async (one, t) => {
  await one.settled()
  const { epoch, from } = await momentOf(one)
  const kubelet = await stopKubelet()
  killPods()
  startKubelet(kubelet)
  await one.served(epoch + 1)
  await one.settled()
  t.diagnostic(JSON.stringify(one.client.since(from)))
  assert.equal(one.lease.epoch, epoch + 1)
})
