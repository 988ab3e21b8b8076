import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { check } from '../../../agent/cli/check/check.ts'
import { gather } from '../../../agent/cli/check/gather.ts'
import { reply, ScriptedServer, status } from '../../kube/scripted-server.ts'
import { findingsIn, healthy, type Loose } from './facts.ts'

type Answer = readonly [code: number, body: object]

const NAMESPACE = '/api/v1/namespaces/ns'
const APPS = '/apis/apps/v1/namespaces/ns'
const FORBIDDEN: Answer = [403, status(403, 'Forbidden', 'x is forbidden: User "me" cannot do that')]
const REVIEWS = '/apis/authentication.k8s.io/v1/selfsubjectreviews'
const ACCESS = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews'

const kept = (object: Loose) => ({ ...object, metadata: { resourceVersion: '1', ...object.metadata } })

/** The facts from an API server that has nothing but these. */
async function gathered(answers: Readonly<Record<string, Answer>>, env: NodeJS.ProcessEnv = {}) {
  await using server = await ScriptedServer.start(({ url }, response) => {
    const known: Readonly<Record<string, Answer>> = {
      '/version': [200, { major: '1', minor: '34' }],
      [ACCESS]: [200, { status: { allowed: true } }],
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
    return await gather(wanted, { env })
  } finally {
    await rm(directory, { recursive: true })
  }
}

const outcomesOf = (facts: Parameters<typeof check>[0]) =>
  Object.fromEntries(check(facts).map(({ code, outcome }) => [code, outcome]))

describe('gather', () => {
  test('tells a Secret that does not exist from one that may not be read', async () => {
    const app: Loose = structuredClone(healthy().find(({ kind }) => kind === 'Deployment'))
    app.spec.template.spec.containers[0].envFrom = ['absent', 'secret'].map((name) => ({
      secretRef: { name },
    }))
    const facts = await gathered({
      [`${APPS}/deployments`]: [200, { items: [kept(app)] }],
      [`${NAMESPACE}/secrets/secret`]: FORBIDDEN,
    })
    assert.deepEqual([...facts.cluster!.hidden.keys()], ['Secret/secret'])
    const { 'variable-sources': found = [] } = findingsIn(check(facts))
    assert.equal(found.length, 1)
    assert.match(found[0]!.message, /"absent" \(envFrom\)/)
  })

  test('in the pod of an agent gathers that agent alone, by its own account and settings', async () => {
    const self = [200, { status: { userInfo: { username: 'system:serviceaccount:ns:own' } } }] as const
    const cannotList = { [`${APPS}/deployments`]: FORBIDDEN, [`${APPS}/statefulsets`]: FORBIDDEN }
    const settings = { LEADER_LEASE_NAME: 'mine', POD_NAME: 'b', POD_UID: 'u', POD_TEMPLATE_HASH: 'h' }
    const facts = await gathered(
      { [REVIEWS]: self, ...cannotList },
      { KUBERNETES_SERVICE_HOST: '127.0.0.1', ...settings },
    )
    const { self: own, cluster } = facts
    assert.deepEqual([own?.manifest.name, own?.names.account], ['b', 'own'])
    assert.deepEqual([...cluster!.leases], [['mine', false]])
    const found = outcomesOf(facts)
    assert.deepEqual([found['agent-update-lease'], found['langflow-found']], ['ok', 'unknown'])
    assert.ok(!Object.values(found).includes('error'), JSON.stringify(found))
  })

  test('for a person in some other pod, tells the version of the API server, and that there is no LangFlow', async () => {
    const self = [200, { status: { userInfo: { username: 'system:serviceaccount:ns:ci' } } }] as const
    const answers = { [REVIEWS]: self, '/version': [200, { major: '1', minor: '28+' }] } as const
    const facts = await gathered(answers, { KUBERNETES_SERVICE_HOST: '127.0.0.1' })
    const { 'langflow-found': found, 'kubernetes-version': version } = outcomesOf(facts)
    assert.deepEqual([facts.self, found, version], [null, 'error', 'error'])
  })
})
