import { isDeepStrictEqual } from 'node:util'
import { initContainers, LAUNCH, LIVENESS_PROBE, MOUNTS, STARTUP_PROBE, VOLUMES } from './parts.ts'
import type { Recorder } from './record.ts'
import type { InjectOptions } from './settings.ts'
import type { Path } from './text/yaml-text.ts'
import { userFor } from './user.ts'
import { asFields, asList, asNumber } from './value.ts'
import type { Workload } from './workload.ts'

/** Time to drain (5 s) and to stop (30 s), and some to spare. */
const GRACE_SECONDS = 45
const POD: Path = ['spec', 'template', 'spec']

/** Edits the workload's manifest: everything but its record. Throws `Unfit`. */
export function wrap(workload: Workload, options: InjectOptions, recorder: Recorder): void {
  wrapContainer(workload, options, recorder)
  wrapPod(workload, options, recorder)
  const { manifest, spec, replicas } = workload
  if (manifest.kind !== 'Deployment' || options.traffic !== 'readiness') return
  // Exactly one pod is ever Ready: a surge would wait for a second one that never comes.
  const rollingUpdate = { maxSurge: 0, maxUnavailable: Math.max(1, replicas - 1) }
  const strategy = { type: 'RollingUpdate', rollingUpdate }
  if (!isDeepStrictEqual(spec.strategy, strategy)) recorder.set(['spec'], 'strategy', strategy)
}

function wrapContainer(
  { langflow, container }: Workload,
  { entrypoint }: InjectOptions,
  recorder: Recorder,
): void {
  const path: Path = [...POD, 'containers', { name: container }]
  // First: it is found again by the key before it.
  recorder.cut(path, 'readinessProbe')
  recorder.set(path, 'livenessProbe', LIVENESS_PROBE)
  recorder.set(path, 'startupProbe', STARTUP_PROBE)
  recorder.prepend(path, 'volumeMounts', MOUNTS)
  if (asList(langflow.command).length > 0) recorder.prependWords(path, 'command', LAUNCH)
  else recorder.set(path, 'command', [...LAUNCH, ...(entrypoint ?? [])])
}

function wrapPod(workload: Workload, options: InjectOptions, recorder: Recorder): void {
  const { pod, langflow, names, ownAccount } = workload
  const user = userFor(pod, langflow)
  recorder.prepend(POD, 'volumes', VOLUMES)
  recorder.prepend(POD, 'initContainers', initContainers(workload, user, options))
  const { supplementalGroups } = user
  if (supplementalGroups !== null) {
    const isThere = Object.keys(asFields(pod.securityContext)).length > 0
    if (isThere) recorder.set([...POD, 'securityContext'], 'supplementalGroups', supplementalGroups)
    else recorder.set(POD, 'securityContext', { supplementalGroups })
  }
  const grace = asNumber(pod.terminationGracePeriodSeconds)
  if (grace === null || grace < GRACE_SECONDS)
    recorder.set(POD, 'terminationGracePeriodSeconds', GRACE_SECONDS)
  if (pod.automountServiceAccountToken !== false) recorder.set(POD, 'automountServiceAccountToken', false)
  if (!ownAccount) return
  recorder.set(POD, 'serviceAccountName', names.account)
  // The API server fills in the old name of this field, and takes the account from there when the new one is removed.
  recorder.set(POD, 'serviceAccount', names.account)
}
