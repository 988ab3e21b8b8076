import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Result } from '../../agent/cli/check/check.ts'
import { RUNNING_RULES } from '../../agent/cli/check/rules/cluster-rules.ts'
import { build, type Overlay } from '../deploy/kustomize.ts'
import { BUNDLE } from '../harness/bundle.ts'
import {
  ACCOUNT,
  type ControlPlane,
  controlPlaneAssets,
  startControlPlane,
} from '../harness/control-plane.ts'

const KUBECTL = join(controlPlaneAssets(), 'kubectl')

interface Said {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function run(
  args: readonly string[],
  { stdin = '', env = {} }: { stdin?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Said> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [BUNDLE, 'check', ...args],
      { env, maxBuffer: 2 ** 24 },
      (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr }),
    )
    child.stdin!.on('error', () => {}).end(stdin)
  })
}

/** Outcomes by code. */
function outcomes({ stdout }: Said): Record<string, Result['outcome']> {
  const { checks } = JSON.parse(stdout) as { checks: Result[] }
  return Object.fromEntries(checks.map(({ code, outcome }) => [code, outcome]))
}

function messages({ stdout }: Said, code: string): string {
  const { checks } = JSON.parse(stdout) as { checks: Result[] }
  return checks
    .find((one) => one.code === code)!
    .findings.map(({ message }) => message)
    .join('\n')
}

describe('check -f', () => {
  const overlays: Record<string, Overlay> = {
    base: { resources: ['base'] },
    production: { resources: ['production'] },
    'base with everything, front': {
      resources: ['base'],
      components: ['traffic-front', 'standby-warm', 'postgresql', 'monitoring', 'preset-fast'].map(
        (one) => `components/${one}`,
      ),
    },
    'base with a drill': { resources: ['base'], components: ['components/drill'] },
    'the StatefulSet': { resources: ['examples/statefulset'] },
    'the StatefulSet, front': {
      resources: ['examples/statefulset'],
      components: ['components/traffic-front'],
    },
    'production behind an Ingress': { resources: ['examples/ingress'] },
    'production behind a Gateway': { resources: ['examples/gateway'] },
    'the single container': { resources: ['examples/single-container'] },
  }
  for (const [name, overlay] of Object.entries(overlays))
    test(`finds no error in deploy/: ${name}`, async () => {
      const said = await run(['-f', '-', '-o', 'json'], { stdin: (await build(KUBECTL, overlay)).text })
      assert.deepEqual(
        [said.code, Object.entries(outcomes(said)).filter(([, outcome]) => outcome === 'error')],
        [0, []],
      )
    })
})

describe('check of a cluster', () => {
  let plane: ControlPlane
  let namespace: string
  before(async () => {
    plane = await startControlPlane()
    namespace = await plane.newNamespace()
    await apply((await build(KUBECTL, { resources: ['base'] })).text)
    await applySecret(`${'k'.repeat(42)}A=`)
  })
  after(() => plane?.close())

  const apply = (text: string) => plane.kubectl(['apply', `--namespace=${namespace}`, '-f', '-'], text)
  const applySecret = (key: string) => {
    const value = (text: string) => Buffer.from(text).toString('base64')
    const data = { 'secret-key': value(key), 'database-url': value('postgresql://db/flows') }
    return apply(JSON.stringify({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'langflow' }, data }))
  }
  const asked = (kubeconfig: string, ...args: string[]) =>
    run(['-n', namespace, '--kubeconfig', kubeconfig, '-o', 'json', ...args])
  /** An account that may do this in the namespace. */
  async function account(name: string, ...rules: object[]): Promise<string> {
    const metadata = { name, namespace }
    const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name }
    const version = 'rbac.authorization.k8s.io/v1'
    for (const object of [
      { apiVersion: 'v1', kind: 'ServiceAccount', metadata },
      { apiVersion: version, kind: 'Role', metadata, rules },
      {
        apiVersion: version,
        kind: 'RoleBinding',
        metadata,
        roleRef,
        subjects: [{ kind: 'ServiceAccount', name }],
      },
    ])
      await apply(JSON.stringify(object))
    return plane.serviceAccountKubeconfig(namespace, name)
  }

  test('whoever may do everything sees everything, and finds what deploy/base leaves open', async () => {
    const said = await asked(plane.adminKubeconfig)
    const found = Object.groupBy(Object.entries(outcomes(said)), ([, outcome]) => outcome)
    const codes = (outcome: Result['outcome']) => (found[outcome] ?? []).map(([code]) => code)
    assert.deepEqual(codes('error'), [])
    assert.deepEqual(codes('warning'), ['local-files', 'image-registry', 'network-ingress'])
    // Nothing makes pods of the Deployment here.
    assert.deepEqual(codes('unknown'), Object.keys(RUNNING_RULES))
    for (const code of codes('unknown')) assert.match(messages(said, code), / it has no pods$/)
    assert.equal(said.code, 0)
    assert.equal((await asked(plane.adminKubeconfig, '--fail-on', 'warning')).code, 1)
  })

  test('a verb that the agent lacks is an error that names it, and a key that Fernet refuses is never shown', async () => {
    const role = ['role', ACCOUNT, `--namespace=${namespace}`]
    const before = (await plane.kubectl(['get', ...role, '-o', 'json'])).stdout
    const key = '0123456789abcdef'.repeat(4)
    await applySecret(key)
    const patch = '[{"op":"replace","path":"/rules/0/verbs","value":["get","watch"]}]'
    await plane.kubectl(['patch', ...role, '--type=json', `--patch=${patch}`])
    const said = await asked(plane.adminKubeconfig)
    assert.equal(said.code, 1)
    const { 'agent-update-lease': update, 'secret-key': fernet, 'database-shared': database } = outcomes(said)
    assert.deepEqual([update, fernet, database], ['error', 'error', 'ok'])
    assert.match(
      messages(said, 'agent-update-lease'),
      /may not update leases\.coordination\.k8s\.io "langflow-leader-lock"/,
    )
    assert.ok(!said.stdout.includes(key))
    const { rules } = JSON.parse(before) as { rules: object[] }
    await plane.kubectl(['patch', ...role, '--type=merge', `--patch=${JSON.stringify({ rules })}`])
    await plane.kubectl(['delete', 'secret', 'langflow', `--namespace=${namespace}`])
    const gone = await asked(plane.adminKubeconfig)
    assert.match(messages(gone, 'variable-sources'), /^there is no Secret "langflow" \(LANGFLOW_SECRET_KEY/m)
    assert.deepEqual([gone.code, outcomes(gone)['secret-key']], [1, 'unknown'])
  })

  test('whoever may see the workload only is told what was not looked at, and what cannot be operated', async () => {
    const rules = [{ apiGroups: ['apps'], resources: ['deployments', 'statefulsets'], verbs: ['list'] }]
    const said = await asked(await account('viewer', ...rules))
    const found = outcomes(said)
    assert.equal(said.code, 0)
    for (const code of [
      'operator-get-lease',
      'operator-list-pods',
      'operator-proxy-pods',
      'operator-patch-lease',
    ])
      assert.equal(found[code], 'warning', code)
    for (const code of ['objects-visible', 'agent-update-lease', 'peers', 'disruption-budget', 'pod-starts'])
      assert.equal(found[code], 'unknown', code)
    assert.match(
      messages(said, 'objects-visible'),
      /^Service objects were not looked at: ServiceAccount "[^"]+" may not "list" services/m,
    )
  })

  test('whoever may see nothing is told that, not that there is no LangFlow', async () => {
    const said = await asked(await account('nobody'))
    assert.deepEqual([said.code, outcomes(said)['langflow-found']], [0, 'unknown'])
    assert.equal(
      outcomes(await run(['-n', 'default', '--kubeconfig', plane.adminKubeconfig, '-o', 'json']))[
        'langflow-found'
      ],
      'error',
    )
  })

  test('an agent whose workload is not known is looked at by its pod', async () => {
    const alone = await plane.newNamespace()
    const env = [{ name: 'LEADER_LEASE_NAME', value: 'mine' }]
    const spec = {
      serviceAccountName: 'default',
      initContainers: [{ name: 'agent', image: 'x', restartPolicy: 'Always', args: ['agent'], env }],
      containers: [{ name: 'langflow', image: 'x' }],
    }
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'p', namespace: alone }, spec }
    await plane.kubectl(['apply', '-f', '-'], JSON.stringify(pod))
    const said = await run(['-n', alone, '--kubeconfig', plane.adminKubeconfig, '-o', 'json'])
    const {
      'langflow-found': found,
      'replica-answers': answers,
      'agent-update-lease': update,
    } = outcomes(said)
    assert.deepEqual([found, answers, update], ['ok', 'warning', 'error'])
    assert.match(messages(said, 'lease-object'), /^there is no Lease mine, so/)
  })

  test("in a pod, the agent's own account looks at what it needs itself", async () => {
    const kubeconfig = await plane.serviceAccountKubeconfig(namespace, ACCOUNT)
    const env = { KUBERNETES_SERVICE_HOST: '127.0.0.1', POD_NAME: 'p', POD_UID: 'u', POD_TEMPLATE_HASH: 'h' }
    const args = ['-n', namespace, '--kubeconfig', kubeconfig, '-o', 'json']
    const fine = await run(args, { env })
    const found = outcomes(fine)
    assert.equal(fine.code, 0)
    for (const code of [
      'kubernetes-version',
      'api-latency',
      'agent-settings',
      'agent-update-lease',
      'lease-object',
    ])
      assert.equal(found[code], 'ok', code)
    assert.equal(found['operator-patch-lease'], undefined)
    const wrong = await run(args, {
      env: { ...env, LEADER_LEASE_NAME: 'others', LEADER_LEASE_DURATION: '20s' },
    })
    assert.equal(wrong.code, 1)
    assert.equal(outcomes(wrong)['agent-update-lease'], 'error')
    const settings = await run(args, { env: { ...env, LEADER_LEASE_DURATION: '5s' } })
    assert.match(messages(settings, 'agent-settings'), /--lease-duration \(5s\) must be longer/)
  })

  test('an API server that does not answer is one sentence and exit code 4', async () => {
    const kubeconfig = plane.adminKubeconfig
    await plane.stopApiServer()
    const said = await asked(kubeconfig)
    assert.equal(said.code, 4)
    assert.equal(JSON.parse(said.stdout).error.code, 'unreachable')
    assert.match(said.stderr, /^langflow-leader: cannot reach the API server at [^\n]+\n$/)
    await plane.startApiServer()
  })
})
