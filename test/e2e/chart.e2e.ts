import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { parse } from '../config/commands.ts'
import { CASES, LEAST } from '../deploy/chart-cases.ts'
import {
  assertConsistent,
  type PodTemplate,
  plainEnv,
  podTemplates,
  workloadOf,
} from '../deploy/consistency.ts'
import { CHART, helm, rendered, type Values, VERSIONS, withTest } from '../deploy/helm.ts'
import { DEPLOY, type Manifest, named, only, type PodSpec } from '../deploy/manifests.ts'
import { FILES, NAMES, plainFile } from '../deploy/plain-files.ts'
import { startControlPlane } from '../harness/control-plane.ts'

const plane = await startControlPlane()
after(() => plane.close())

const podOf = (manifests: readonly Manifest[]) => workloadOf(manifests).spec.template.spec as PodSpec
const langflowOf = (manifests: readonly Manifest[]) => named(podOf(manifests).containers, 'langflow')
const caseNamed = (name: string) => rendered(CASES[name]!.values)

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>
}

/** The paths of all values that a schema names, such as `image.tag`. */
function pathsOf({ properties }: Schema, path: string): string[] {
  if (properties === undefined) return [path]
  return Object.entries(properties).flatMap(([name, inner]) =>
    pathsOf(inner, path ? `${path}.${name}` : name),
  )
}

function has(values: unknown, path: string): boolean {
  const [name, ...rest] = path.split('.') as [string, ...string[]]
  const inner = (values as Values | undefined)?.[name]
  return inner !== undefined && (rest.length === 0 || has(inner, rest.join('.')))
}

/** Wrong values, each with the part of the message that names them. */
const REFUSED: readonly (readonly [values: Values, message: RegExp])[] = [
  [{ replcas: 3 }, /'replcas' not allowed/],
  [{ env: [] }, /'extraEnv instead' required, if 'env' exists/],
  [{ storage: { typ: 's3' } }, /'typ' not allowed/],
  [{ flags: { 'hold-timout': '1s' } }, /'hold-timout' not allowed/],
  [{ flags: { 'lease-name': 'x' } }, /'lease-name' not allowed/],
  [{ flags: { 'hold-timeout': '30' } }, /hold-timeout/],
  [{ standby: 'hot' }, /standby/],
  [{ database: { secret: '' } }, /set database\.secret/],
  [{ database: { trial: true, secret: 'x' } }, /remove database\.secret/],
  [{ storage: { type: '' } }, /set storage\.type/],
  [{ storage: { type: 's3' } }, /set storage\.s3\.bucket/],
  [{ storage: { type: 'none', s3: { bucket: 'x' } } }, /type=s3/],
  [{ secret: { source: 'envFiles' } }, /set envFiles/],
  [{ secret: { source: 'externalSecret' } }, /set secret\.externalSecret/],
  [{ flows: { source: 'git' } }, /set flows\.git\.repository/],
  [{ flows: { source: 'configMap' } }, /set flows\.configMap/],
  [{ flows: { git: { repository: 'x' } } }, /set flows\.source=git/],
  [{ gateway: { enabled: true } }, /set gateway\.parentRefs/],
  [
    { flags: { 'lease-duration': '11s' } },
    /must be longer than renew-deadline \(10s\) and kill-margin \(1s\)/,
  ],
  [{ flags: { 'lease-duration': '15500ms' } }, /lease-duration \(15500ms\) must be whole seconds/],
  [{ flags: { 'renew-deadline': '2400ms' } }, /1\.2 times retry-period \(2s\)/],
  [{ flags: { failsafe: 'peers', 'failsafe-max': '29s' } }, /at least twice lease-duration \(15s\)/],
  [{ mesh: 'linkerd' }, /set apiServer/],
  [{ service: { nodePort: 30_080 } }, /service\.nodePort has no effect.*set service\.type/],
  [{ serviceAccount: { create: false } }, /set serviceAccount\.name/],
  [{ operatorRole: true, rbac: { create: false } }, /set rbac\.create=true/],
  [{ commonLabels: { 'helm.sh/chart': 'x' } }, /remove it from commonLabels/],
  [{ fullnameOverride: 'a'.repeat(40) }, /set fullnameOverride/],
  [{ extraEnv: [{ name: 'X', value: 5 }] }, /extraEnv\/0\/value/],
  [{ extraEnv: ['1', '2'].map((value) => ({ name: 'X', value })) }, /extraEnv has X twice/],
  [{ image: { repository: 'x:1' } }, /image\/repository/],
  [{ ingress: null }, /missing property 'ingress'/],
  [{ podLabels: { 'app.kubernetes.io/instance': 'x' } }, /remove it from podLabels/],
]

const POD = 'spec/template/spec'
const ANNOTATIONS = 'spec/template/metadata/annotations'
const RIGHTS = 'an account and rights that another team makes'

/** Fields that the values of a case set, by the kind of the object and the path in it. */
const FIELDS: Readonly<Record<string, readonly (readonly [kind: string, path: string, field: unknown])[]>> = {
  'a release with another name, images by digest, and its place in the cluster': [
    ['Deployment', `${POD}/containers/0/securityContext/runAsNonRoot`, true],
    ['Deployment', `${POD}/securityContext/runAsUser`, 2000],
    ['Deployment', `${POD}/initContainers/0/resources/limits/cpu`, '100m'],
    ['Deployment', `${POD}/initContainers/1/volumeMounts/3/mountPath`, '/ca'],
    ['Deployment', 'spec/strategy/rollingUpdate/maxSurge', 2],
    ['Deployment', 'spec/template/metadata/labels/team', 'other'],
    ['Deployment', 'metadata/labels/team', 'flows'],
    ['Lease', 'metadata/annotations', { owner: 'flows', 'helm.sh/resource-policy': 'keep' }],
  ],
  'more containers and variables': [
    ['Deployment', `${POD}/containers/0/envFrom`, [{ configMapRef: { name: 'settings' } }]],
  ],
  'flows from Git': [['Deployment', `${POD}/initContainers/2/resources/limits/cpu`, '100m']],
  'clients from outside of the cluster': [
    ['Ingress', 'spec/rules/0/http/paths/0/path', '/'],
    ['Ingress', 'spec/rules/1/http/paths/1/pathType', 'Exact'],
    ['Ingress', 'spec/tls', [{ secretName: 'tls', hosts: ['flows.example.com'] }]],
    ['HTTPRoute', 'spec/rules/0/backendRefs/0/port', 80],
    ['HTTPRoute', 'spec/rules/0/timeouts', { request: '10m' }],
  ],
  'monitoring by the Prometheus Operator': [
    ['PrometheusRule', 'spec/groups/0/rules/3/annotations/runbook_url', 'https://wiki/x#langflowisnotserved'],
  ],
  'the values of platforms.md with mesh: istio': [
    ['Deployment', `${ANNOTATIONS}/traffic.sidecar.istio.io~1excludeOutboundIPRanges`, '10.96.0.1/32'],
    ['PeerAuthentication', 'spec/portLevelMtls', { 8091: { mode: 'PERMISSIVE' } }],
  ],
  Linkerd: [['Deployment', `${ANNOTATIONS}/config.linkerd.io~1skip-subnets`, 'fd00::1/128']],
  'Istio without sidecars': [['NetworkPolicy', 'spec/ingress/3/ports', [{ port: 15_008 }]]],
  [RIGHTS]: [['Deployment', `${POD}/serviceAccountName`, 'default']],
}

/** The field of a manifest at the path of a JSON Pointer without its first slash. */
function at(manifest: Manifest, path: string): unknown {
  const names = path.split('/').map((name) => name.replaceAll('~1', '/'))
  return names.reduce<unknown>((inner, name) => (inner as Values | undefined)?.[name], manifest)
}

describe('the chart', () => {
  test('is rendered the same by both versions of Helm, with consistent manifests, for each case', async () => {
    for (const [name, { values }] of Object.entries(CASES)) {
      const [three, four] = [await withTest(values, 3), await withTest(values, 4)]
      const withoutKeys = ({ manifests }: typeof three) =>
        manifests.filter(({ kind, immutable }) => kind !== 'Secret' || !immutable)
      assert.deepEqual(withoutKeys(three), withoutKeys(four), name)
      const { traffic, standby, leaseName, failsafe } = await assertConsistent(four.manifests).catch(
        (error) => {
          throw new Error(`${name}: ${error.message}`, { cause: error })
        },
      )
      const fullname = workloadOf(four.manifests).metadata.name
      assert.deepEqual(
        [traffic.mode, standby, leaseName],
        [values.traffic ?? 'front', values.standby ?? 'warm', `${fullname}-leader-lock`],
      )
      // Failsafe delays the first start without a Lease.
      const isArmed = Number(values.replicas ?? 2) > 1 && (values.lease as Values)?.create !== false
      const wanted = (values.flags as Values)?.failsafe ?? (isArmed ? 'peers' : 'none')
      assert.equal(failsafe, wanted, name)
    }
  })

  test('sets fields by its values', async () => {
    for (const [name, fields] of Object.entries(FIELDS)) {
      const { manifests } = await caseNamed(name)
      for (const [kind, path, field] of fields) {
        const found = manifests.filter((one) => one.kind === kind).map((one) => at(one, path))
        assert.ok(
          found.some((one) => isDeepStrictEqual(one, field)),
          `${name}: ${path} is ${JSON.stringify(found)}`,
        )
      }
    }
    const kinds = (await withTest(CASES[RIGHTS]!.values)).manifests.map(({ kind }) => kind)
    assert.ok(!kinds.some((kind) => /Account|^Role|^Pod$/.test(kind)))
  })

  test('has each of its values in at least one case', () => {
    const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8')) as Schema
    const { global: _, flags: __, ...properties } = schema.properties!
    const unset = pathsOf({ properties }, '').filter(
      (path) => !Object.values(CASES).some(({ values }) => has(values, path)),
    )
    assert.deepEqual(unset, [])
  })

  for (const version of VERSIONS) {
    test(`passes the lint of Helm ${version}, and makes the committed plain files with it`, async () => {
      await helm(version, ['lint', CHART, '--strict', '--values=-'], LEAST)
      for (const name of NAMES) {
        const committed = readFileSync(join(DEPLOY, name), 'utf8')
        assert.equal(await plainFile(name, version), committed, 'run npm run manifests')
      }
    })

    test(`Helm ${version} refuses wrong values, and names the value to change`, async () => {
      for (const [values, message] of REFUSED)
        await assert.rejects(rendered({ ...LEAST, ...values }, version), { message })
    })
  }

  test('with env files, LangFlow has its secrets from a file that its container mounts, and from no Secret', async () => {
    for (const example of ['external-secrets', 'vault-agent']) {
      const { env = [], volumeMounts } = langflowOf(
        (await caseNamed(`the example ${example}.yaml`)).manifests,
      )
      const { mountPath, readOnly } = named(volumeMounts, 'secrets')
      const file = named(env, 'LEADER_ENV_FILE').value
      assert.deepEqual([file, readOnly], [`${mountPath}/env`, true])
      assert.deepEqual(
        env.filter(({ valueFrom }) => valueFrom?.secretKeyRef),
        [],
      )
    }
  })

  test('flows: LangFlow loads the directory whose change hands over, from a volume that it can not write', async () => {
    for (const [name, path, watched] of [
      ['flows from Git', '/git/current/langflow/flows', '/git/current/langflow/flows'],
      ['flows from a ConfigMap, and other watched files', '/flows', '/flows,/ca'],
      ['flows from a volume, whose change waits for the next start', '/flows', undefined],
    ] as const) {
      const { manifests } = await caseNamed(name)
      const { env, volumeMounts } = langflowOf(manifests)
      const variables = plainEnv({ env } as Parameters<typeof plainEnv>[0])
      assert.deepEqual(
        [variables.LANGFLOW_LOAD_FLOWS_PATH, variables.LEADER_HANDOVER_ON_CHANGE],
        [path, watched],
      )
      const mount = volumeMounts.find(({ mountPath }) => path.startsWith(mountPath))
      assert.equal(mount?.readOnly, true)
      named(podOf(manifests).volumes, mount.name)
    }
  })

  test('gives the drill a valid command line, and only the rights that a switchover of its Lease needs', async () => {
    const { manifests } = await caseNamed('a drill and operators')
    const { template } = only(manifests, 'CronJob').spec.jobTemplate.spec
    const container = named((template as PodTemplate).spec.containers, 'drill')
    const { drill } = await parse(['drill', ...container.args!.slice(1)], plainEnv(container))
    const { scenario, yes, leaseName } = drill!
    assert.deepEqual([container.args![0], scenario, yes], ['drill', 'switchover', true])
    const core = { apiGroups: [''] }
    assert.deepEqual(only(manifests, 'Role', 'langflow-leader-drill').rules, [
      {
        apiGroups: ['coordination.k8s.io'],
        resources: ['leases'],
        resourceNames: [leaseName],
        verbs: ['get', 'patch'],
      },
      { ...core, resources: ['pods'], verbs: ['list'] },
      { ...core, resources: ['pods/proxy'], verbs: ['get'] },
    ])
    const { ingress, podSelector } = only(manifests, 'NetworkPolicy').spec
    const labels = template.metadata.labels
    assert.deepEqual({ ...labels, ...ingress[0].from[0].podSelector.matchLabels }, labels)
    assert.notDeepEqual({ ...labels, ...podSelector.matchLabels }, labels)
  })

  test('selects only the pods of its release, whose labels have no version', async () => {
    const { manifests } = await rendered(CASES['a drill and operators']!.values, 4, 'flows')
    const selector = { 'app.kubernetes.io/name': 'langflow', 'app.kubernetes.io/instance': 'flows' }
    assert.deepEqual(workloadOf(manifests).spec.selector.matchLabels, selector)
    const versions = ['helm.sh/chart', 'app.kubernetes.io/version', 'app.kubernetes.io/managed-by']
    const versionsOf = (labels = {}) => versions.filter((label) => label in labels)
    for (const { metadata } of podTemplates(manifests)) assert.deepEqual(versionsOf(metadata.labels), [])
    for (const { kind, metadata, spec } of manifests) {
      assert.match(metadata.name, /^flows/, kind)
      assert.deepEqual(versionsOf(metadata.labels), versions, kind)
      if (kind === 'Service') assert.deepEqual(spec.selector, selector)
      if (kind === 'PodDisruptionBudget') assert.deepEqual(spec.selector.matchLabels, selector)
      if (kind === 'NetworkPolicy') assert.deepEqual(spec.podSelector.matchLabels, selector)
    }
  })
})

/** Helm on a real API server. No controller runs here, so there are no pods. */
describe('a release of the chart', () => {
  for (const version of VERSIONS)
    test(`Helm ${version} keeps the key, the Lease and the pods of a release over upgrade, rollback and a new installation`, async () => {
      const namespace = await plane.newNamespace()
      const values = { ...LEAST, drill: { enabled: true }, operatorRole: true, ingress: { enabled: true } }
      const run = (...args: string[]) =>
        helm(version, [...args, `--namespace=${namespace}`, `--kubeconfig=${plane.adminKubeconfig}`], values)
      const get = async (what: string, path: string) =>
        (await plane.kubectl(['get', what, `--namespace=${namespace}`, `--output=jsonpath={${path}}`])).stdout
      const generation = () => get('deployment/flows', '.metadata.generation')

      const notes = await run('install', 'flows', CHART, '--values=-')
      assert.match(notes, /rollout status deployment\/flows/)
      // An Ingress without a host has no address to name.
      assert.match(notes, /port-forward service\/flows 7860/)
      assert.match(
        notes,
        /first-flow\.md\n.*curl http:\/\/localhost:7860\/.*\n.*switchover --yes # no run fails/,
      )
      const secret = await get('secret/flows', '.data')
      assert.match(Buffer.from(JSON.parse(secret)['secret-key'], 'base64').toString(), /^[-\w]{43}=$/)
      const annotations = { 'langflow-leader/history': '[]' }
      const spec = { holderIdentity: 'a', leaseTransitions: 7 }
      const held = JSON.stringify({ metadata: { annotations }, spec })
      const lease = ['lease', 'flows-leader-lock', `--namespace=${namespace}`]
      await plane.kubectl(['patch', ...lease, '--type=merge', `--patch=${held}`])

      await run('upgrade', 'flows', CHART, '--values=-')
      assert.equal(await generation(), '1')
      await run('upgrade', 'flows', CHART, '--values=-', '--set=podAnnotations.test=two')
      assert.equal(await generation(), '2')
      await run('rollback', 'flows', '1')
      assert.equal(await generation(), '3')
      assert.equal(await get('secret/flows', '.data'), secret)
      assert.deepEqual(JSON.parse(await get('lease/flows-leader-lock', '.spec')), spec)
      const noted = JSON.parse(await get('lease/flows-leader-lock', '.metadata.annotations'))
      assert.equal(noted['langflow-leader/history'], '[]')

      // Argo CD renders the chart without the cluster, so with another key.
      const argo = (await rendered(values, version, 'flows')).text
      const applied = plane.kubectl(['apply', `--namespace=${namespace}`, '--filename=-'], argo)
      await assert.rejects(applied, /field is immutable when `immutable` is set/)
      assert.equal(await get('secret/flows', '.data'), secret)

      await run('uninstall', 'flows')
      const left = await plane.kubectl([
        'get',
        'deploy,svc,lease,role,rolebinding,pdb,netpol,cronjob',
        `--namespace=${namespace}`,
        '--output=name',
      ])
      // The new pods wait for the holder, whose LangFlow may still be ending.
      assert.equal(left.stdout.trim(), 'lease.coordination.k8s.io/flows-leader-lock')
      await run('install', 'flows', CHART, '--values=-')
      assert.equal(await get('lease/flows-leader-lock', '.spec.holderIdentity'), 'a')
      assert.equal(await get('secret/flows', '.data'), secret)
    })

  for (const [version, flags] of [
    [3, ['--take-ownership']],
    [4, ['--take-ownership', '--force-conflicts']],
  ] as const)
    test(`Helm ${version} takes over the objects of a plain file, and keeps its pods and its holder`, async () => {
      const namespace = await plane.newNamespace()
      const of = `--namespace=${namespace}`
      const get = async (what: string, path: string) =>
        (await plane.kubectl(['get', what, of, `--output=jsonpath={${path}}`])).stdout
      const file = 'langflow-production.yaml'
      await plane.kubectl(['apply', of, '--filename=-'], readFileSync(join(DEPLOY, file), 'utf8'))
      const spec = await get('deployment/langflow', '.spec')
      const held = ['--type=merge', '--patch={"spec":{"holderIdentity":"a"}}']
      await plane.kubectl(['patch', 'lease', 'langflow-leader-lock', of, ...held])

      const install = ['install', 'langflow', CHART, '--values=-', of, ...flags]
      await helm(version, [...install, `--kubeconfig=${plane.adminKubeconfig}`], FILES[file].values)
      assert.equal(
        await get('deployment/langflow', '.metadata.labels.app\\.kubernetes\\.io/managed-by'),
        'Helm',
      )
      assert.equal(await get('deployment/langflow', '.spec'), spec)
      assert.equal(await get('lease/langflow-leader-lock', '.spec.holderIdentity'), 'a')
    })
})
