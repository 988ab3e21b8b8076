import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { parse } from 'yaml'
import { CASES, LEAST } from '../deploy/chart-cases.ts'
import { assertConsistent, plainEnv, workloadOf } from '../deploy/consistency.ts'
import { CHART, helm, rendered, type Values, VERSIONS } from '../deploy/helm.ts'
import { DEPLOY, type Manifest, named, only, type PodSpec } from '../deploy/manifests.ts'
import { FILES, NAMES, plainFile } from '../deploy/plain-files.ts'
import { type ControlPlane, startControlPlane } from '../harness/control-plane.ts'

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

describe('the chart', () => {
  test('is rendered the same by both versions of Helm, with consistent manifests, for each case', async () => {
    for (const [name, { values }] of Object.entries(CASES)) {
      const [three, four] = [await rendered(values, 3), await rendered(values, 4)]
      const withoutKeys = ({ manifests }: typeof three) =>
        manifests.filter(({ kind, immutable }) => kind !== 'Secret' || !immutable)
      assert.deepEqual(withoutKeys(three), withoutKeys(four), name)
      const { traffic, standby, leaseName } = await assertConsistent(four.manifests).catch((error) => {
        throw new Error(`${name}: ${error.message}`, { cause: error })
      })
      const fullname = workloadOf(four.manifests).metadata.name
      assert.deepEqual(
        [traffic.mode, standby, leaseName],
        [values.traffic ?? 'front', values.standby ?? 'warm', `${fullname}-leader-lock`],
      )
    }
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

    for (const [what, values, message] of [
      ['a misspelt value', { replcas: 3 }, /'replcas' not allowed/],
      ['a misspelt value below another', { storage: { typ: 's3' } }, /'typ' not allowed/],
      ['a misspelt flag', { flags: { 'hold-timout': '1s' } }, /'hold-timout' not allowed/],
      ['a flag that another value sets', { flags: { 'lease-name': 'x' } }, /'lease-name' not allowed/],
      ['a duration without a unit', { flags: { 'hold-timeout': '30' } }, /hold-timeout/],
      ['an unknown mode', { standby: 'hot' }, /standby.*must be one of 'warm', 'cold'/],
      [
        'a missing database',
        { database: { secret: '' } },
        /^ {2}LangFlow needs a database: set database\.secret .*database\.trial=true/m,
      ],
      ['a second database', { database: { trial: true, secret: 'x' } }, /remove database\.secret/],
      ['a missing storage', { storage: { type: '' } }, /set storage\.type to s3 .*, pvc .* or none/],
      ['a bucket without a name', { storage: { type: 's3' } }, /set storage\.s3\.bucket/],
      ['secrets from no file', { secret: { source: 'envFiles' } }, /set envFiles/],
      ['an empty ExternalSecret', { secret: { source: 'externalSecret' } }, /set secret\.externalSecret/],
      ['flows from no repository', { flows: { source: 'git' } }, /set flows\.git\.repository/],
      ['flows from no ConfigMap', { flows: { source: 'configMap' } }, /set flows\.configMap/],
      ['a route without a Gateway', { gateway: { enabled: true } }, /set gateway\.parentRefs/],
      ['a name that is too long', { fullnameOverride: 'a'.repeat(40) }, /set fullnameOverride/],
      ['a name that is a keyword of YAML', { fullnameOverride: 'off' }, /set fullnameOverride/],
      ['a variable that is a number', { extraEnv: [{ name: 'X', value: 5 }] }, /extraEnv\/0\/value/],
      [
        'a variable that occurs twice',
        {
          extraEnv: [
            { name: 'X', value: '1' },
            { name: 'X', value: '2' },
          ],
        },
        /extraEnv has X twice/,
      ],
      ['a URL as the name of a Secret', { database: { secret: 'postgresql://u:p@h/d' } }, /database\/secret/],
      ['an image with a tag in its repository', { image: { repository: 'x:1' } }, /image\/repository/],
      ['a missing part', { ingress: null }, /missing property 'ingress'/],
      ['a missing part of a part', { flows: { git: null } }, /flows.*missing property 'git'/],
      ['a URL as a host', { ingress: { enabled: true, host: 'https://x.y' } }, /ingress\/host/],
      ['an address without a length', { networkPolicy: { clients: { ipBlocks: ['10.1.0.0'] } } }, /ipBlocks/],
      ['memory in an unknown unit', { langflow: { resources: { limits: { memory: '3GB' } } } }, /memory/],
      ['a label that Kubernetes refuses', { podLabels: { team: 'a b' } }, /podLabels\/team/],
      [
        'a label of the chart',
        { podLabels: { 'app.kubernetes.io/instance': 'x' } },
        /instance itself: remove it from podLabels/,
      ],
      [
        'an annotation of the chart',
        { podAnnotations: { 'prometheus.io/port': '1' } },
        /set monitoring\.annotations=false/,
      ],
      ['a bucket beside another storage', { storage: { type: 'none', s3: { bucket: 'x' } } }, /type=s3/],
      ['flows without their source', { flows: { git: { repository: 'x' } } }, /set flows\.source=git/],
      ['an unknown schedule', { drill: { enabled: true, schedule: 'monthly' } }, /drill\/schedule/],
    ] as const)
      test(`Helm ${version} refuses ${what} with the value to change`, async () => {
        await assert.rejects(rendered({ ...LEAST, ...values }, version), { message })
      })
  }

  test('gives a pod the time for its stop by its flags, and sets the flags of the launcher for it', async () => {
    const { manifests } = await caseNamed('every flag')
    const pod = podOf(manifests)
    // 90 s and 45 s and 8.5 s, rounded up, and 10 s.
    assert.equal(pod.terminationGracePeriodSeconds, 154)
    const agent = plainEnv(named(pod.initContainers, 'agent'))
    const { LEADER_STOP_TIMEOUT, LEADER_LOG_LEVEL, LEADER_VALIDATE_FLOWS, LEADER_DRAIN_TIMEOUT } = plainEnv(
      langflowOf(manifests),
    )
    assert.deepEqual([LEADER_STOP_TIMEOUT, LEADER_LOG_LEVEL, LEADER_VALIDATE_FLOWS], ['45s', 'debug', 'true'])
    assert.deepEqual([LEADER_DRAIN_TIMEOUT, agent.LEADER_VALIDATE_FLOWS], [undefined, undefined])
    assert.deepEqual([agent.LEADER_DRAIN_TIMEOUT, agent.LEADER_STOP_TIMEOUT], ['1m30s', '45s'])
  })

  test('holds requests behind fronts longer if standbys are cold', async () => {
    const { manifests } = await caseNamed('a cold standby behind fronts')
    const { env } = named(podOf(manifests).initContainers, 'agent')
    assert.equal(named(env!, 'LEADER_HOLD_TIMEOUT').value, '60s')
    assert.equal(podOf(manifests).terminationGracePeriodSeconds, 105)
  })

  test('lets a rollout in readiness mode replace all standbys at once', async () => {
    const { spec } = workloadOf((await caseNamed('three replicas in readiness mode')).manifests)
    assert.deepEqual(spec.strategy.rollingUpdate, { maxSurge: 0, maxUnavailable: 2 })
    const set = workloadOf((await caseNamed('a StatefulSet in readiness mode')).manifests).spec
    assert.deepEqual(
      [set.podManagementPolicy, set.updateStrategy.rollingUpdate.maxUnavailable],
      ['Parallel', 2],
    )
  })

  test('has the Service that its StatefulSet names', async () => {
    const { manifests } = await caseNamed('a StatefulSet')
    only(manifests, 'Service', workloadOf(manifests).spec.serviceName)
  })

  test('replaces a variable of its own by one of extraEnv', async () => {
    const { manifests } = await caseNamed(
      'a release with another name, images by digest, and its place in the cluster',
    )
    const own = langflowOf(manifests).env!.filter(({ name }) => name === 'LANGFLOW_SAVE_DB_IN_CONFIG_DIR')
    assert.deepEqual(own, [{ name: 'LANGFLOW_SAVE_DB_IN_CONFIG_DIR', value: 'false' }])
  })

  test('with a volume, has all files of LangFlow there', async () => {
    for (const name of ['a claim of its own', 'an existing claim']) {
      const { manifests } = await caseNamed(name)
      const { env, volumeMounts } = langflowOf(manifests)
      const directory = named(env!, 'LANGFLOW_CONFIG_DIR').value
      const mount = volumeMounts.find(({ mountPath }) => mountPath === directory)
      const claimName = name === 'an existing claim' ? 'files' : 'langflow-files'
      const { persistentVolumeClaim } = named(podOf(manifests).volumes, mount!.name) as {
        persistentVolumeClaim?: object
      }
      assert.deepEqual(persistentVolumeClaim, { claimName })
      assert.equal(
        manifests.some(({ kind }) => kind === 'PersistentVolumeClaim'),
        claimName === 'langflow-files',
      )
    }
  })

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

  test('Ingress and route lead to its Service', async () => {
    const { manifests } = await caseNamed('clients from outside of the cluster')
    const { name, port } = only(manifests, 'Ingress').spec.rules[0].http.paths[0].backend.service
    assert.equal(only(manifests, 'Service', name).spec.ports[0].name, port.name)
    const [backend] = only(manifests, 'HTTPRoute').spec.rules[0].backendRefs
    assert.equal(only(manifests, 'Service', backend.name).spec.ports[0].port, backend.port)
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

  test('has the alerts and the dashboard unchanged', async () => {
    const { manifests } = await caseNamed('monitoring by ConfigMaps')
    const file = (name: string) => readFileSync(join(CHART, 'files', name), 'utf8')
    const alerts = only(manifests, 'ConfigMap', 'langflow-leader-alerts').data['langflow-leader.rules.yaml']
    assert.deepEqual(parse(alerts), parse(file('alerts.yaml')))
    const { metadata, data } = only(manifests, 'ConfigMap', 'langflow-leader-dashboard')
    assert.equal(metadata.labels?.grafana_dashboard, '1')
    assert.deepEqual(JSON.parse(data['langflow-leader.json']), JSON.parse(file('dashboard.json')))
    const operator = await caseNamed('monitoring by the Prometheus Operator')
    assert.deepEqual(only(operator.manifests, 'PrometheusRule').spec, parse(file('alerts.yaml')))
  })

  test('lets OpenShift choose user, group and fsGroup', async () => {
    const { text } = await caseNamed('OpenShift')
    assert.doesNotMatch(text, /runAsUser|runAsGroup|fsGroup:/)
  })

  test('selects only the pods of its release', async () => {
    const { manifests } = await rendered(CASES['a drill and operators']!.values, 4, 'flows')
    const selector = { 'app.kubernetes.io/name': 'langflow', 'app.kubernetes.io/instance': 'flows' }
    assert.deepEqual(workloadOf(manifests).spec.selector.matchLabels, selector)
    for (const { kind, metadata, spec } of manifests) {
      assert.match(metadata.name, /^flows/, kind)
      if (kind === 'Service') assert.deepEqual(spec.selector, selector)
      if (kind === 'PodDisruptionBudget') assert.deepEqual(spec.selector.matchLabels, selector)
      if (kind === 'NetworkPolicy') assert.deepEqual(spec.podSelector.matchLabels, selector)
    }
  })
})

/** Helm on a real API server. No controller runs here, so there are no pods. */
describe('a release of the chart', () => {
  let plane: ControlPlane
  before(async () => {
    plane = await startControlPlane()
  })
  after(() => plane?.close())

  for (const version of VERSIONS)
    test(`Helm ${version} keeps the key, the holder and the pods of a release over upgrade, rollback and a new installation`, async () => {
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
      const secret = await get('secret/flows', '.data')
      assert.match(Buffer.from(JSON.parse(secret)['secret-key'], 'base64').toString(), /^[-\w]{43}=$/)
      const held = JSON.stringify({ spec: { holderIdentity: 'a', leaseTransitions: 7 } })
      const lease = ['lease', 'flows-leader-lock', `--namespace=${namespace}`]
      await plane.kubectl(['patch', ...lease, '--type=merge', `--patch=${held}`])

      await run('upgrade', 'flows', CHART, '--values=-')
      assert.equal(await generation(), '1')
      await run('upgrade', 'flows', CHART, '--values=-', '--set=podAnnotations.test=two')
      assert.equal(await generation(), '2')
      await run('rollback', 'flows', '1')
      assert.equal(await generation(), '3')
      assert.equal(await get('secret/flows', '.data'), secret)
      assert.equal(await get('lease/flows-leader-lock', '.spec.holderIdentity'), 'a')

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
