import assert from 'node:assert/strict'
import { mono, until } from '../harness/wait.ts'
import { momentOf } from './leadership.ts'
import { identityOf } from './objects.ts'
import { scenariosOn } from './scenario.ts'

/** From what the API server says of an endpoint to what kube-proxy does. */
const PROXY_MS = 1_000

const scenario = scenariosOn()

scenario('a third replica joins as a standby, and the leader stays', async (one) => {
  await one.settled()
  const { epoch, from } = await momentOf(one)
  await one.kubectl('scale', one.workload, '--replicas=3')
  await one.settled(3)
  assert.equal(one.lease.epoch, epoch)
  assert.equal(one.client.since(from).failed, 0)
})

scenario('scaled from three to one the leader stays', async (one) => {
  await one.settled(3)
  const { epoch, from } = await momentOf(one)
  await one.kubectl('scale', one.workload, '--replicas=1')
  await one.settled(1)
  assert.equal(one.lease.epoch, epoch)
  assert.equal(one.client.since(from).failed, 0)
})

scenario(
  'a pod that ends gets no request once its gate is closed, even with no other to send it to',
  async (one, t) => {
    await one.settled(1)
    const { leader, epoch } = await momentOf(one)
    const identity = identityOf(leader)
    // What the drain waits for: meanwhile LangFlow could answer.
    const inFlight = one.askPod(leader, '/slow=4000', 20_000)
    await one.kubectl('delete', 'pod', leader.metadata.name, '--wait=false')
    await until(
      'its gate is closed',
      async () => {
        const answer = await fetch(`http://${leader.status.podIP}:8090/readyz`)
        return answer.status === 503
      },
      10_000,
    )
    const closedAt = mono()
    await until(
      'its endpoint serves no more',
      async () => {
        const found = (await one.endpoints()).find(({ addresses }) =>
          addresses.includes(leader.status.podIP ?? ''),
        )
        return !found?.conditions.serving
      },
      10_000,
    )
    const toldAt = mono()
    assert.equal((await inFlight).epoch, epoch)
    const answers = one.answers.filter(({ replica, mono: at }) => replica === identity && at > closedAt)
    const last = answers.at(-1)?.mono ?? closedAt
    t.diagnostic(`gate closed; its endpoint is no more used after ${(last - closedAt).toFixed(0)} ms`)
    t.diagnostic(`its endpoint serves no more after ${(toldAt - closedAt).toFixed(0)} ms`)
    assert.ok(last < toldAt + PROXY_MS)
    await one.served(epoch + 1)
    await one.settled(1)
  },
)

scenario('scaled to nothing and back, another term begins', async (one) => {
  await one.kubectl('scale', one.workload, '--replicas=2')
  await one.settled()
  const { epoch } = await momentOf(one)
  await one.kubectl('scale', one.workload, '--replicas=0')
  await until('all pods are gone', async () => (await one.pods()).length === 0, 60_000)
  assert.equal(one.lease.holder, '')
  await one.kubectl('scale', one.workload, '--replicas=2')
  await one.served(epoch + 1)
  await one.settled()
})
