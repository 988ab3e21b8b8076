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

const kept = (object: Loose) => ({ ...object, metadata: { resourceVersion: '1', ...object.metadata } })

/** The facts from an API server that has only these objects. `other`: its answer for all others. */
async function gathered(
  answers: Readonly<Record<string, Answer>>,
  other: Answer = [404, status(404, 'NotFound')],
) {
  await using server = await ScriptedServer.start(({ url }, response) => {
    const known: Readonly<Record<string, Answer>> = {
      '/version': [200, { major: '1', minor: '34' }],
      [NAMESPACE]: [200, { metadata: { name: 'ns' } }],
      ...answers,
    }
    reply(response, ...(known[url.pathname] ?? other))
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
    return await gather(wanted, { env: {} })
  } finally {
    await rm(directory, { recursive: true })
  }
}

const outcomesOf = (facts: Parameters<typeof check>[0]) =>
  Object.fromEntries(check(facts).map(({ code, outcome }) => [code, outcome]))

describe('gather', () => {
  test('rejects if the caller may list no objects, so that a check of nothing does not pass', async () => {
    await assert.rejects(gathered({}, FORBIDDEN), {
      code: 'no_rights',
      exitCode: 4,
      message:
        /^this account may read none of .+: run check on your machine with your kubeconfig, or run kubectl get .+ \| langflow-leader check -f -$/,
    })
  })

  test('distinguishes a missing Secret from a Secret that the caller may not read', async () => {
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
    assert.deepEqual(
      found.map(({ outcome }) => outcome),
      ['error', 'unknown'],
    )
    assert.match(found[0]!.message, /"absent" does not exist \(envFrom\)/)
    assert.match(found[1]!.message, /does not see Secret\/secret$/)
  })

  test('refuses a namespace that does not exist, but not one that the caller may not read', async () => {
    await assert.rejects(gathered({ [NAMESPACE]: [404, status(404, 'NotFound')] }), {
      code: 'no_namespace',
      exitCode: 2,
      message: 'the namespace ns does not exist: correct it with -n',
    })
    assert.equal((await gathered({ [NAMESPACE]: FORBIDDEN })).cluster?.version, '1.34')
  })

  test('reads only bare pods as LangFlows of their own', async () => {
    const pod = (metadata: object) => kept({ metadata, spec: { containers: [{ name: 'langflow' }] } })
    const unfound = async (metadata: object) =>
      (await gathered({ [`${NAMESPACE}/pods`]: [200, { items: [pod(metadata)] }] })).unfound
    assert.match((await unfound({ name: 'a' }))!, /^Pod\/a: its container langflow runs LangFlow/)
    assert.match(
      (await unfound({ name: 'a', ownerReferences: [{ kind: 'ReplicaSet' }] }))!,
      /^found no LangFlow/,
    )
  })

  test('reports the version of the API server, and that no LangFlow was found', async () => {
    const facts = await gathered({ '/version': [200, { major: '1', minor: '28+' }] })
    const { 'langflow-found': found, 'kubernetes-version': version } = outcomesOf(facts)
    assert.deepEqual([found, version], ['error', 'error'])
  })
})
