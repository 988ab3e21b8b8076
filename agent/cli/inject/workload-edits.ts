import { isDeepStrictEqual } from 'node:util'
import { asFields, asList, asNumber, asText, dig, type Manifest, titleOf } from '../manifests/manifest.ts'
import {
  initContainers,
  LAUNCH,
  MOUNTS,
  probes,
  RESTRICTED,
  RESTRICTED_POD,
  SERVICE_PORT,
  userFor,
  VOLUMES,
} from '../manifests/pod-spec.ts'
import { labelsOf, type Workload } from '../manifests/workload.ts'
import type { InjectOptions } from './inject-command.ts'
import type { Edit, Path } from './manifest-edit.ts'

const POD: Path = ['spec', 'template', 'spec']

export function* editsFor(workload: Workload, options: InjectOptions): Generator<Edit> {
  yield* inContainer(workload, options)
  yield* inPod(workload, options)
  const { manifest, spec } = workload
  if (manifest.kind !== 'Deployment' || options.traffic !== 'readiness') return
  // Only the leader's pod is Ready. A rollout with a surge would wait forever for a second Ready pod. Kubernetes rounds down: of any
  // number of pods, all but one may be unavailable.
  const strategy = { type: 'RollingUpdate', rollingUpdate: { maxSurge: 0, maxUnavailable: '99%' } }
  if (!isDeepStrictEqual(spec.strategy, strategy)) yield { path: ['spec', 'strategy'], to: strategy }
}

function* inContainer(workload: Workload, options: InjectOptions): Generator<Edit> {
  const { container } = workload
  const { port, launcherVariables } = options
  const at = (key: string): Path => [...POD, 'containers', { name: container }, key]
  yield { path: at('readinessProbe') }
  yield { path: at('livenessProbe'), to: probes(port).liveness }
  yield { path: at('startupProbe'), to: probes(port).startup }
  yield { path: at('volumeMounts'), head: MOUNTS }
  if (options.traffic === 'front') yield* toFront(workload, options.frontPort, at('ports'))
  if (options.traffic === 'front') yield* toLoopback(workload, at)
  if (launcherVariables.length > 0) yield { path: at('env'), head: launcherVariables }
  yield { path: at('command'), head: LAUNCH }
}

const HOST = { name: 'LANGFLOW_HOST', value: '127.0.0.1' } as const
/** The values of `langflow run --host`, and of its variable, in words with NUL between them, or in a script. */
const HOSTS =
  /(?<=\bLANGFLOW_HOST=|\blangflow(?:\.__main__)?[\s\0]+run\b(?:\\\n|[^;&|\n])*?[\s\0]--host[\s\0=]+)("[^"]*"|'[^']*'|\$\([^)]*\)|[^\s\0"';&|()]+)/g

/** Lets LangFlow listen where only its front reaches it. */
function* toLoopback({ langflow }: Workload, at: (key: string) => Path): Generator<Edit> {
  const [command, env] = [asList(langflow.command), asList(langflow.env)]
  const words = [...command, ...asList(langflow.args)].join('\0')
  const args = words.replaceAll(HOSTS, HOST.value).split('\0')
  for (const [key, own] of Object.entries({ command: args.splice(0, command.length), args }))
    if (!isDeepStrictEqual(own, asList(langflow[key]))) yield { path: at(key), to: own }
  if (words.search(HOSTS) >= 0) return
  const others = env.filter((one) => dig(one, 'name') !== HOST.name)
  if (others.length < env.length) yield { path: at('env'), to: others }
  yield { path: at('env'), head: [HOST] }
}

/**
 * Points the names of LangFlow's port to the front. The port stays in LangFlow's container, because Kubernetes before 1.33 and some
 * implementations of NetworkPolicy do not resolve names of ports in native sidecars.
 */
function* toFront(workload: Workload, frontPort: number, ports: Path): Generator<Edit> {
  const names = namesOf(workload)
  for (const name of names) yield { path: [...ports, { name }, 'containerPort'], to: frontPort }
  if (names.length > 0 || frontPortName(workload) === null) return
  const added = { name: SERVICE_PORT, containerPort: frontPort }
  yield { path: ports, head: [added] }
}

/** Points a Service that uses the number of LangFlow's port to the front. */
export function* leadToFront(service: Manifest, workload: Workload, frontPort: number): Generator<Edit> {
  // The clients of a headless Service choose the port themselves.
  if (dig(service.value, 'spec', 'clusterIP') === 'None') return
  const ports = asList(dig(service.value, 'spec', 'ports'))
  const targetPort = frontPortName(workload) ?? frontPort
  const led = ports.filter((port) => (dig(port, 'targetPort') ?? dig(port, 'port')) === workload.port)
  const changed = ports.map((port) => (led.includes(port) ? { ...asFields(port), targetPort } : port))
  if (led.length > 0) yield { path: ['spec', 'ports'], to: changed }
}

/** The name of the front's port for Services; `null` if another port has the usual name, so that Services use the number. */
function frontPortName(workload: Workload): string | null {
  const [name] = namesOf(workload)
  if (name !== undefined) return name
  // A Service uses the first port of that name in any container of the pod.
  const { containers, initContainers } = workload.pod
  const ports = [...asList(containers), ...asList(initContainers)].flatMap((one) => asList(dig(one, 'ports')))
  return ports.some((port) => dig(port, 'name') === SERVICE_PORT) ? null : SERVICE_PORT
}

function namesOf({ langflow, port }: Workload): string[] {
  const own = asList(langflow.ports).filter((one) => dig(one, 'containerPort') === port)
  return own.map((one) => asText(dig(one, 'name'))).filter((name) => name !== '')
}

function* inPod(workload: Workload, options: InjectOptions): Generator<Edit> {
  const { pod, langflow, names, hasDefaultAccount } = workload
  const { image, traffic, port } = options
  const graceSeconds = Math.ceil((options.endMs + options.frontMs) / 1000)
  const { own, podContext } = userFor(pod, langflow)
  const added = initContainers({
    ...{ image, traffic, port },
    securityContext: { ...RESTRICTED, ...RESTRICTED_POD, ...own },
    variables: variables(workload, options),
  })
  yield { path: [...POD, 'volumes'], head: VOLUMES }
  yield { path: [...POD, 'initContainers'], head: added }
  if (podContext !== null) yield { path: [...POD, 'securityContext'], to: podContext }
  if ((asNumber(pod.terminationGracePeriodSeconds) ?? 0) < graceSeconds)
    yield { path: [...POD, 'terminationGracePeriodSeconds'], to: graceSeconds }
  if (pod.automountServiceAccountToken !== false)
    yield { path: [...POD, 'automountServiceAccountToken'], to: false }
  // Of a Service named langflow, Kubernetes would make LANGFLOW_PORT, and LangFlow would not start.
  if (pod.enableServiceLinks === undefined) yield { path: [...POD, 'enableServiceLinks'], to: false }
  if (!hasDefaultAccount) return
  yield { path: [...POD, 'serviceAccountName'], to: names.account }
  // The API server also fills in this deprecated field, and uses its value if serviceAccountName is removed.
  yield { path: [...POD, 'serviceAccount'], to: names.account }
}

/** The agent's variables: the given ones, and the others as they follow from the workload. */
function variables({ names, port, replicas = 1 }: Workload, options: InjectOptions) {
  const { traffic, standby, agentVariables } = options
  const own = [
    { name: 'LEADER_PEERS', value: `${names.members}:${options.port}` },
    { name: 'LEADER_LEASE_NAME', value: names.lease },
    { name: 'LEADER_TARGET', value: `http://127.0.0.1:${port}` },
    { name: 'LEADER_TRAFFIC', value: traffic },
    { name: 'LEADER_STANDBY', value: standby },
    ...(replicas > 1 ? [{ name: 'LEADER_FAILSAFE', value: 'peers' }] : []),
  ]
  const given = new Set(agentVariables.map(({ name }) => name))
  return [...own.filter(({ name }) => !given.has(name)), ...agentVariables]
}

/** The annotation of objects that inject adds for a LangFlow. Helm changes labels, but not this annotation. */
export const ADDED_FOR = 'langflow-leader/injected-for'

/** The objects that the replicas require beside their pods, in the order of their application. */
export function objectsFor(
  { manifest, names, hasDefaultAccount, ...workload }: Workload,
  options: InjectOptions,
) {
  const { port, reportsLostPods } = options
  const selector = asFields(dig(workload.spec, 'selector', 'matchLabels'))
  const pods = Object.keys(selector).length > 0 ? selector : labelsOf(workload)
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
  const leases = { apiGroups: ['coordination.k8s.io'], resources: ['leases'] }
  const rules = [
    { ...leases, resourceNames: [names.lease], verbs: ['get', 'watch', 'update'] },
    { ...leases, verbs: ['create'] },
    { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create'] },
    ...(reportsLostPods ? [{ apiGroups: [''], resources: ['pods/status'], verbs: ['patch'] }] : []),
  ]
  const account = object('v1', 'ServiceAccount', names.account, { automountServiceAccountToken: false })
  return [
    ...(hasDefaultAccount ? [account] : []),
    object('rbac.authorization.k8s.io/v1', 'Role', names.role, { rules }),
    object('rbac.authorization.k8s.io/v1', 'RoleBinding', names.role, {
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: names.role },
      subjects: [{ kind: 'ServiceAccount', name: names.account, ...namespace }],
    }),
    object('coordination.k8s.io/v1', 'Lease', names.lease),
    object('v1', 'Service', names.members, {
      spec: {
        clusterIP: 'None',
        publishNotReadyAddresses: true,
        selector: pods,
        ports: [{ name: 'agent', port, targetPort: port }],
      },
    }),
  ]
}
