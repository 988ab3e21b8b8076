import assert from 'node:assert/strict'
import { askOnce } from '../harness/client.ts'
import { until } from '../harness/wait.ts'
import { identityOf, isReady } from './kube.ts'
import { assertPlanned, eventsOf, followed, momentOf, onlyLeaderAnswers, rollsOut } from './leadership.ts'
import { killContainers } from './processes.ts'
import { scenariosOn } from './scenario.ts'

const scenario = scenariosOn({ file: 'langflow-production.yaml' })

scenario(
  'deploy/langflow-production.yaml can be installed, both pods are endpoints, and only the leader answers',
  async (one) => {
    await one.kubectl('rollout', 'status', one.name, '--timeout=60s')
    await onlyLeaderAnswers(one)
    assert.equal((await one.pods()).filter(isReady).length, 2)
    const of = (path: string) => [
      '--selector=kubernetes.io/service-name=langflow',
      `--output=jsonpath={.items[*].${path}}`,
    ]
    const endpoints = await one.kubectl('get', 'endpointslices', ...of('endpoints[*].addresses[*]'))
    const addresses = (await one.pods()).map(({ status }) => status.podIP)
    assert.deepEqual(endpoints.split(' ').sort(), addresses.sort())
    assert.equal(await one.kubectl('get', 'endpointslices', ...of('ports[*].port')), '8091')
    for (const address of addresses) {
      const { replica } = (await (await fetch(`http://${address}:8091/`)).json()) as { replica: string }
      assert.equal(replica, one.lease.holder)
    }
  },
)

scenario(
  'if both containers of the leader’s pod are killed, the pod releases its own ended term, and the next term begins',
  async (one, t) => {
    const moment = await momentOf(one)
    const { leader, from, wall } = moment
    killContainers(leader)
    await followed(one, t, moment)
    const waits = one.client.calls
      .filter(({ sentAt }) => sentAt >= from)
      .map((call) => call.endedAt - call.sentAt)
    t.diagnostic(`longest of ${waits.length} calls: ${Math.max(...waits).toFixed(0)} ms`)
    assert.deepEqual(eventsOf(one, leader, wall, 'released'), ['released'])
  },
)

scenario('a run of 25 s is answered while the leader’s pod is deleted', async (one, t) => {
  const moment = await momentOf(one)
  const run = askOnce(`${one.url}/slow=25000`, String, { withinMs: 60_000 })
  const inFlight = async () => (await one.status(moment.leader)).traffic.front?.inFlight
  await until('the run is in flight', async () => Number(await inFlight()) > 0)
  await one.kubectl('delete', 'pod', moment.leader.metadata.name, '--wait=false')
  await followed(one, t, moment)
  assert.equal((JSON.parse(await run) as { replica: string }).replica, identityOf(moment.leader))
  assertPlanned(one, moment.from)
})

scenario('a rollout of deploy/langflow-production.yaml succeeds with one handover', rollsOut)
