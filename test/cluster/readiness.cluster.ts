import assert from 'node:assert/strict'
import { eventually } from '../bench/takeover/wait.ts'
import { mono } from './client.ts'
import type { Installation } from './installation.ts'
import { isReady, type Manifest, type Pod } from './objects.ts'
import { scenariosOn } from './scenario.ts'

/** A leader asks its peers each 5 s; a pod that is Ready for 5 s lets the rollout go on. */
const LOOKED_TWICE_MS = 11_000
/** Container start, probes, and a watch that fails. */
const SAYS_SO_MS = 45_000

const scenario = scenariosOn({ traffic: 'label' })

type Template = {
  metadata: { annotations?: Record<string, string> }
  spec: {
    serviceAccountName: string
    initContainers: { name: string; env?: object[] }[]
    volumes: { name: string; projected?: { sources: { serviceAccountToken?: { audience?: string } }[] } }[]
  }
}

/** What is wrong with the new revision, and what it must say. */
const TRIES: readonly [what: string, reason: RegExp, change: (template: Template) => void][] = [
  [
    'a token that is not accepted',
    /401 Unauthorized/,
    ({ spec }) => {
      for (const { projected } of spec.volumes)
        for (const { serviceAccountToken } of projected?.sources ?? [])
          if (serviceAccountToken) serviceAccountToken.audience = 'somebody-else'
    },
  ],
  ['no rights', /may not "(get|watch)"/, runAs('nobody')],
  ['rights to read only', /may not "update"/, runAs('reader')],
  [
    'no way to the API server',
    /has not seen the Lease yet/,
    (template) => setEnv(template, 'KUBERNETES_SERVICE_HOST', '192.0.2.1'),
  ],
  [
    'another namespace',
    /leads by the Lease/,
    (template) => setEnv(template, 'LEADER_LEASE_NAMESPACE', 'default'),
  ],
]

function runAs(account: string) {
  return ({ spec }: Template) => {
    spec.serviceAccountName = account
  }
}

function setEnv({ spec }: Template, name: string, value: string): void {
  spec.initContainers.find((one) => one.name === 'agent')?.env?.push({ name, value })
}

/** May read the Lease, or nothing at all. */
function accounts(): Manifest[] {
  const rbac = 'rbac.authorization.k8s.io'
  const metadata = { name: 'reader' }
  return [
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'nobody' } },
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
    {
      apiVersion: `${rbac}/v1`,
      kind: 'Role',
      metadata,
      rules: [{ apiGroups: ['coordination.k8s.io'], resources: ['leases'], verbs: ['get', 'watch'] }],
    },
    {
      apiVersion: `${rbac}/v1`,
      kind: 'RoleBinding',
      metadata,
      roleRef: { apiGroup: rbac, kind: 'Role', name: 'reader' },
      subjects: [{ kind: 'ServiceAccount', name: 'reader' }],
    },
  ] as unknown as Manifest[]
}

/** Rolls this template out, and resolves with its new pod once that says what it lacks. */
async function rollOut(one: Installation, template: Template, what: string, reason: RegExp): Promise<Pod> {
  template.metadata.annotations = {
    ...template.metadata.annotations,
    'test/change': what.replaceAll(' ', '-'),
  }
  const patch = [{ op: 'replace', path: '/spec/template', value: template }]
  await one.kubectl('patch', one.workload, '--type=json', '--patch', JSON.stringify(patch))
  let found: Pod | undefined
  await eventually(`a new pod says: ${what}`, SAYS_SO_MS, async () => {
    found = (await one.pods()).find(
      ({ metadata }) => metadata.annotations?.['test/change'] === what.replaceAll(' ', '-'),
    )
    if (found?.status.podIP === undefined) return false
    const { status, text } = await readiness(found).catch(() => ({ status: 0, text: '' }))
    return status === 503 && reason.test(text)
  })
  return found ?? assert.fail()
}

async function readiness(pod: Pod): Promise<{ status: number; text: string }> {
  const answer = await fetch(`http://${pod.status.podIP}:8090/readyz?exclude=leadership&verbose`, {
    signal: AbortSignal.timeout(2_000),
  })
  return { status: answer.status, text: await answer.text() }
}

scenario('a rollout that could not lead stops, and the old leader serves all along', async (one, t) => {
  await one.available(2)
  await one.settled()
  const { epoch, holder } = one.lease
  const from = mono()
  await one.apply(accounts())
  const read = async () =>
    (JSON.parse(await one.kubectl('get', one.workload, '-ojson')) as { spec: { template: Template } }).spec
      .template
  const sound = JSON.stringify(await read())
  const old = new Set((await one.pods()).map(({ metadata }) => metadata.name))
  for (const [what, reason, change] of TRIES) {
    const template = JSON.parse(sound) as Template
    change(template)
    const pod = await rollOut(one, template, what, reason)
    await new Promise((resolve) => setTimeout(resolve, LOOKED_TWICE_MS))
    const { status, text } = await readiness(pod)
    t.diagnostic(`${what}: ${/\[-\]lease failed: (.*)/.exec(text)?.[1]}`)
    assert.equal(status, 503)
    const pods = (await one.pods()).filter(({ metadata }) => metadata.deletionTimestamp === undefined)
    assert.deepEqual(new Set(pods.filter(isReady).map(({ metadata }) => metadata.name)), old, what)
    assert.deepEqual([one.lease.epoch, one.lease.holder], [epoch, holder], what)
  }
  assert.equal(one.client.since(from).failed, 0)
})
