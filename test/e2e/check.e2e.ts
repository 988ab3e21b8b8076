import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import type { Verdict } from '../../agent/cli/check/check.ts'
import { CASES, LEAST } from '../deploy/chart-cases.ts'
import { withTest } from '../deploy/helm.ts'
import { DEPLOY, only } from '../deploy/manifests.ts'
import { runBundle } from '../harness/bundle.ts'
import { ACCOUNT, startControlPlane } from '../harness/control-plane.ts'

const plane = await startControlPlane()
after(() => plane.close())
const namespace = await plane.newNamespace()
const apply = (text: string) => plane.kubectl(['apply', `--namespace=${namespace}`, '-f', '-'], text)
await apply(readFileSync(join(DEPLOY, 'langflow.yaml'), 'utf8'))
const stringData = {
  'secret-key': `${'k'.repeat(42)}A=`,
  'superuser-password': 'a-password',
  'database-url': 'postgresql://db/flows',
}
const metadata = { name: 'langflow' }
await apply(JSON.stringify({ apiVersion: 'v1', kind: 'Secret', metadata, stringData }))

/** `found`: the worst outcome of each rule that has one. */
async function run(args: readonly string[], stdin = '') {
  const { code, stdout } = await runBundle(['check', ...args, '-o', 'json'], {}, stdin)
  const { findings = [], unknown = [] } = JSON.parse(stdout) as Partial<Verdict>
  const unjudged = unknown.flatMap(({ codes }) => codes.map((code) => [code, 'unknown']))
  const judged = findings.toReversed().map(({ code, severity }) => [code, severity])
  const found: Readonly<Record<string, string>> = Object.fromEntries([...unjudged, ...judged])
  return { code, found, stdout }
}

test('check -f finds in no case of the chart an error or an unexpected warning', async () => {
  for (const [name, { values, warnings = [] }] of Object.entries(CASES)) {
    const { code, found } = await run(['-f', '-'], (await withTest(values)).text)
    const codes = Object.keys(found).filter((one) => ['error', 'warning'].includes(found[one]!))
    assert.deepEqual([code, codes], [0, warnings], name)
  }
})

describe('check of a cluster', () => {
  const asked = (kubeconfig: string) => run(['-n', namespace, '--kubeconfig', kubeconfig])

  test('the account of helm test may read all that check judges, except Secrets', async () => {
    const { manifests } = await withTest(LEAST)
    assert.deepEqual(only(manifests, 'Pod').spec.containers[0].args, ['check'])
    const name = only(manifests, 'Pod').spec.serviceAccountName
    const rights = manifests.filter(({ kind, metadata }) => kind !== 'Pod' && metadata.name === name)
    await apply(rights.map((one) => JSON.stringify(one)).join('\n---\n'))
    const { code, stdout } = await asked(await plane.serviceAccountKubeconfig(namespace, name))
    const { unknown = [] } = JSON.parse(stdout) as Partial<Verdict>
    assert.deepEqual([code, unknown.filter(({ cause }) => !/secrets/.test(cause))], [0, []])
  })

  test('an administrator gets a verdict on each check of deploy/langflow.yaml, and the missing verb of a Role', async () => {
    const { code, found } = await asked(plane.adminKubeconfig)
    assert.deepEqual([code, Object.values(found).includes('error')], [0, false], JSON.stringify(found))
    const readOnly = '[{"op":"replace","path":"/rules/0/verbs","value":["get","watch"]}]'
    await plane.kubectl(['patch', 'role', ACCOUNT, `-n=${namespace}`, '--type=json', `--patch=${readOnly}`])
    const broken = await asked(plane.adminKubeconfig)
    assert.deepEqual([broken.code, broken.found['agent-rights']], [1, 'error'])
  })

  test('the API server validates manifests as a dry run, and creates nothing', async () => {
    const at = ['-f', '-', '-n', namespace, '--kubeconfig', plane.adminKubeconfig]
    const text = readFileSync(join(DEPLOY, 'langflow.yaml'), 'utf8')
    assert.deepEqual((await run(at, text)).found['objects-valid'], undefined)
    const other = await run(at, text.replaceAll('name: langflow', 'name: other'))
    assert.deepEqual([other.found['objects-valid'], JSON.parse(other.stdout).validated], [undefined, true])
    const wrong = await run(at, text.replaceAll('targetPort: http', 'targetPort: no_port!'))
    assert.deepEqual([wrong.code, wrong.found['objects-valid']], [1, 'error'])
    const left = await plane.kubectl(['get', 'deployments', `--namespace=${namespace}`, '-o', 'name'])
    assert.equal(left.stdout.trim(), 'deployment.apps/langflow')
  })

  test('a user who may only list workloads gets the outcome "unknown" for other checks; one without rights, an error', async () => {
    const role = ['create', 'role', 'viewer', `-n=${namespace}`, '--verb=list']
    await plane.kubectl([...role, '--resource=deployments.apps,statefulsets.apps'])
    const subject = `--serviceaccount=${namespace}:viewer`
    await plane.kubectl(['create', 'rolebinding', 'viewer', `-n=${namespace}`, '--role=viewer', subject])
    for (const name of ['viewer', 'nobody'])
      await plane.kubectl(['create', 'serviceaccount', name, `-n=${namespace}`])
    const viewer = await asked(await plane.serviceAccountKubeconfig(namespace, 'viewer'))
    assert.deepEqual([viewer.code, viewer.found['agent-rights']], [0, 'unknown'])
    const nobody = await asked(await plane.serviceAccountKubeconfig(namespace, 'nobody'))
    assert.deepEqual([nobody.code, JSON.parse(nobody.stdout).error.code], [4, 'no_rights'])
  })
})
