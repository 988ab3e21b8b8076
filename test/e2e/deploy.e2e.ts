import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parse } from 'yaml'
import { fixture, injected, podOf, uninjected } from '../cli/inject/streams.ts'
import { assertConsistent, podTemplates, workloadOf } from '../deploy/consistency.ts'
import { type Built, build, type Overlay } from '../deploy/kustomize.ts'
import { type Manifest, manifestsIn, named, only, type PodSpec } from '../deploy/manifests.ts'
import {
  ACCOUNT,
  type ControlPlane,
  controlPlaneAssets,
  startControlPlane,
} from '../harness/control-plane.ts'

const KUBECTL = join(controlPlaneAssets(), 'kubectl')
/** The operator's own kinds. Only their schemas are needed: no operator runs here. */
const EXTERNAL_SECRETS = join(import.meta.dirname, '../deploy/crds/external-secrets.yaml')
const component = (name: string) => `components/${name}`
const TRAFFIC = [[], ['traffic-front']]
const STANDBY = [[], ['standby-warm']]
const OTHERS = ['postgresql', 'monitoring', 'preset-fast', 'drill', 'storage-s3']
/** Each other component alone, and all of them with each combination of modes, in both orders. */
const COMBINATIONS = [
  ...OTHERS.map((one) => [one]),
  ['storage-pvc'],
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

describe('deploy/ built by kustomize', () => {
  test('each combination of components is consistent, in any order', async () => {
    for (const components of COMBINATIONS) {
      const { manifests } = await rendered('base', components)
      const facts = await assertConsistent(manifests).catch((error) => {
        throw new Error(`${components}: ${error.message}`, { cause: error })
      })
      const mode = components.find((one) => one.startsWith('traffic-'))?.slice('traffic-'.length)
      const standby = components.find((one) => one.startsWith('standby-'))?.slice('standby-'.length)
      assert.deepEqual([facts.traffic.mode, facts.standby], [mode ?? 'readiness', standby ?? 'cold'])
      assert.equal(facts.leaseDurationMs, components.includes('preset-fast') ? 6_000 : 15_000)
      const url = databaseUrl(manifests)
      const trial = components.includes('postgresql')
      assert.deepEqual(
        [url?.name, url?.optional],
        trial ? ['langflow-postgresql', false] : ['langflow', true],
      )
    }
  })

  test('in production, standbys are Ready and warm, rollouts start a new pod before they end one, and drains can end', async () => {
    const { manifests } = await rendered('production')
    const facts = await assertConsistent(manifests)
    assert.deepEqual([facts.traffic.mode, facts.standby], ['front', 'warm'])
    const { spec } = workloadOf(manifests)
    assert.deepEqual(spec.strategy.rollingUpdate, { maxSurge: 1, maxUnavailable: 0 })
    const budget = only(manifests, 'PodDisruptionBudget').spec
    assert.deepEqual([budget.maxUnavailable, budget.unhealthyPodEvictionPolicy], [1, 'AlwaysAllow'])
    assert.deepEqual(budget.selector, spec.selector)
    const database = { name: 'langflow', key: 'database-url', optional: false }
    assert.deepEqual(databaseUrl(manifests), database)
    assert.equal(bucketOf(manifests)?.optional ?? false, false)
    // The trial of production brings its own PostgreSQL.
    const trial = await rendered('production', ['postgresql', 'preset-fast'])
    await assertConsistent(trial.manifests)
    assert.equal(databaseUrl(trial.manifests)?.name, 'langflow-postgresql')
  })

  test('with storage-pvc, all files are on one volume for all replicas, also in production, which then needs no bucket', async () => {
    for (const base of ['base', 'production', 'examples/statefulset']) {
      const { manifests } = await rendered(base, ['storage-pvc'])
      await assertConsistent(manifests)
      const { metadata, spec } = only(manifests, 'PersistentVolumeClaim')
      assert.deepEqual(spec.accessModes, ['ReadWriteMany'])
      const pod = workloadOf(manifests).spec.template.spec as PodSpec
      const { env, volumeMounts } = named(pod.containers, 'langflow')
      const directory = named(env!, 'LANGFLOW_CONFIG_DIR').value
      const mount = volumeMounts.find(({ mountPath }) => mountPath === directory)
      const claim = { persistentVolumeClaim: { claimName: metadata.name } }
      assert.deepEqual(
        pod.volumes.find(({ name }) => name === mount?.name),
        { name: mount?.name, ...claim },
      )
      assert.equal(named(env!, 'LANGFLOW_STORAGE_TYPE').value, 'local')
      assert.equal(bucketOf(manifests), undefined)
    }
  })

  test('the StatefulSet works with each component', async () => {
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

  test('the single container runs the agent itself and mounts the token', async () => {
    const { manifests } = await rendered('examples/single-container')
    const pod = workloadOf(manifests).spec.template.spec as PodSpec
    assert.deepEqual([pod.initContainers.length, pod.containers.length], [1, 1])
    const { command, readinessProbe, volumeMounts, ports } = named(pod.containers, 'langflow')
    assert.deepEqual(command!.slice(-2), ['run', '--'])
    assert.equal(readinessProbe?.httpGet.path, '/frontz')
    assert.deepEqual(ports!.map(({ name, containerPort }) => [name, containerPort]).sort(), [
      ['agent', 8090],
      ['http', 8091],
      ['langflow', 7860],
    ])
    assert.ok(volumeMounts.some(({ name }) => name === 'token'))
  })

  test('with External Secrets or Vault Agent, LangFlow has its secrets from a file that its container mounts', async () => {
    for (const example of ['external-secrets', 'vault-agent']) {
      const { manifests } = await rendered(`examples/${example}`)
      const pod = workloadOf(manifests).spec.template.spec as PodSpec
      const { env = [], volumeMounts } = named(pod.containers, 'langflow')
      const { mountPath, readOnly } = named(volumeMounts, 'secrets')
      assert.deepEqual(
        [env.find(({ name }) => name === 'LEADER_ENV_FILE')?.value, readOnly],
        [`${mountPath}/env`, true],
      )
      assert.deepEqual(
        env.filter(({ valueFrom }) => valueFrom?.secretKeyRef),
        [],
      )
    }
  })

  test('the Ingress and the Gateway route lead to the Service of production', async () => {
    const { manifests } = await rendered('examples/ingress')
    const [rule] = only(manifests, 'Ingress').spec.rules
    const { name, port } = rule.http.paths[0].backend.service
    const service = only(manifests, 'Service', name).spec
    assert.equal(service.ports[0].name, port.name)
    const route = await rendered('examples/gateway')
    const [backend] = only(route.manifests, 'HTTPRoute').spec.rules[0].backendRefs
    assert.equal(only(route.manifests, 'Service', backend.name).spec.ports[0].port, backend.port)
    for (const one of [manifests, route.manifests]) await assertConsistent(one)
  })

  test('flows from files: LangFlow loads the directory whose change hands over, from a volume that it can not write', async () => {
    for (const source of ['git-sync', 'config-map', 'volume']) {
      const { manifests } = await rendered(`examples/flows-${source}`)
      await assertConsistent(manifests)
      const pod = workloadOf(manifests).spec.template.spec as PodSpec
      const { env, volumeMounts } = named(pod.containers, 'langflow')
      const path = named(env!, 'LANGFLOW_LOAD_FLOWS_PATH').value!
      assert.equal(named(env!, 'LEADER_HANDOVER_ON_CHANGE').value, path)
      const mount = volumeMounts.find(({ mountPath }) => path.startsWith(mountPath))
      assert.equal(mount?.readOnly, true)
      assert.ok(pod.volumes.some(({ name }) => name === mount?.name))
      const sync = pod.initContainers.slice(2)
      assert.deepEqual(
        sync.map(({ name, restartPolicy }) => [name, restartPolicy]),
        source === 'git-sync' ? [['git-sync', 'Always']] : [],
      )
    }
  })

  test("the monitoring component has ConfigMaps with the alerts for Prometheus and the dashboard for Grafana's sidecar", async () => {
    const { manifests } = await rendered('base', ['monitoring', 'monitoring-operator'])
    const alerts = only(manifests, 'ConfigMap', 'langflow-leader-alerts').data['langflow-leader.rules.yaml']
    assert.deepEqual(parse(alerts), only(manifests, 'PrometheusRule').spec)
    const { metadata, data } = only(manifests, 'ConfigMap', 'langflow-leader-dashboard')
    assert.equal(metadata.labels?.grafana_dashboard, '1')
    assert.equal(JSON.parse(data['langflow-leader.json']).uid, 'langflow-leader')
  })
})

/** Runs the API server with the admission plugins of a cluster, in namespaces that enforce "restricted". */
describe('deploy/ on kube-apiserver', () => {
  let plane: ControlPlane
  before(async () => {
    plane = await startControlPlane({ podAdmission: true })
    await plane.kubectl(['apply', '-f', EXTERNAL_SECRETS])
    await plane.kubectl(['wait', '--for=condition=Established', '-f', EXTERNAL_SECRETS])
  })
  after(() => plane?.close())

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
  async function assertAccepted({ text, manifests }: Built): Promise<void> {
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

  const overlays: Record<string, Overlay> = {
    'deploy/base': { resources: ['base'] },
    'deploy/production': { resources: ['production'] },
    'production with a volume': { resources: ['production'], components: [component('storage-pvc')] },
    'production on trial': { resources: ['production'], components: [component('postgresql')] },
    'front, warm, fast': {
      resources: ['base'],
      components: ['traffic-front', 'standby-warm', ...OTHERS].map(component),
    },
    'the StatefulSet': { resources: ['examples/statefulset'] },
    'the StatefulSet in front mode': {
      resources: ['examples/statefulset'],
      components: ['traffic-front', 'standby-warm', ...OTHERS].map(component),
    },
    'production behind an Ingress': { resources: ['examples/ingress'] },
    'production with External Secrets': { resources: ['examples/external-secrets'] },
    'production with Vault Agent': { resources: ['examples/vault-agent'] },
    'the single container': { resources: ['examples/single-container'] },
    'flows from git-sync': { resources: ['examples/flows-git-sync'] },
    'flows from a ConfigMap': { resources: ['examples/flows-config-map'] },
    'flows from a volume': { resources: ['examples/flows-volume'] },
  }
  for (const [name, overlay] of Object.entries(overlays)) {
    test(`the API server accepts all objects and restricted pods of ${name} without a warning`, async () => {
      await assertAccepted(await build(KUBECTL, overlay))
    })
  }

  test("the agent's account has no rights beyond its Role", async () => {
    const namespace = await restrictedNamespace()
    await apply(namespace, (await rendered('base')).text)
    const rights = async (account: string) => {
      const as = `--as=system:serviceaccount:${namespace}:${account}`
      const args = ['auth', 'can-i', '--list', '--no-headers', `--namespace=${namespace}`, as]
      return (await plane.kubectl(args)).stdout.split('\n').map((line) => line.replace(/\s+/g, ' '))
    }
    const anyone = new Set(await rights('anyone'))
    const more = (await rights(ACCOUNT)).filter((line) => !anyone.has(line))
    assert.deepEqual(more.sort(), [
      'events.events.k8s.io [] [] [create]',
      'leases.coordination.k8s.io [] [] [create]',
      'leases.coordination.k8s.io [] [langflow-leader-lock] [get watch update]',
    ])
  })

  for (const [name, kind, workload] of [
    ['stateful-backend', 'StatefulSet', 'flows'],
    ['runtime-deployment', 'Deployment', 'flows-langflow-runtime'],
  ] as const) {
    for (const traffic of ['readiness', 'front'] as const)
      test(`the API server accepts all objects and restricted pods after an injection into ${name} (${traffic})`, async () => {
        const namespace = await restrictedNamespace()
        const text = injected(inNamespace(name, namespace), { traffic, standby: 'warm' })
        for (const args of [[], ['--server-side']]) {
          const { stdout } = await apply(namespace, text, '--dry-run=server', ...args)
          for (const object of [
            `${kind.toLowerCase()}.apps/${workload} `,
            'lease.coordination.k8s.io/',
            'role.rbac',
          ])
            assert.ok(stdout.includes(object), `${object} in ${stdout}`)
        }
        // The API server enforces the level only for pods. For the templates of workloads, it only warns.
        const spec = podOf(text, kind, workload)
        const account = { serviceAccountName: 'default', serviceAccount: 'default' }
        const isWhole = name === 'runtime-deployment' || spec.volumes.some(({ name }) => name === 'data')
        const volumes = [...spec.volumes, ...(isWhole ? [] : [{ name: 'data', emptyDir: {} }])]
        const head = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'pod' } }
        const pod = (own: object) =>
          JSON.stringify({ ...head, spec: { ...spec, ...account, volumes, ...own } })
        await apply(namespace, pod({}), '--dry-run=server')
        const open = apply(namespace, pod({ hostPID: true }), '--dry-run=server')
        await assert.rejects(open, /violates PodSecurity "restricted/)
      })

    test(`the live object of ${name} can be injected, applied and restored`, async () => {
      const namespace = await restrictedNamespace()
      const get = async () =>
        (await plane.kubectl(['get', kind, workload, `--namespace=${namespace}`, '-oyaml'])).stdout
      await apply(namespace, inNamespace(name, namespace))
      const live = await get()
      const wrapped = injected(live, { traffic: 'front' })
      assert.deepEqual(manifestsIn(uninjected(wrapped)), manifestsIn(live))
      await apply(namespace, wrapped)
      const restored = uninjected(await get())
      assert.deepEqual(podOf(restored, kind, workload), podOf(live, kind, workload))
      await apply(namespace, inNamespace(name, namespace))
      assert.deepEqual(podOf(await get(), kind, workload), podOf(live, kind, workload))
    })
  }
})

/** A rendered chart with its namespace replaced. */
function inNamespace(name: Parameters<typeof fixture>[0], namespace: string): string {
  return fixture(name).replaceAll('namespace: flows', `namespace: ${namespace}`)
}

const databaseUrl = (manifests: readonly Manifest[]) => secretKeyOf(manifests, 'LANGFLOW_DATABASE_URL')
const bucketOf = (manifests: readonly Manifest[]) =>
  secretKeyOf(manifests, 'LANGFLOW_OBJECT_STORAGE_BUCKET_NAME')

/** The key of a Secret that LangFlow's container has in a variable; `undefined` without the variable. */
function secretKeyOf(manifests: readonly Manifest[], variable: string) {
  const pod = workloadOf(manifests).spec.template.spec as PodSpec
  const env = named(pod.containers, 'langflow').env!
  return env.find(({ name }) => name === variable)?.valueFrom?.secretKeyRef
}
