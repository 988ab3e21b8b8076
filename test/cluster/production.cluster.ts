import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../harness/wait.ts'
import { changeOf, isReady, type Pod } from './kube.ts'
import { eventsOf, followed, momentOf, onlyLeaderAnswers, rollsOut } from './leadership.ts'
import { killContainers } from './processes.ts'
import { scenariosOn } from './scenario.ts'

/** Limit for a restart of both containers and a takeover, before the Lease expires. */
const RESTARTED_MS = 13_000
/** Two rounds of peer requests, one every 5 s. A rollout proceeds once a pod has been Ready for 5 s. */
const TWO_ROUNDS_MS = 11_000
/** Limit for the start of the containers, their probes, and the failure of the first watch. */
const REPORTED_MS = 45_000

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
  'if both containers of the leader’s pod are killed, the next term begins before the Lease expires',
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
    assert.ok(Math.max(...waits) < RESTARTED_MS)
    assert.ok(one.client.since(from).longestSilenceMs < RESTARTED_MS)
  },
)

scenario('a rollout of deploy/langflow-production.yaml succeeds with one handover', rollsOut)

interface Template {
  metadata: { annotations?: Record<string, string> }
  spec: { serviceAccountName: string }
}

async function readiness(pod: Pod | undefined): Promise<{ status: number; text: string }> {
  const url = `http://${pod?.status.podIP}:8090/readyz?exclude=leadership&verbose`
  const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) })
  return { status: answer.status, text: await answer.text() }
}

// The fault table covers other revisions that can't lead.
scenario(
  'a rollout without rights to the Lease stops, and the old leader serves without interruption',
  async (one, t) => {
    await one.available(2)
    const { epoch, leader, from } = await momentOf(one)
    const old = new Set((await one.pods()).map(({ metadata }) => metadata.name))
    const sound = await one.kubectl('get', one.name, '--output=jsonpath={.spec.template}')
    const template = JSON.parse(sound) as Template
    template.spec.serviceAccountName = 'default'
    template.metadata.annotations = { ...template.metadata.annotations, 'test/change': 'no-rights' }
    const patch = [{ op: 'replace', path: '/spec/template', value: template }]
    await one.kubectl('patch', one.name, '--type=json', '--patch', JSON.stringify(patch))
    const newPod = async () => (await one.pods()).find((pod) => changeOf(pod) === 'no-rights')
    const isRefused = async () => {
      const { status, text } = await readiness(await newPod()).catch(() => ({ status: 0, text: '' }))
      return status === 503 && /may not "(get|watch)"/.test(text)
    }
    await until('a new pod reports the right that it lacks', isRefused, REPORTED_MS)
    await sleep(TWO_ROUNDS_MS)
    const { status, text } = await readiness(await newPod())
    t.diagnostic(/\[-\]lease failed: (.*)/.exec(text)?.[1] ?? '')
    assert.equal(status, 503)
    const pods = (await one.pods()).filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    assert.deepEqual(new Set(pods.filter(isReady).map(({ metadata }) => metadata.name)), old)
    assert.deepEqual([one.lease.epoch, (await one.leader()).metadata.uid], [epoch, leader.metadata.uid])
    assert.equal(one.client.since(from).failed, 0)
  },
)
