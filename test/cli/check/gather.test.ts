import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { check } from '../../../agent/cli/check/check.ts'
import { gather } from '../../../agent/cli/check/gather.ts'
import { reply, ScriptedServer, status } from '../../kube/scripted-server.ts'
import { AGENT, podWith } from '../agents.ts'
import { findingsIn, healthy, type Loose } from './facts.ts'

type Answer = readonly [code: number, body: object]

const PODS = '/api/v1/namespaces/ns/pods'
const APPS = '/apis/apps/v1/namespaces/ns'
const FORBIDDEN: Answer = [403, status(403, 'Forbidden', 'x is forbidden: User "me" cannot do that')]
const REVIEWS = '/apis/authentication.k8s.io/v1/selfsubjectreviews'
const ACCESS = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews'
const PROXIED = `${PODS}/a:8090/proxy/status`

/** What is gathered from an API server that has nothing but these, and the paths that it was asked for. */
async function gathered(answers: Readonly<Record<string, Answer>>, env: NodeJS.ProcessEnv = {}) {
  await using server = await ScriptedServer.start(({ url }, response) => {
    const known: Readonly<Record<string, Answer>> = {
      '/version': [200, { major: '1', minor: '34' }],
      [ACCESS]: [200, { status: { allowed: true } }],
      [PODS]: [200, { items: [] }],
      ...answers,
    }
    reply(response, ...(known[url.pathname] ?? [404, status(404, 'NotFound')]))
  })
  const directory = await mkdtemp(join(tmpdir(), 'check-'))
  try {
    const kubeconfig = join(directory, 'config')
    await writeFile(
      kubeconfig,
      JSON.stringify({
        clusters: [{ name: 'c', cluster: { server: server.url } }],
        users: [{ name: 'u', user: { token: 't' } }],
        contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
        'current-context': 'x',
      }),
    )
    const wanted = { leaseName: null, leaseNamespace: 'ns', kubeconfig, context: null, container: null }
    const facts = await gather(wanted, { env })
    return { facts, asked: server.requests.map(({ url }) => url.pathname) }
  } finally {
    await rm(directory, { recursive: true })
  }
}

const outcomesOf = (facts: Parameters<typeof check>[0]) =>
  Object.fromEntries(check(facts).map(({ code, outcome }) => [code, outcome]))

describe('what a namespace has', () => {
  test('is told also where agents may not be asked by way of the API server', async () => {
    const { facts } = await gathered({
      [PODS]: [200, { items: [podWith(AGENT)] }],
      [PROXIED]: FORBIDDEN,
      [ACCESS]: [200, { status: { allowed: false } }],
    })
    assert.match(
      facts.cluster!.hidden.get('pods/proxy') ?? '',
      /"get" pods\/proxy "a:8090"[^,]*: add the verb/,
    )
    assert.doesNotMatch(facts.cluster!.hidden.get('pods/proxy')!, /--url/)
    const found = outcomesOf(facts)
    assert.deepEqual(
      [found['operator-proxy-pods'], found['replica-answers'], found['replica-problem']],
      ['warning', 'unknown', 'unknown'],
    )
  })

  test('is not told of clocks where the Lease cannot be read, and says that', async () => {
    const lease = '/apis/coordination.k8s.io/v1/namespaces/ns/leases/langflow-leader-lock'
    for (const [answer, why] of [
      [FORBIDDEN, /: .*"get" leases\.coordination\.k8s\.io "langflow-leader-lock"/],
      [[404, status(404, 'NotFound')], /: there is no Lease "langflow-leader-lock"/],
    ] as const) {
      const { facts } = await gathered({ [lease]: answer })
      const said = findingsIn(check(facts))['clock-server']?.[0]
      assert.equal(said?.outcome, 'unknown')
      assert.match(said?.message ?? '', why)
    }
  })

  test('is, for an agent that looks at itself in its pod, that agent alone', async () => {
    const waiting = { state: { waiting: { reason: 'CrashLoopBackOff' } } }
    const pod: Loose = podWith(AGENT, { phase: 'Running', containerStatuses: [{ name: 'x', ...waiting }] })
    pod.spec.serviceAccountName = 'own'
    const { facts, asked } = await gathered(
      {
        [REVIEWS]: [200, { status: { userInfo: { username: 'system:serviceaccount:ns:own' } } }],
        [PODS]: [200, { items: [pod] }],
        [PROXIED]: FORBIDDEN,
        [`${APPS}/deployments`]: FORBIDDEN,
        [`${APPS}/statefulsets`]: FORBIDDEN,
      },
      {
        KUBERNETES_SERVICE_HOST: '127.0.0.1',
        POD_NAME: 'b',
        POD_UID: 'u',
        POD_TEMPLATE_HASH: 'h',
      },
    )
    assert.deepEqual(
      facts.bare.map(({ manifest }) => manifest.name),
      ['b'],
    )
    assert.ok(!asked.includes(PROXIED))
    const found = outcomesOf(facts)
    assert.deepEqual([found['agent-update-lease'], found['pod-starts']], ['ok', undefined])
    assert.ok(!Object.values(found).includes('error'), JSON.stringify(found))
  })

  test('tells a Secret that does not exist from one that may not be seen, and what a volume shows', async () => {
    const app: Loose = structuredClone(healthy().find(({ kind }) => kind === 'Deployment'))
    const { containers, volumes } = app.spec.template.spec
    containers[0].envFrom = ['absent', 'secret'].map((name) => ({ secretRef: { name } }))
    containers[0].volumeMounts.push({ name: 'robot', mountPath: '/robot' })
    volumes.push({ name: 'robot', secret: { secretName: 'robot' } })
    const secrets = '/api/v1/namespaces/ns/secrets'
    const { facts } = await gathered({
      [`${APPS}/deployments`]: [200, { items: [app] }],
      [`${secrets}/secret`]: FORBIDDEN,
      [`${secrets}/robot`]: [
        200,
        { metadata: { name: 'robot' }, type: 'kubernetes.io/service-account-token', data: {} },
      ],
    })
    assert.deepEqual([...facts.cluster!.hidden.keys()], ['Secret/secret'])
    const found = findingsIn(check(facts))
    assert.deepEqual(
      found['variable-sources']?.map(({ message }) => message),
      ['there is no Secret "absent" (envFrom), so that no pod starts: make it'],
    )
    assert.match(found['token-beside-flows']![0]!.message, /mounts a token \(the volume robot\)/)
  })
})
