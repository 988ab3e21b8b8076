import assert from 'node:assert/strict'
import { sourceOf } from '../../agent/cli/overview.ts'
import { AGENT_SETTINGS } from '../../agent/config/schema.ts'
import { mono, until } from '../harness/wait.ts'
import { identityOf, isReady } from './kube.ts'
import { deletedLeaderHandsOver, momentOf, onlyLeaderAnswers, rollsOut } from './leadership.ts'
import { scenariosOn } from './scenario.ts'

/** Limit for kube-proxy to apply a change of an endpoint. */
const PROXY_MS = 1_000

const scenario = scenariosOn()

scenario(
  'deploy/langflow.yaml can be installed under restricted Pod Security, and one of its two pods leads',
  async (one) => {
    const { leader, epoch } = await momentOf(one)
    assert.deepEqual((await one.pods()).filter(isReady).map(identityOf), [identityOf(leader)])
    assert.equal(epoch, 1)
    assert.equal((await one.status(leader)).problem, null)
  },
)

scenario('the status through the API server shows both pods without a problem', async (one) => {
  await one.settled()
  using source = await sourceOf({
    leaseName: AGENT_SETTINGS.leaseName.fallback,
    leaseNamespace: one.namespace,
    kubeconfig: null,
    context: null,
    url: null,
  })
  const { ok, problems, replicas } = await source.overview()
  assert.deepEqual([ok, problems], [true, []])
  const pods = (await one.pods()).map(({ metadata: { name } }) => name).sort()
  assert.deepEqual(
    replicas.map(({ pod, node, problem }) => [pod, node !== null, problem]),
    pods.map((name) => [name, true, null]),
  )
  assert.equal((await source.history())[0]?.epoch, 1)
})

scenario('requests through the Service do not fail, and only the leader gets them', onlyLeaderAnswers)

scenario('a leader whose pod is deleted hands over before it ends', deletedLeaderHandsOver)

scenario('a rollout of deploy/langflow.yaml replaces every pod with one handover', rollsOut)

scenario(
  'a terminating pod gets no request once its endpoint is gone, even if it is the only pod',
  async (one, t) => {
    await one.kubectl('scale', one.name, '--replicas=1')
    const { leader, epoch } = await momentOf(one, 1)
    const { name } = leader.metadata
    const identity = identityOf(leader)
    // The drain waits for this request, so LangFlow could still answer others.
    const inFlight = one.askPod(leader, '/slow=4000', 20_000)
    await one.kubectl('delete', 'pod', name, '--wait=false')
    const isClosed = async () => (await fetch(`http://${leader.status.podIP}:8090/readyz`)).status === 503
    await until('a closed gate', isClosed, 10_000)
    const closedAt = mono()
    const path = `{.items[*].endpoints[?(@.targetRef.name=="${name}")].conditions.serving}`
    const serves = () => one.kubectl('get', 'endpointslices', `--output=jsonpath=${path}`)
    await until('the end of its endpoint', async () => !(await serves()).includes('true'), 10_000)
    const removedAt = mono()
    assert.equal((await inFlight).epoch, epoch)
    const answers = one.answers.filter(({ replica, mono: at }) => replica === identity && at > closedAt)
    const last = answers.at(-1)?.mono ?? closedAt
    t.diagnostic(`last answer ${(last - closedAt).toFixed(0)} ms after the gate closed`)
    t.diagnostic(`endpoint removed ${(removedAt - closedAt).toFixed(0)} ms after the gate closed`)
    assert.ok(last < removedAt + PROXY_MS)
    await one.served(epoch + 1)
    await one.settled(1)
  },
)
