import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { check } from '../../../agent/cli/check/check.ts'
import { gather } from '../../../agent/cli/check/gather.ts'
import { validate } from '../../../agent/cli/check/validation.ts'
import { manifestOf } from '../../../agent/cli/manifests/manifest.ts'
import { kubeconfigFor } from '../../harness/api/api-server.ts'
import { temporaryDirectory } from '../../harness/temporary-directory.ts'
import { type Received, reply, ScriptedServer, status } from '../../kube/scripted-server.ts'
import type { Loose } from './manifest-set.ts'
import { tokenSecret } from './mistakes.ts'
import { sound } from './sound-manifests.ts'

type Answer = readonly [code: number, body: object]
type Answers = Readonly<Record<string, Answer>>

const NAMESPACE = '/api/v1/namespaces/ns'
const DEPLOYMENTS = '/apis/apps/v1/namespaces/ns/deployments'
const FORBIDDEN: Answer = [403, status(403, 'Forbidden', 'x is forbidden: User "me" cannot do that')]
const NOT_FOUND: Answer = [404, status(404, 'NotFound')]

const kept = (object: Loose) => ({ ...object, metadata: { resourceVersion: '1', ...object.metadata } })

/** Runs against an API server that has only these answers, by `METHOD path` or by the path alone. */
async function against<T>(
  answers: Answers,
  run: (options: Parameters<typeof gather>[0], requests: readonly Received[]) => Promise<T>,
  other: Answer = NOT_FOUND,
): Promise<T> {
  await using server = await ScriptedServer.start(({ method, url }, response) => {
    const all: Answers = { [NAMESPACE]: [200, kept({ metadata: { name: 'ns' } })], ...answers }
    reply(response, ...(all[`${method} ${url.pathname}`] ?? all[url.pathname] ?? other))
  })
  const kubeconfig = join(temporaryDirectory(), 'config')
  writeFileSync(kubeconfig, kubeconfigFor(server.url))
  const at = { leaseName: null, leaseNamespace: 'ns', kubeconfig, context: null, container: null }
  return await run(at, server.requests)
}

const gathered = (answers: Answers, other?: Answer) => against(answers, (at) => gather(at), other)

describe('gather', () => {
  test('rejects if the user may list no objects, so that a check of nothing does not pass', async () => {
    await assert.rejects(gathered({}, FORBIDDEN), { code: 'no_rights', exitCode: 4 })
  })

  test('distinguishes a missing Secret, a missing optional Secret, and one that the user may not read', async () => {
    const app: Loose = sound('production').workload
    const [langflow] = app.spec.template.spec.containers
    langflow.env = []
    langflow.envFrom = ['absent', 'optional', 'secret'].map((name) => ({
      secretRef: { name, optional: name === 'optional' },
    }))
    const { hidden } = await gathered({
      [DEPLOYMENTS]: [200, { items: [kept(app)] }],
      [`${NAMESPACE}/secrets/secret`]: FORBIDDEN,
    })
    assert.deepEqual([...hidden.keys()], ['Secret/absent', 'Secret/secret'])
    assert.match(hidden.get('Secret/absent')!, /does not exist/)
  })

  test('reads the Secrets that LangFlow mounts, which may have a token', async () => {
    const m = sound('production')
    m.pod.volumes.push({ name: 'api', secret: { secretName: tokenSecret(m) } })
    m.langflow.volumeMounts.push({ name: 'api', mountPath: '/api', readOnly: true })
    const deployments: Answer = [200, { items: [kept(m.workload)] }]
    const secret: Answer = [200, kept(m.get('Secret', 'api'))]
    const judged = async (answer: Answer) => {
      const answers = { [DEPLOYMENTS]: deployments, [`${NAMESPACE}/secrets/api`]: answer }
      const { findings, unknown } = check(await gathered(answers))
      const codes = [findings.map(({ code }) => code), unknown.flatMap(({ codes }) => codes)]
      return codes.map((all) => all.includes('token-beside-flows'))
    }
    assert.deepEqual(await judged(secret), [true, false])
    assert.deepEqual(await judged(FORBIDDEN), [false, true])
  })

  test('refuses a namespace that does not exist, but not one that the user may not read', async () => {
    await assert.rejects(gathered({ [NAMESPACE]: NOT_FOUND }), { code: 'no_namespace', exitCode: 2 })
    assert.ok((await gathered({ [NAMESPACE]: FORBIDDEN })).isCluster)
  })

  test('reads only bare pods as LangFlows of their own', async () => {
    const pod = (metadata: object) => kept({ metadata, spec: { containers: [{ name: 'langflow' }] } })
    const unfound = async (metadata: object) =>
      (await gathered({ [`${NAMESPACE}/pods`]: [200, { items: [pod(metadata)] }] })).unfound
    assert.match((await unfound({ name: 'a' }))!, /^Pod\/a:/)
    assert.match(
      (await unfound({ name: 'a', ownerReferences: [{ kind: 'ReplicaSet' }] }))!,
      /^found no LangFlow/,
    )
  })

  test('reads the Lease and the Roles of the account', async () => {
    const objects = sound('production')
    const list = (kind: string): Answer => [200, { items: [kept(objects.get(kind))] }]
    const role: Answer = [200, { items: [kept({ ...objects.get('Role'), rules: [] })] }]
    const rbac = '/apis/rbac.authorization.k8s.io/v1/namespaces/ns'
    const facts = await gathered({
      [DEPLOYMENTS]: list('Deployment'),
      [`${rbac}/roles`]: role,
      [`${rbac}/rolebindings`]: list('RoleBinding'),
    })
    const codes = check(facts).findings.map(({ code }) => code)
    for (const code of ['agent-rights', 'lease-object']) assert.ok(codes.includes(code), code)
  })
})

describe('validate', () => {
  const service = manifestOf({ apiVersion: 'v1', kind: 'Service', metadata: { name: 's' } })
  const validated = (answers: Answers, of = service) =>
    against(answers, async (at, requests) => {
      const problems = await validate([of], at)
      const writes = requests.filter(({ method }) => method !== 'GET')
      return { problems, writes: writes.map(({ method, url }) => `${method} ${url.pathname}${url.search}`) }
    })
  const CREATE = `POST ${NAMESPACE}/services?dryRun=All`

  test('sends each object as a dry run', async () => {
    const { problems, writes } = await validated({ [`${NAMESPACE}/services`]: [201, kept(service.value)] })
    assert.deepEqual([problems, writes], [[], [CREATE]])
  })

  test('rehearses a patch of an object that exists', async () => {
    const { problems, writes } = await validated({
      [`${NAMESPACE}/services`]: [409, status(409, 'AlreadyExists')],
      [`${NAMESPACE}/services/s`]: [422, status(422, 'Invalid', 'spec.ports: Required value')],
    })
    assert.deepEqual(writes, [CREATE, `PATCH ${NAMESPACE}/services/s?dryRun=All`])
    assert.equal(problems.length, 1)
    assert.ok(typeof problems[0] === 'object' && 'of' in problems[0] && problems[0].of === service)
  })

  test('does not judge an object that the user may not write, or whose kind the API server lacks', async () => {
    const forbidden = await validated({ [`${NAMESPACE}/services`]: FORBIDDEN })
    const other = await validated(
      {},
      manifestOf({ apiVersion: 'x.io/v1', kind: 'X', metadata: { name: 'x' } }),
    )
    for (const { problems } of [forbidden, other])
      assert.ok(typeof problems[0] === 'object' && 'unknown' in problems[0])
  })
})
