import assert from 'node:assert/strict'
import { dirname } from 'node:path'
import { describe, test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import { VERSION } from '../../agent/version.ts'
import { parse } from '../config/commands.ts'
import { BASE, type Container, named, only, type PodSpec, portOf, readManifests } from './manifests.ts'

const files = readManifests(BASE)
const kustomization = files.get('kustomization.yaml')!
const manifests = [...files.values()].filter((manifest) => manifest !== kustomization)
const deployment = only(manifests, 'Deployment')
const pod = deployment.spec.template.spec as PodSpec
const containers = [...pod.initContainers, ...pod.containers]
const install = named(pod.initContainers, 'install')
const agent = named(pod.initContainers, 'agent')
const langflow = named(pod.containers, 'langflow')

const mount = (container: Container, path: string) => {
  const found = container.volumeMounts.find(({ mountPath }) => mountPath === path)
  assert.ok(found, `${container.name} mounts nothing at ${path}`)
  return found
}
const mounting = (volume: string) =>
  containers
    .filter(({ volumeMounts }) => volumeMounts.some(({ name }) => name === volume))
    .map(({ name }) => name)
/** As the agent will read its flags and environment. */
const options = (await parse(agent.args!, { ...plainEnv(agent), POD_NAME: 'a', POD_UID: 'b' })).agent!

function plainEnv({ env = [] }: Container): Record<string, string> {
  return Object.fromEntries(env.flatMap(({ name, value }) => (value === undefined ? [] : [[name, value]])))
}

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
    assert.deepEqual(options.peers, { host: members.metadata.name, port: port.port })
    // A headless Service maps no ports.
    assert.deepEqual(
      [port.port, port.targetPort, named(agent.ports!, 'agent').containerPort],
      [8090, 8090, 8090],
    )
    const { ingress, podSelector } = only(manifests, 'NetworkPolicy').spec
    assert.ok(
      ingress.some(
        ({ from, ports }: { from: unknown[]; ports: { port: string }[] }) =>
          isDeepStrictEqual(from, [{ podSelector }]) && isDeepStrictEqual(ports, [{ port: port.targetPort }]),
      ),
    )
  })

  test('a rollout never waits for a second Ready pod', () => {
    assert.equal(deployment.spec.replicas, 2)
    assert.deepEqual(deployment.spec.strategy.rollingUpdate, { maxSurge: 0, maxUnavailable: 1 })
  })
})

describe('the pod', () => {
  test('the agent is a native sidecar, after the install and before LangFlow', () => {
    assert.deepEqual(
      pod.initContainers.map(({ name, restartPolicy }) => [name, restartPolicy]),
      [
        ['install', undefined],
        ['agent', 'Always'],
      ],
    )
  })

  test('each container meets the Pod Security Standard "restricted", with a read-only root', () => {
    const { runAsNonRoot, runAsUser, runAsGroup, fsGroup, seccompProfile } = pod.securityContext
    assert.deepEqual([runAsNonRoot, runAsUser, runAsGroup, fsGroup], [true, 1000, 1000, 1000])
    assert.deepEqual(seccompProfile, { type: 'RuntimeDefault' })
    for (const { name, securityContext } of containers) {
      const wanted = {
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      }
      assert.deepEqual(securityContext, wanted, name)
    }
    assert.equal(pod.shareProcessNamespace, undefined)
  })

  test('only the agent has a token', () => {
    assert.equal(pod.automountServiceAccountToken, false)
    assert.equal(only(manifests, 'ServiceAccount').automountServiceAccountToken, false)
    const withToken = pod.volumes.filter(({ projected }) =>
      projected?.sources.some((source) => 'serviceAccountToken' in source),
    )
    assert.equal(withToken.length, 1)
    const [volume] = withToken
    assert.deepEqual(mounting(volume!.name), ['agent'])
    assert.equal(mount(agent, '/var/run/secrets/kubernetes.io/serviceaccount').name, volume!.name)
    const sources = Object.assign({}, ...volume!.projected!.sources)
    assert.deepEqual(sources.serviceAccountToken, { path: 'token', expirationSeconds: 3607 })
    assert.equal(sources.configMap.name, 'kube-root-ca.crt')
    assert.equal(sources.downwardAPI.items[0].path, 'namespace')
  })

  test('LangFlow can neither replace the socket nor what starts it', () => {
    const socket = mount(agent, dirname(options.socket))
    const program = mount(install, install.args!.at(-1)!)
    assert.deepEqual([socket.readOnly, program.readOnly], [undefined, undefined])
    for (const shared of [socket, program]) {
      assert.deepEqual(mount(langflow, shared.mountPath), { ...shared, readOnly: true })
    }
    assert.deepEqual(mounting(socket.name), ['agent', 'langflow'])
    assert.deepEqual(mounting(program.name), ['install', 'langflow'])
  })

  test("the agent's state is its own", () => {
    assert.deepEqual(mounting(mount(agent, options.stateDir).name), ['agent'])
  })

  test('every mounted volume exists, and every volume is mounted', () => {
    const mounted = new Set(containers.flatMap(({ volumeMounts }) => volumeMounts.map(({ name }) => name)))
    assert.deepEqual([...mounted].sort(), pod.volumes.map(({ name }) => name).sort())
  })

  test('what each container runs is known to the program', async () => {
    assert.deepEqual(install.args, ['install', '/opt/langflow-leader'])
    const [tini, dashes, node, program, ...rest] = langflow.command!
    const dir = install.args!.at(-1)
    assert.deepEqual([tini, dashes, node], [`${dir}/tini`, '--', `${dir}/node`])
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

  test('the identity is made of what names the pod', () => {
    const source = (name: string) => named(agent.env!, name).valueFrom?.fieldRef?.fieldPath
    assert.deepEqual([source('POD_NAME'), source('POD_UID')], ['metadata.name', 'metadata.uid'])
  })

  test('each probe asks the agent, and only readiness is about leadership', () => {
    const paths = (container: Container) =>
      [container.startupProbe, container.livenessProbe, container.readinessProbe].map(
        (probe) => probe?.httpGet.path,
      )
    assert.deepEqual(paths(agent), ['/livez', '/livez', '/readyz'])
    assert.deepEqual(paths(langflow), ['/workloadz', '/workloadz', undefined])
    for (const container of [agent, langflow]) {
      for (const probe of [container.startupProbe, container.livenessProbe, container.readinessProbe]) {
        if (probe !== undefined) assert.equal(portOf(probe, container), options.listen.port)
      }
    }
    assert.equal(options.listen.host, null)
  })

  test('there is time to drain and to stop before the kubelet kills', () => {
    const neededMs = options.drainTimeoutMs + options.stopTimeoutMs
    assert.ok(pod.terminationGracePeriodSeconds * 1000 >= neededMs + 10_000)
  })

  test('replicas share the secret key and the database', () => {
    const from = (name: string) => named(langflow.env!, name).valueFrom?.secretKeyRef?.name
    assert.deepEqual([from('LANGFLOW_SECRET_KEY'), from('LANGFLOW_DATABASE_URL')], ['langflow', 'langflow'])
  })

  test('each container says what memory it needs and may have', () => {
    for (const { name, resources } of containers) {
      assert.ok(resources?.requests?.memory && resources.limits?.memory, name)
    }
  })
})

describe('the Role', () => {
  const { rules } = only(manifests, 'Role')

  test('the one Lease by name, and create, which no name can limit, by itself', () => {
    const leases = { apiGroups: ['coordination.k8s.io'], resources: ['leases'] }
    assert.deepEqual(rules, [
      { ...leases, resourceNames: [options.leaseName], verbs: ['get', 'watch', 'update'] },
      { ...leases, verbs: ['create'] },
    ])
    assert.equal(only(manifests, 'Lease').metadata.name, options.leaseName)
  })

  test("is the agent's", () => {
    const { roleRef, subjects } = only(manifests, 'RoleBinding')
    const account = only(manifests, 'ServiceAccount').metadata.name
    assert.equal(roleRef.name, only(manifests, 'Role').metadata.name)
    assert.deepEqual(subjects, [{ kind: 'ServiceAccount', name: account }])
    assert.equal(pod.serviceAccountName, account)
  })

  test("the Lease has no spec: it is nobody's, and applying it again never takes it from its holder", () => {
    assert.equal(only(manifests, 'Lease').spec, undefined)
  })
})
