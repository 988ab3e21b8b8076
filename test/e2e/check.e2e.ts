import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Result } from '../../agent/cli/check/check.ts'
import { CASES } from '../deploy/chart-cases.ts'
import { rendered } from '../deploy/helm.ts'
import { DEPLOY } from '../deploy/manifests.ts'
import { BUNDLE } from '../harness/bundle.ts'
import { ACCOUNT, type ControlPlane, startControlPlane } from '../harness/control-plane.ts'

interface Output {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

function run(
  args: readonly string[],
  { stdin = '', env = {} }: { stdin?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<Output> {
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

/** The outcomes of the checks by their codes. */
function outcomes({ stdout }: Output): Record<string, Result['outcome']> {
  const { checks } = JSON.parse(stdout) as { checks: Result[] }
  return Object.fromEntries(checks.map(({ code, outcome }) => [code, outcome]))
}

describe('check -f', () => {
  for (const [name, { values, warnings = [] }] of Object.entries(CASES))
    test(`finds in the chart no error and no unexpected warning: ${name}`, async () => {
      const said = await run(['-f', '-', '-o', 'json'], { stdin: (await rendered(values)).text })
      const found = Object.entries(outcomes(said)).filter(([, one]) => one === 'error' || one === 'warning')
      assert.deepEqual([said.code, found], [0, warnings.map((code) => [code, 'warning'])])
    })
})

describe('check of a cluster', () => {
  let plane: ControlPlane
  let namespace: string
  before(async () => {
    plane = await startControlPlane()
    namespace = await plane.newNamespace()
    await apply(readFileSync(join(DEPLOY, 'langflow.yaml'), 'utf8'))
    await applySecret(`${'k'.repeat(42)}A=`)
  })
  after(() => plane?.close())

  const apply = (text: string) => plane.kubectl(['apply', `--namespace=${namespace}`, '-f', '-'], text)
  const applySecret = (key: string) => {
    const value = (text: string) => Buffer.from(text).toString('base64')
    const data = {
      'secret-key': value(key),
      'superuser-password': value('a-password'),
      'database-url': value('postgresql://db/flows'),
    }
    return apply(JSON.stringify({ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'langflow' }, data }))
  }
  const asked = (kubeconfig: string, ...args: string[]) =>
    run(['-n', namespace, '--kubeconfig', kubeconfig, '-o', 'json', ...args])
  /** Creates an account with these rules in the namespace, and returns its kubeconfig. */
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

  test('an administrator gets a verdict on each check, with one warning for deploy/langflow.yaml', async () => {
    const said = await asked(plane.adminKubeconfig)
    const found = Object.entries(outcomes(said)).filter(([, outcome]) => outcome !== 'ok')
    assert.deepEqual(found, [['local-files', 'warning']])
    assert.equal(said.code, 0)
    assert.equal((await asked(plane.adminKubeconfig, '--fail-on', 'warning')).code, 1)
  })

  test('a verb missing from the Role of the agent is an error with its name, and an invalid Fernet key is never shown', async () => {
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
    assert.match(said.stdout, /update leases\.coordination\.k8s\.io \\"langflow-leader-lock\\"/)
    assert.ok(!said.stdout.includes(key))
    const { rules } = JSON.parse(before) as { rules: object[] }
    await plane.kubectl(['patch', ...role, '--type=merge', `--patch=${JSON.stringify({ rules })}`])
    await plane.kubectl(['delete', 'secret', 'langflow', `--namespace=${namespace}`])
    const gone = await asked(plane.adminKubeconfig)
    const { 'variable-sources': sources, 'secret-key': none } = outcomes(gone)
    assert.deepEqual([gone.code, sources, none], [1, 'error', 'unknown'])
  })

  test('a user with access to workloads only gets the outcome "unknown" for all other checks', async () => {
    const rules = [{ apiGroups: ['apps'], resources: ['deployments', 'statefulsets'], verbs: ['list'] }]
    const said = await asked(await account('viewer', ...rules))
    const found = outcomes(said)
    assert.equal(said.code, 0)
    for (const code of [
      'objects-visible',
      'agent-update-lease',
      'peers',
      'disruption-budget',
      'lease-object',
    ])
      assert.equal(found[code], 'unknown', code)
    assert.match(said.stdout, /Service: ServiceAccount [^ ]+ may not .{0,2}"list.{0,2}" services/)
  })

  test('a namespace that does not exist leads to a one-line error and exit code 2', async () => {
    const said = await run(['-n', 'nowhere', '--kubeconfig', plane.adminKubeconfig, '-o', 'json'])
    assert.deepEqual([said.code, JSON.parse(said.stdout).error.code], [2, 'no_namespace'])
    assert.equal(said.stderr, 'langflow-leader: the namespace nowhere does not exist: correct it with -n\n')
  })

  test('without any access, the exit code is 4; in an empty namespace, the absence of LangFlow is an error', async () => {
    const said = await asked(await account('nobody'))
    assert.deepEqual([said.code, JSON.parse(said.stdout).error.code], [4, 'no_rights'])
    const empty = await run(['-n', 'default', '--kubeconfig', plane.adminKubeconfig, '-o', 'json'])
    assert.equal(outcomes(empty)['langflow-found'], 'error')
  })

  test('an unreachable API server leads to a one-line error and exit code 4', async () => {
    const kubeconfig = plane.adminKubeconfig
    await plane.stopApiServer()
    const said = await asked(kubeconfig)
    assert.equal(said.code, 4)
    assert.equal(JSON.parse(said.stdout).error.code, 'unreachable')
    assert.match(said.stderr, /^langflow-leader: cannot reach the API server at [^\n]+\n$/)
    await plane.startApiServer()
  })
})
