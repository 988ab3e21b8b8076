import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { VERSION } from '../../agent/version.ts'
import { CASES } from '../deploy/chart-cases.ts'
import { podTemplates, workloadOf } from '../deploy/consistency.ts'
import { withTest } from '../deploy/helm.ts'
import { DEPLOY, type Manifest, plainManifests } from '../deploy/manifests.ts'
import { NAMES } from '../deploy/plain-files.ts'
import { controlPlaneAssets, startControlPlane } from '../harness/control-plane.ts'
import { commandsOfReadme } from '../harness/readme.ts'

const plane = await startControlPlane({ podAdmission: true })
after(() => plane.close())

/** The operator's own kinds. Only their schemas are needed: no operator runs here. */
const EXTERNAL_SECRETS = join(import.meta.dirname, '../deploy/crds/external-secrets.yaml')
await plane.kubectl(['apply', '-f', EXTERNAL_SECRETS])
await plane.kubectl(['wait', '--for=condition=Established', '-f', EXTERNAL_SECRETS])
/** Groups whose kinds this API server does not have. */
const NOT_HERE = /^(gateway\.networking\.k8s\.io|monitoring\.coreos\.com|security\.istio\.io)\//

/** Runs the API server with the admission plugins of a cluster, in namespaces that enforce "restricted". */
describe('deploy/ on kube-apiserver', () => {
  async function restrictedNamespace(): Promise<string> {
    const namespace = await plane.newNamespace()
    const levels = ['enforce', 'warn', 'audit'].map((mode) => `pod-security.kubernetes.io/${mode}=restricted`)
    await plane.kubectl(['label', 'namespace', namespace, ...levels])
    // The ServiceAccount controller, which would create this account, doesn't run here.
    await plane.kubectl(['create', 'serviceaccount', 'default', `--namespace=${namespace}`])
    return namespace
  }
  const apply = (namespace: string, text: string, ...more: string[]) =>
    plane.kubectl(['apply', `--namespace=${namespace}`, '--validate=strict', ...more, '-f', '-'], text)

  /** Asserts that the API server accepts all objects and the pods of their templates without a warning. */
  async function assertAccepted(manifests: readonly Manifest[]): Promise<void> {
    const text = manifests.map((one) => JSON.stringify(one)).join('\n---\n')
    const namespace = await restrictedNamespace()
    const { stdout, stderr } = await apply(namespace, text)
    assert.equal(stderr, '')
    assert.equal(stdout.trim().split('\n').length, manifests.length)
    for (const { metadata, spec } of podTemplates(manifests)) {
      const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, name: 'one' }, spec }
      const accepted = await apply(namespace, JSON.stringify(pod), '--dry-run=server')
      assert.equal(accepted.stderr, '')
    }
    // Applying the same objects again must not start a rollout.
    await apply(namespace, text)
    const { kind, metadata } = workloadOf(manifests)
    const of = [`${kind}/${metadata.name}`, `--namespace=${namespace}`, '--output=json']
    const made = JSON.parse((await plane.kubectl(['get', ...of])).stdout) as {
      metadata: { generation: number }
    }
    assert.equal(made.metadata.generation, 1)
  }

  for (const [name, { values }] of Object.entries(CASES)) {
    test(`the API server accepts all objects and restricted pods of the chart without a warning: ${name}`, async () => {
      const { manifests } = await withTest(values)
      await assertAccepted(manifests.filter(({ apiVersion }) => !NOT_HERE.test(apiVersion)))
    })
  }
  for (const name of NAMES)
    test(`the API server accepts all objects and restricted pods of ${name} without a warning`, async () => {
      await assertAccepted(plainManifests(name))
    })

  test('the commands of README without Helm make every object', async () => {
    const namespace = await restrictedNamespace()
    const kubeconfig = plane.namespaceKubeconfig(namespace)
    const commands = commandsOfReadme('kubectl create secret')
    const PATH = `${controlPlaneAssets()}:${process.env.PATH}`
    const env = { ...process.env, PATH, KUBECONFIG: kubeconfig, REGISTRY: 'registry.example.org/team' }
    await promisify(execFile)('sh', ['-e', '-c', commands], { cwd: join(DEPLOY, '..'), env })
    const images = '--output=jsonpath={..image}'
    const of = await plane.kubectl(['get', 'deployment/langflow', `--namespace=${namespace}`, images])
    const ours = `registry.example.org/team/langflow-leader:${VERSION}`
    assert.deepEqual(of.stdout.split(' ').sort(), ['langflowai/langflow:1.13.0', ours, ours])
  })
})
