import { isDeepStrictEqual } from 'node:util'
import { asFields, asList, asNumber } from '../manifests/manifest.ts'
import {
  initContainers,
  LAUNCH,
  mounts,
  probes,
  RESTRICTED,
  RESTRICTED_POD,
  ROLLOUT_HASH,
  userFor,
  VOLUMES,
} from '../manifests/pod.ts'
import { DEFAULT_PORT, type Workload } from '../manifests/workload.ts'
import type { Edit, Path } from './record.ts'
import type { InjectOptions } from './settings.ts'

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

function* inContainer({ langflow, container }: Workload, options: InjectOptions): Generator<Edit> {
  const { entrypoint, port, socketDir, launcherVariables } = options
  const at = (key: string): Path => [...POD, 'containers', { name: container }, key]
  // First: it is found again by the key before it.
  yield { path: at('readinessProbe') }
  yield { path: at('livenessProbe'), to: probes(port).liveness }
  yield { path: at('startupProbe'), to: probes(port).startup }
  yield { path: at('volumeMounts'), head: mounts(socketDir) }
  if (launcherVariables.length > 0) yield { path: at('env'), head: launcherVariables }
  if (asList(langflow.command).length > 0) yield { path: at('command'), head: LAUNCH }
  else yield { path: at('command'), to: [...LAUNCH, ...(entrypoint ?? [])] }
}

function* inPod(workload: Workload, options: InjectOptions): Generator<Edit> {
  const { manifest, pod, langflow, names, ownAccount } = workload
  const { port, socketDir, stateDir, graceSeconds } = options
  const { own, supplementalGroups } = userFor(pod, langflow)
  const added = initContainers({
    image: options.image,
    securityContext: { ...RESTRICTED, ...RESTRICTED_POD, ...own },
    variables: variables(workload, options),
    readyIsLeader: options.traffic === 'readiness',
    ...{ port, socketDir, stateDir },
    ...(manifest.kind === 'Rollout' ? { templateHash: ROLLOUT_HASH } : {}),
  })
  yield { path: [...POD, 'volumes'], head: VOLUMES }
  yield { path: [...POD, 'initContainers'], head: added }
  if (supplementalGroups !== null) {
    const isThere = Object.keys(asFields(pod.securityContext)).length > 0
    if (isThere) yield { path: [...POD, 'securityContext', 'supplementalGroups'], to: supplementalGroups }
    else yield { path: [...POD, 'securityContext'], to: { supplementalGroups } }
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

/** What the agent is told: where nothing else was said, what follows from the workload. */
function variables({ names, port }: Workload, options: InjectOptions) {
  const { traffic, agentVariables } = options
  const own = [
    { name: 'LEADER_PEERS', value: `${names.members}:${options.port}` },
    { name: 'LEADER_LEASE_NAME', value: names.lease },
    { name: 'LEADER_TARGET', value: `http://127.0.0.1:${port}`, unless: `http://127.0.0.1:${DEFAULT_PORT}` },
    { name: 'LEADER_TRAFFIC', value: traffic, unless: 'readiness' },
  ]
  const needed = own.filter(
    ({ name, value, unless }) => value !== unless && !agentVariables.some((one) => one.name === name),
  )
  return [...needed.map(({ name, value }) => ({ name, value })), ...agentVariables]
}
