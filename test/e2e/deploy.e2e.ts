import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parse } from 'yaml'
import { assertConsistent, podTemplates, workloadOf } from '../deploy/consistency.ts'
import { type Built, build, type Overlay } from '../deploy/kustomize.ts'
import { type Manifest, named, only, type PodSpec } from '../deploy/manifests.ts'
import { type ControlPlane, controlPlaneAssets, startControlPlane } from '../harness/control-plane.ts'
import { until } from '../harness/wait.ts'

const KUBECTL = join(controlPlaneAssets(), 'kubectl')
const component = (name: string) => `components/${name}`
const TRAFFIC = [[], ['traffic-label'], ['traffic-slice']]
const STANDBY = [[], ['standby-warm']]
const OTHERS = ['postgresql', 'monitoring', 'preset-fast']
/** The others alone, and all of them with each mode, in both orders. */
const COMBINATIONS = [
  ...OTHERS.map((one) => [one]),
  ...TRAFFIC.flatMap((traffic) =>
    STANDBY.flatMap((standby) => [
      [...traffic, ...standby],
      [...traffic, ...standby, ...OTHERS],
      [...traffic, ...standby, ...OTHERS].reverse(),
    ]),
  ),
]
const rendered = (resource: string, components: readonly string[] = []) =>
  build(KUBECTL, { resources: [resource], components: components.map(component) })

describe('deploy/ as kustomize builds it', () => {
  test('every combination of components is a consistent whole, in any order', async () => {
    for (const components of COMBINATIONS) {
      const { manifests } = await rendered('base', components)
      const told = await assertConsistent(manifests).catch((error) => {
        throw new Error(`${components}: ${error.message}`, { cause: error })
      })
      const mode = components.find((one) => one.startsWith('traffic-'))?.slice('traffic-'.length)
      const standby = components.find((one) => one.startsWith('standby-'))?.slice('standby-'.length)
      assert.deepEqual([told.traffic.mode, told.standby], [mode ?? 'readiness', standby ?? 'cold'])
      assert.equal(told.leaseDurationMs, components.includes('preset-fast') ? 6_000 : 15_000)
      const url = databaseUrl(manifests)
      const trial = components.includes('postgresql')
      assert.deepEqual(
        [url?.name, url?.optional],
        trial ? ['langflow-postgresql', false] : ['langflow', true],
      )
    }
  })

  test('production: standbys are Ready and warm, rollouts add before they take, drains end', async () => {
    const { manifests } = await rendered('production')
    const told = await assertConsistent(manifests)
    assert.deepEqual([told.traffic.mode, told.standby], ['label', 'warm'])
    const { spec } = workloadOf(manifests)
    assert.deepEqual(spec.strategy.rollingUpdate, { maxSurge: 1, maxUnavailable: 0 })
    const budget = only(manifests, 'PodDisruptionBudget').spec
    assert.deepEqual([budget.maxUnavailable, budget.unhealthyPodEvictionPolicy], [1, 'AlwaysAllow'])
    assert.deepEqual(budget.selector, spec.selector)
    const database = { name: 'langflow', key: 'database-url', optional: false }
    assert.deepEqual(databaseUrl(manifests), database)
    // A trial of production.
    const trial = await rendered('production', ['postgresql', 'preset-fast'])
    await assertConsistent(trial.manifests)
    assert.equal(databaseUrl(trial.manifests)?.name, 'langflow-postgresql')
  })

  test('the StatefulSet takes every component', async () => {
    for (const traffic of TRAFFIC) {
      for (const components of [traffic, [...traffic, 'standby-warm', ...OTHERS]]) {
        const { manifests } = await rendered('examples/statefulset', components)
        await assertConsistent(manifests)
        const { kind, spec } = workloadOf(manifests)
        assert.equal(kind, 'StatefulSet')
        assert.ok(manifests.some(({ metadata }) => metadata.name === spec.serviceName))
      }
    }
  })

  test('the single container has agent and token itself', async () => {
    const { manifests } = await rendered('examples/single-container')
    const pod = workloadOf(manifests).spec.template.spec as PodSpec
    assert.deepEqual([pod.initContainers.length, pod.containers.length], [1, 1])
    const { command, readinessProbe, volumeMounts } = named(pod.containers, 'langflow')
    assert.deepEqual(command!.slice(-2), ['run', '--'])
    assert.equal(readinessProbe?.httpGet.path, '/readyz')
    assert.ok(volumeMounts.some(({ name }) => name === 'token'))
  })

  test('the alerts are the same with and without the operator', async () => {
    const { manifests } = await rendered('base', ['monitoring', 'monitoring-operator'])
    const file = only(manifests, 'ConfigMap').data['langflow-leader.rules.yaml']
    assert.deepEqual(only(manifests, 'PrometheusRule').spec, parse(file))
  })
})

/** On the API server, with the admission of a cluster, in namespaces that demand "restricted". */
describe('deploy/ on kube-apiserver', () => {
  let plane: ControlPlane
  before(async () => {
    plane = await startControlPlane({ podAdmission: true })
  })
  after(() => plane?.close())

  async function restrictedNamespace(): Promise<string> {
    const namespace = await plane.newNamespace()
    const levels = ['enforce', 'warn', 'audit'].map((mode) => `pod-security.kubernetes.io/${mode}=restricted`)
    await plane.kubectl(['label', 'namespace', namespace, ...levels])
    // What the ServiceAccount controller would make.
    await plane.kubectl(['create', 'serviceaccount', 'default', `--namespace=${namespace}`])
    return namespace
  }
  const apply = (namespace: string, text: string, ...more: string[]) =>
    plane.kubectl(['apply', `--namespace=${namespace}`, '--validate=strict', ...more, '-f', '-'], text)

  /** That all of it is taken, and the pods that would be made of it, without so much as a warning. */
  async function assertTaken({ text, manifests }: Built): Promise<void> {
    const namespace = await restrictedNamespace()
    const { stdout, stderr } = await apply(namespace, text)
    assert.equal(stderr, '')
    assert.equal(stdout.trim().split('\n').length, manifests.length)
    for (const { metadata, spec } of podTemplates(manifests)) {
      const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { ...metadata, name: 'one' }, spec }
      const taken = await apply(namespace, JSON.stringify(pod), '--dry-run=server')
      assert.equal(taken.stderr, '')
    }
    // What is applied again starts no rollout.
    await apply(namespace, text)
    const { kind, metadata } = workloadOf(manifests)
    const of = [`${kind}/${metadata.name}`, `--namespace=${namespace}`, '--output=json']
    const made = JSON.parse((await plane.kubectl(['get', ...of])).stdout) as {
      metadata: { generation: number }
    }
    assert.equal(made.metadata.generation, 1)
  }

  const overlays: Record<string, Overlay> = {
    'deploy/base': { resources: ['base'] },
    'deploy/production': { resources: ['production'] },
    'production on trial': { resources: ['production'], components: [component('postgresql')] },
    'slice, warm, fast': {
      resources: ['base'],
      components: ['traffic-slice', 'standby-warm', ...OTHERS].map(component),
    },
    'the StatefulSet': { resources: ['examples/statefulset'] },
    'the StatefulSet in slice mode': {
      resources: ['examples/statefulset'],
      components: ['traffic-slice', 'standby-warm', ...OTHERS].map(component),
    },
    'the single container': { resources: ['examples/single-container'] },
  }
  for (const [name, overlay] of Object.entries(overlays)) {
    test(`${name}: everything is made, without a warning, and its pods are restricted`, async () => {
      await assertTaken(await build(KUBECTL, overlay))
    })
  }

  test('applying traffic-slice again leaves the endpoint of the leader', async () => {
    const { text } = await rendered('base', ['traffic-slice'])
    const namespace = await restrictedNamespace()
    await apply(namespace, text)
    const endpoints = [{ addresses: ['10.1.2.3'], conditions: { ready: true } }]
    const patch = JSON.stringify({ endpoints })
    const object = ['endpointslice', 'langflow-leader', `--namespace=${namespace}`]
    await plane.kubectl(['patch', ...object, '--type=merge', '--patch', patch])
    await apply(namespace, text)
    const { stdout } = await plane.kubectl(['get', ...object, '--output=json'])
    assert.deepEqual((JSON.parse(stdout) as Manifest).endpoints, endpoints)
  })

  test('with the guard, the agent changes its own labels of a pod, and nothing else', async () => {
    const { text } = await rendered('base', ['traffic-label', 'traffic-label-guard'])
    const namespace = await restrictedNamespace()
    await apply(namespace, text)
    const pod = only((await rendered('base')).manifests, 'Deployment').spec.template
    await apply(
      namespace,
      JSON.stringify({ apiVersion: 'v1', kind: 'Pod', ...pod, metadata: { name: 'one' } }),
    )
    const patch = (body: object) =>
      plane
        .kubectl([
          ...[
            'patch',
            'pod',
            'one',
            `--namespace=${namespace}`,
            '--type=merge',
            '--patch',
            JSON.stringify(body),
          ],
          `--as=system:serviceaccount:${namespace}:langflow-leader`,
        ])
        .then(() => 'done', String)
    const image = (name: string) => ({ spec: { containers: [{ ...pod.spec.containers[0], image: name }] } })
    const refused = /langflow-leader may change only its own labels and annotations of a pod/
    await until('the policy is in force', async () => refused.test(await patch(image(`other:${Date.now()}`))))
    const cost = { 'controller.kubernetes.io/pod-deletion-cost': '1000' }
    const own = { labels: { 'langflow-leader/role': 'leader' }, annotations: cost }
    assert.equal(await patch({ metadata: own }), 'done')
    assert.equal(await patch({ metadata: { labels: { 'langflow-leader/role': null } } }), 'done')
    assert.match(await patch({ metadata: { labels: { app: 'another' } } }), refused)
    assert.match(await patch({ metadata: { annotations: { another: 'one' } } }), refused)
    assert.match(await patch({ metadata: { finalizers: ['a.b/c'] } }), refused)
  })
})

function databaseUrl(manifests: readonly Manifest[]) {
  const pod = workloadOf(manifests).spec.template.spec as PodSpec
  const { valueFrom } = named(named(pod.containers, 'langflow').env!, 'LANGFLOW_DATABASE_URL')
  return valueFrom?.secretKeyRef
}
