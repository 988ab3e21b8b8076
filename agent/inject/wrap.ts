import { isDeepStrictEqual } from 'node:util'
import { asFields, asList, asNumber } from '../manifests/manifest.ts'
import {
  AGENT_PORT,
  GRACE_SECONDS,
  initContainers,
  LAUNCH,
  LIVENESS_PROBE,
  MOUNTS,
  RESTRICTED,
  RESTRICTED_POD,
  STARTUP_PROBE,
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

function* inContainer({ langflow, container }: Workload, { entrypoint }: InjectOptions): Generator<Edit> {
  const at = (key: string): Path => [...POD, 'containers', { name: container }, key]
  // First: it is found again by the key before it.
  yield { path: at('readinessProbe') }
  yield { path: at('livenessProbe'), to: LIVENESS_PROBE }
  yield { path: at('startupProbe'), to: STARTUP_PROBE }
  yield { path: at('volumeMounts'), head: MOUNTS }
  if (asList(langflow.command).length > 0) yield { path: at('command'), head: LAUNCH }
  else yield { path: at('command'), to: [...LAUNCH, ...(entrypoint ?? [])] }
}

function* inPod(workload: Workload, options: InjectOptions): Generator<Edit> {
  const { pod, langflow, names, ownAccount } = workload
  const { own, supplementalGroups } = userFor(pod, langflow)
  const added = initContainers({
    image: options.image,
    securityContext: { ...RESTRICTED, ...RESTRICTED_POD, ...own },
    variables: variables(workload, options),
    readyIsLeader: options.traffic === 'readiness',
  })
  yield { path: [...POD, 'volumes'], head: VOLUMES }
  yield { path: [...POD, 'initContainers'], head: added }
  if (supplementalGroups !== null) {
    const isThere = Object.keys(asFields(pod.securityContext)).length > 0
    if (isThere) yield { path: [...POD, 'securityContext', 'supplementalGroups'], to: supplementalGroups }
    else yield { path: [...POD, 'securityContext'], to: { supplementalGroups } }
  }
  if ((asNumber(pod.terminationGracePeriodSeconds) ?? 0) < GRACE_SECONDS)
    yield { path: [...POD, 'terminationGracePeriodSeconds'], to: GRACE_SECONDS }
  if (pod.automountServiceAccountToken !== false)
    yield { path: [...POD, 'automountServiceAccountToken'], to: false }
  if (!ownAccount) return
  yield { path: [...POD, 'serviceAccountName'], to: names.account }
  // The API server fills in the old name of this field, and takes the account from there when the new one is removed.
  yield { path: [...POD, 'serviceAccount'], to: names.account }
}

function variables({ names, port }: Workload, { standby, traffic }: InjectOptions) {
  const all = [
    { name: 'LEADER_PEERS', value: `${names.members}:${AGENT_PORT}` },
    { name: 'LEADER_LEASE_NAME', value: names.lease },
    { name: 'LEADER_TARGET', value: `http://127.0.0.1:${port}`, unless: `http://127.0.0.1:${DEFAULT_PORT}` },
    { name: 'LEADER_STANDBY', value: standby, unless: 'cold' },
    { name: 'LEADER_TRAFFIC', value: traffic, unless: 'readiness' },
  ]
  return all.filter(({ value, unless }) => value !== unless).map(({ name, value }) => ({ name, value }))
}
