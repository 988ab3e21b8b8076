import { isDeepStrictEqual } from 'node:util'
import { asFields, asList, asNumber, asText, dig, type Manifest, titleOf } from '../manifests/manifest.ts'
import {
  initContainers,
  LAUNCH,
  mounts,
  probes,
  RESTRICTED,
  RESTRICTED_POD,
  SERVICE_PORT,
  userFor,
  VOLUMES,
} from '../manifests/pod-spec.ts'
import { podLabels, type Workload } from '../manifests/workload.ts'
import type { InjectOptions } from './inject-command.ts'
import type { Edit, Path } from './injection-record.ts'

const POD: Path = ['spec', 'template', 'spec']

/** What is changed in the workload's manifest. */
export function* editsFor(workload: Workload, options: InjectOptions): Generator<Edit> {
  yield* inContainer(workload, options)
  yield* inPod(workload, options)
  const { manifest, spec, replicas } = workload
  if (manifest.kind !== 'Deployment' || options.traffic !== 'readiness') return
  // Exactly one pod is ever Ready: a surge would wait for a second one that never comes.
  const rollingUpdate = { maxSurge: 0, maxUnavailable: Math.max(1, replicas - 1) }
  const strategy = { type: 'RollingUpdate', rollingUpdate }
  if (!isDeepStrictEqual(spec.strategy, strategy)) yield { path: ['spec', 'strategy'], to: strategy }
}

function* inContainer(workload: Workload, options: InjectOptions): Generator<Edit> {
  const { langflow, container } = workload
  const { entrypoint, port, socketDir, launcherVariables } = options
  const at = (key: string): Path => [...POD, 'containers', { name: container }, key]
  yield { path: at('readinessProbe') }
  yield { path: at('livenessProbe'), to: probes(port).liveness }
  yield { path: at('startupProbe'), to: probes(port).startup }
  yield { path: at('volumeMounts'), head: mounts(socketDir) }
  if (options.traffic === 'front') yield* toFront(workload, options.frontPort, at('ports'))
  if (launcherVariables.length > 0) yield { path: at('env'), head: launcherVariables }
  if (asList(langflow.command).length > 0) yield { path: at('command'), head: LAUNCH }
  else yield { path: at('command'), to: [...LAUNCH, ...(entrypoint ?? [])] }
}

/**
 * A name of LangFlow's port leads to the front from now on. It stays in LangFlow's container: Kubernetes before 1.33 does not
 * find the ports of native sidecars by name, nor does every engine of NetworkPolicies.
 */
function* toFront(workload: Workload, frontPort: number, ports: Path): Generator<Edit> {
  const names = namesOf(workload)
  for (const name of names) yield { path: [...ports, { name }, 'containerPort'], to: frontPort }
  if (names.length > 0 || frontPortName(workload) === null) return
  const added = { name: SERVICE_PORT, containerPort: frontPort }
  yield { path: ports, head: [added] }
}

/** Has a Service that leads to LangFlow's port by its number lead to the front. */
export function* leadToFront(service: Manifest, workload: Workload, frontPort: number): Generator<Edit> {
  // The clients of a headless Service ask the pods themselves.
  if (dig(service.value, 'spec', 'clusterIP') === 'None') return
  const ports = asList(dig(service.value, 'spec', 'ports'))
  const targetPort = frontPortName(workload) ?? frontPort
  const led = ports.filter((port) => (dig(port, 'targetPort') ?? dig(port, 'port')) === workload.port)
  if (led.some((port) => asText(dig(port, 'name')) === ''))
    // A port without a name is the only one.
    yield { path: ['spec', 'ports'], to: ports.map((port) => ({ ...asFields(port), targetPort })) }
  else
    for (const port of led)
      yield { path: ['spec', 'ports', { name: asText(dig(port, 'name')) }, 'targetPort'], to: targetPort }
}

/** The name by which Services find the front; `null`: only its number, since another port has the usual name. */
function frontPortName(workload: Workload): string | null {
  const [name] = namesOf(workload)
  if (name !== undefined) return name
  // A Service leads to the first port of that name that any container of the pod has.
  const { containers, initContainers } = workload.pod
  const ports = [...asList(containers), ...asList(initContainers)].flatMap((one) => asList(dig(one, 'ports')))
  return ports.some((port) => dig(port, 'name') === SERVICE_PORT) ? null : SERVICE_PORT
}

/** The names that LangFlow's port has in its container. */
function namesOf({ langflow, port }: Workload): string[] {
  const own = asList(langflow.ports).filter((one) => dig(one, 'containerPort') === port)
  return own.map((one) => asText(dig(one, 'name'))).filter((name) => name !== '')
}

function* inPod(workload: Workload, options: InjectOptions): Generator<Edit> {
  const { manifest, pod, langflow, names, ownAccount } = workload
  const { image, traffic, port, socketDir, stateDir, graceSeconds } = options
  const { own, supplementalGroups } = userFor(pod, langflow)
  const added = initContainers({
    ...{ kind: manifest.kind, image, traffic, port, socketDir, stateDir },
    securityContext: { ...RESTRICTED, ...RESTRICTED_POD, ...own },
    variables: variables(workload, options),
  })
  yield { path: [...POD, 'volumes'], head: VOLUMES }
  yield { path: [...POD, 'initContainers'], head: added }
  if (supplementalGroups !== null) {
    const path = [...POD, 'securityContext']
    const isThere = Object.keys(asFields(pod.securityContext)).length > 0
    if (isThere) yield { path: [...path, 'supplementalGroups'], to: supplementalGroups }
    else yield { path, to: { supplementalGroups } }
  }
  if ((asNumber(pod.terminationGracePeriodSeconds) ?? 0) < graceSeconds)
    yield { path: [...POD, 'terminationGracePeriodSeconds'], to: graceSeconds }
  if (pod.automountServiceAccountToken !== false)
    yield { path: [...POD, 'automountServiceAccountToken'], to: false }
  if (!ownAccount) return
  yield { path: [...POD, 'serviceAccountName'], to: names.account }
  // The API server fills in the old name of this field, and takes the account from there when the new one is removed.
  yield { path: [...POD, 'serviceAccount'], to: names.account }
}

/** The agent's variables: those that follow from the workload, unless they were given, and the given ones. */
function variables({ names, port }: Workload, { traffic, agentVariables, ...options }: InjectOptions) {
  const own = [
    { name: 'LEADER_PEERS', value: `${names.members}:${options.port}` },
    { name: 'LEADER_LEASE_NAME', value: names.lease },
    { name: 'LEADER_TARGET', value: `http://127.0.0.1:${port}` },
    { name: 'LEADER_TRAFFIC', value: traffic },
  ]
  const given = new Set(agentVariables.map(({ name }) => name))
  return [...own.filter(({ name }) => !given.has(name)), ...agentVariables]
}

/** The annotation of objects that are there for a LangFlow only. Unlike labels, Helm leaves it alone. */
export const ADDED_FOR = 'langflow-leader/injected-for'

/** The objects that the replicas need beside their pods, in the order in which they are applied. */
export function objectsFor(
  { manifest, names, ownAccount, ...workload }: Workload,
  { port }: Pick<InjectOptions, 'port'>,
) {
  const namespace = manifest.namespace === null ? {} : { namespace: manifest.namespace }
  const object = (apiVersion: string, kind: string, name: string, more: object = {}) => ({
    apiVersion,
    kind,
    metadata: {
      name,
      ...namespace,
      labels: { 'app.kubernetes.io/managed-by': 'langflow-leader' },
      annotations: { [ADDED_FOR]: titleOf(manifest) },
    },
    ...more,
  })
  const account = object('v1', 'ServiceAccount', names.account, { automountServiceAccountToken: false })
  return [
    ...(ownAccount ? [account] : []),
    object('rbac.authorization.k8s.io/v1', 'Role', names.role, { rules: rules(names.lease) }),
    object('rbac.authorization.k8s.io/v1', 'RoleBinding', names.role, {
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: names.role },
      subjects: [{ kind: 'ServiceAccount', name: names.account, ...namespace }],
    }),
    object('coordination.k8s.io/v1', 'Lease', names.lease),
    object('v1', 'Service', names.members, {
      spec: {
        clusterIP: 'None',
        publishNotReadyAddresses: true,
        selector: podLabels(workload),
        ports: [{ name: 'agent', port, targetPort: port }],
      },
    }),
  ]
}

function rules(lease: string) {
  const leases = { apiGroups: ['coordination.k8s.io'], resources: ['leases'] }
  return [
    { ...leases, resourceNames: [lease], verbs: ['get', 'watch', 'update'] },
    { ...leases, verbs: ['create'] },
    { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create'] },
  ]
}
