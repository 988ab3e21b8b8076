import assert from 'node:assert/strict'
import { dirname } from 'node:path'
import { describe, test } from 'node:test'
import { LOG_ENV } from '../../agent/cli/check/container-environment.ts'
import { VERSION } from '../../agent/version.ts'
import { parse } from '../config/commands.ts'
import { agentOptionsOf, assertConsistent, plainEnv } from './consistency.ts'
import { BASE, type Container, named, only, type PodSpec, portOf, readManifests } from './manifests.ts'

const files = readManifests(BASE)
const kustomization = files.get('kustomization.yaml')!
const manifests = [...files.values()].filter((manifest) => manifest !== kustomization)
const deployment = only(manifests, 'Deployment')
const pod = deployment.spec.template.spec as PodSpec
const install = named(pod.initContainers, 'install')
const agent = named(pod.initContainers, 'agent')
const langflow = named(pod.containers, 'langflow')

const options = await agentOptionsOf(agent)

describe('deploy/base', () => {
  test('kustomization.yaml names every file', () => {
    const others = [...files.keys()].filter((file) => file !== 'kustomization.yaml')
    assert.deepEqual([...kustomization.resources].sort(), others.sort())
  })

  test("the image is this version's", () => {
    assert.deepEqual(kustomization.images, [{ name: agent.image, newName: agent.image, newTag: VERSION }])
    assert.equal(install.image, agent.image)
  })

  test('selectors select the pods of the Deployment', () => {
    const labels = deployment.spec.template.metadata.labels
    for (const selector of [
      deployment.spec.selector.matchLabels,
      ...manifests.filter(({ kind }) => kind === 'Service').map(({ spec }) => spec.selector),
      only(manifests, 'NetworkPolicy').spec.podSelector.matchLabels,
    ]) {
      assert.deepEqual({ ...labels, ...selector }, labels)
    }
  })

  test('the leader reaches the other agents, Ready or not, and each one under an address of its own', () => {
    const members = files.get('members-service.yaml')!
    const [port] = members.spec.ports
    assert.deepEqual([members.spec.clusterIP, members.spec.publishNotReadyAddresses], ['None', true])
    assert.deepEqual(options.peers, [{ host: members.metadata.name, port: port.port }])
    // A headless Service maps no ports.
    assert.deepEqual(
      [port.port, port.targetPort, named(agent.ports!, 'agent').containerPort],
      [8090, 8090, 8090],
    )
  })

  test('a rollout never waits for a second Ready pod', () => {
    assert.equal(deployment.spec.replicas, 2)
    assert.deepEqual(deployment.spec.strategy.rollingUpdate, { maxSurge: 0, maxUnavailable: 1 })
    assert.ok(!manifests.some(({ kind }) => kind === 'PodDisruptionBudget'))
  })

  test('what it says in several places is the same in all of them', async () => {
    const { traffic, standby } = await assertConsistent(manifests)
    assert.deepEqual([traffic.mode, standby], ['readiness', 'cold'])
  })

  test('replicas go to several nodes where there are several, and do without where not', () => {
    const [spread] = deployment.spec.template.spec.topologySpreadConstraints
    assert.equal(spread.topologyKey, 'kubernetes.io/hostname')
    assert.equal(spread.whenUnsatisfiable, 'ScheduleAnyway')
    assert.deepEqual(spread.labelSelector, deployment.spec.selector)
  })

  test('LangFlow is called by whom a label names, the agent by Prometheus and the other replicas', () => {
    const { policyTypes, ingress } = only(manifests, 'NetworkPolicy').spec
    assert.deepEqual(policyTypes, ['Ingress'])
    const client = { matchLabels: { 'langflow-leader/client': 'true' } }
    assert.deepEqual(ingress, [
      { from: [{ podSelector: client }, { namespaceSelector: client }], ports: [{ port: 'http' }] },
      { from: [{ podSelector: deployment.spec.selector }], ports: [{ port: 8090 }] },
      {
        from: [{ namespaceSelector: { matchLabels: { 'langflow-leader/monitoring': 'true' } } }],
        ports: [{ port: 8090 }],
      },
    ])
  })
})

describe('the pod', () => {
  test('no Service of the namespace becomes a setting of LangFlow', () => {
    assert.equal(pod.enableServiceLinks, false)
  })

  test('a volume is mounted by whom it is for: no flow replaces the socket or the program, or has a token or the state', () => {
    const [socket, program] = [dirname(options.socket), install.args!.at(-1)!]
    const token = '/var/run/secrets/kubernetes.io/serviceaccount'
    const mounts = [...pod.initContainers, ...pod.containers].flatMap(({ name, volumeMounts }) =>
      volumeMounts.map((one) => [one.name, one.mountPath, name, one.readOnly ?? false] as const),
    )
    assert.deepEqual(mounts.sort(), [
      ['agent-state', options.stateDir, 'agent', false],
      ['langflow-state', '/app/data', 'langflow', false],
      ['program', program, 'install', false],
      ['program', program, 'langflow', true],
      ['socket', socket, 'agent', false],
      ['socket', socket, 'langflow', true],
      ['tmp', '/tmp', 'langflow', false],
      ['token', token, 'agent', true],
    ])
    const holders = pod.volumes.filter((volume) => JSON.stringify(volume).includes('serviceAccountToken'))
    assert.equal(String(holders.map(({ name }) => name)), 'token')
    const account = only(manifests, 'ServiceAccount')
    for (const where of [pod, account]) assert.equal(where.automountServiceAccountToken, false)
  })

  test('what each container runs is known to the program', async () => {
    assert.deepEqual(install.args, ['install', '/opt/langflow-leader'])
    const [node, flag, program, ...rest] = langflow.command!
    const dir = install.args!.at(-1)
    assert.deepEqual([node, flag], [`${dir}/node`, '--disable-sigusr1'])
    assert.equal(program, `${dir}/langflow-leader.mjs`)
    const launcher = (await parse([...rest, ...langflow.args!], plainEnv(langflow))).launcher!
    assert.equal(launcher.socket, options.socket)
    assert.equal(launcher.stopTimeoutMs, options.stopTimeoutMs)
    assert.deepEqual(launcher.command.slice(0, 2), ['langflow', 'run'])
    const port = launcher.command[launcher.command.indexOf('--port') + 1]
    assert.deepEqual(
      [Number(port), langflow.ports!.map(({ containerPort }) => containerPort)],
      [options.target.port, [options.target.port]],
    )
  })

  test('each probe asks the agent, and only readiness is about leadership', () => {
    const asked = (container: Container) =>
      [container.startupProbe, container.livenessProbe, container.readinessProbe].map(
        (probe) => probe && `${probe.httpGet.path} ${portOf(probe, container)}`,
      )
    assert.deepEqual(asked(agent), ['/livez 8090', '/livez 8090', '/readyz 8090'])
    assert.deepEqual(asked(langflow), ['/workloadz 8090', '/workloadz 8090', undefined])
    assert.deepEqual(options.listen, { host: null, port: 8090 })
  })

  test('replicas share the secret key, the first user and the database', () => {
    const from = (name: string) => named(langflow.env!, name).valueFrom?.secretKeyRef
    for (const [name, key] of [
      ['LANGFLOW_SECRET_KEY', 'secret-key'],
      ['LANGFLOW_SUPERUSER_PASSWORD', 'superuser-password'],
      ['LANGFLOW_DATABASE_URL', 'database-url'],
    ] as const) {
      assert.deepEqual([from(name)?.name, from(name)?.key], ['langflow', key])
    }
  })

  test('LangFlow goes on to answer while its database is away', () => {
    assert.equal(plainEnv(langflow)[LOG_ENV.name], LOG_ENV.value)
  })

  test('LangFlow has its state on a volume', () => {
    const { HOME, ...env } = plainEnv(langflow)
    assert.deepEqual(
      [HOME, env.LANGFLOW_CONFIG_DIR, env.LANGFLOW_SAVE_DB_IN_CONFIG_DIR],
      ['/app/data', '/app/data', 'true'],
    )
  })
})

describe('the Role', () => {
  test("is the agent's", () => {
    const { roleRef, subjects } = only(manifests, 'RoleBinding')
    const account = only(manifests, 'ServiceAccount').metadata.name
    assert.equal(roleRef.name, only(manifests, 'Role').metadata.name)
    assert.deepEqual(subjects, [{ kind: 'ServiceAccount', name: account }])
    assert.equal(pod.serviceAccountName, account)
  })

  test("the Lease has no spec: it is nobody's, and applying it again never takes it from its holder", () => {
    const { metadata, spec } = only(manifests, 'Lease')
    assert.deepEqual([metadata.name, spec], [options.leaseName, undefined])
  })
})
