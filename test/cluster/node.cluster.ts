import assert from 'node:assert/strict'
import { after, before } from 'node:test'
import { Installation } from './installation.ts'
import { Kube } from './kube.ts'
import { momentOf } from './moment.ts'
import { killPods, startKubelet, stopKubelet } from './node.ts'
import { scenario } from './scenario.ts'

const kube = new Kube()
let base: Installation

before(async () => {
  base = await Installation.start(kube)
})
after(async () => {
  await base?.close()
  await kube.close()
})

scenario(
  'a node that restarts leaves one leader',
  () => base,
  async (one, t) => {
    await one.settled()
    const { epoch, from } = await momentOf(one)
    const kubelet = await stopKubelet()
    killPods()
    startKubelet(kubelet)
    await one.served(epoch + 1)
    await one.settled()
    t.diagnostic(JSON.stringify(one.client.since(from)))
    assert.equal(one.lease.epoch, epoch + 1)
  },
)
