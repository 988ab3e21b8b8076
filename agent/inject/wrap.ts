import { isDeepStrictEqual } from 'node:util'
import { VERSION } from '../version.ts'
import { asFields, asList, asNumber } from './manifest.ts'
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
} from './pod.ts'
import { type Path, Recorder } from './record.ts'
import type { InjectOptions } from './settings.ts'
import { DEFAULT_PORT, type Workload } from './workload.ts'

const POD: Path = ['spec', 'template', 'spec']

/** Changes the workload's manifest. Throws `FatalError`. */
export function wrap(workload: Workload, options: InjectOptions): void {
  const recorder = new Recorder(workload.manifest)
  wrapContainer(workload, options, recorder)
  wrapPod(workload, options, recorder)
  const { manifest, spec, replicas } = workload
  if (manifest.kind === 'Deployment' && options.traffic === 'readiness') {
    // Exactly one pod is ever Ready: a surge would wait for a second one that never comes.
    const rollingUpdate = { maxSurge: 0, maxUnavailable: Math.max(1, replicas - 1) }
    const strategy = { type: 'RollingUpdate', rollingUpdate }
    if (!isDeepStrictEqual(spec.strategy, strategy)) recorder.set(['spec', 'strategy'], strategy)
  }
  recorder.finish(VERSION)
}

function wrapContainer(
  { langflow, container }: Workload,
  { entrypoint }: InjectOptions,
  recorder: Recorder,
): void {
  const path: Path = [...POD, 'containers', { name: container }]
  // First: it is found again by the key before it.
  recorder.cut([...path, 'readinessProbe'])
  recorder.set([...path, 'livenessProbe'], LIVENESS_PROBE)
  recorder.set([...path, 'startupProbe'], STARTUP_PROBE)
  recorder.prepend([...path, 'volumeMounts'], MOUNTS)
  if (asList(langflow.command).length > 0) recorder.prependWords([...path, 'command'], LAUNCH)
  else recorder.set([...path, 'command'], [...LAUNCH, ...(entrypoint ?? [])])
}

function wrapPod(workload: Workload, options: InjectOptions, recorder: Recorder): void {
  const { pod, langflow, names, ownAccount } = workload
  const user = userFor(pod, langflow)
  const parts = {
    image: options.image,
    securityContext: { ...RESTRICTED, ...RESTRICTED_POD, ...user.own },
    variables: variables(workload, options),
    readyIsLeader: options.traffic === 'readiness',
  }
  recorder.prepend([...POD, 'volumes'], VOLUMES)
  recorder.prepend([...POD, 'initContainers'], initContainers(parts))
  const { supplementalGroups } = user
  if (supplementalGroups !== null) {
    const isThere = Object.keys(asFields(pod.securityContext)).length > 0
    if (isThere) recorder.set([...POD, 'securityContext', 'supplementalGroups'], supplementalGroups)
    else recorder.set([...POD, 'securityContext'], { supplementalGroups })
  }
  const grace = asNumber(pod.terminationGracePeriodSeconds)
  if (grace === null || grace < GRACE_SECONDS)
    recorder.set([...POD, 'terminationGracePeriodSeconds'], GRACE_SECONDS)
  if (pod.automountServiceAccountToken !== false)
    recorder.set([...POD, 'automountServiceAccountToken'], false)
  if (!ownAccount) return
  recorder.set([...POD, 'serviceAccountName'], names.account)
  // The API server fills in the old name of this field, and takes the account from there when the new one is removed.
  recorder.set([...POD, 'serviceAccount'], names.account)
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
