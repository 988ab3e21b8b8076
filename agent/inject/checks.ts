import {
  asFields,
  asList,
  asNumber,
  asText,
  dig,
  isTrue,
  type Manifest,
  type StreamManifest,
  unfit,
} from '../manifests/manifest.ts'
import { AGENT_PORT, PROGRAM_DIR, SOCKET_DIR, VOLUMES } from '../manifests/pod.ts'
import type { Workload } from '../manifests/workload.ts'
import type { InjectOptions, Traffic } from './settings.ts'

/** Throws `FatalError` where LangFlow could not be kept to one at a time, or the pod would not start. */
export function refuseUnfit(workload: Workload<StreamManifest>, options: InjectOptions): void {
  const [reason] = reasonsAgainst(workload, options)
  if (reason !== undefined) throw unfit(workload.manifest, reason)
}

function* reasonsAgainst(
  workload: Workload<StreamManifest>,
  { entrypoint }: InjectOptions,
): Generator<string> {
  const { manifest, pod, langflow, container, port } = workload
  const all = [...asList(pod.initContainers), ...asList(pod.containers)].map(asFields)
  if (/^%/m.test(manifest.document.text.split(/^---/m, 1)[0]!))
    yield 'a % directive stands before it: remove that'

  for (const name of ['hostPID', 'shareProcessNamespace'])
    if (isTrue(pod[name]))
      yield `with ${name} the launcher cannot be PID 1, whose end ends every process of LangFlow: remove it`
  if (isTrue(pod.hostNetwork))
    yield `with hostNetwork port ${AGENT_PORT} and the loopback address are the node's, where others may answer and ask: remove it`
  const systems = ['kubernetes.io/os', 'beta.kubernetes.io/os'].map((label) =>
    dig(pod, 'nodeSelector', label),
  )
  if ([dig(pod, 'os', 'name'), ...systems].includes('windows'))
    yield 'it is for Windows nodes, and the launcher needs Linux'

  for (const name of ['install', 'agent'])
    if (all.some((one) => one.name === name))
      yield `it has a container named ${name} already, which is what inject would add: rename it`
  for (const { name } of VOLUMES)
    if (asList(pod.volumes).some((volume) => dig(volume, 'name') === name))
      yield `it has a volume named ${name} already, which is what inject would add: rename it`
  for (const mount of asList(langflow.volumeMounts)) {
    const path = asText(dig(mount, 'mountPath')).replace(/\/+$/, '')
    if ([PROGRAM_DIR, SOCKET_DIR].some((dir) => path === dir || path.startsWith(`${dir}/`)))
      yield `its container ${container} has a volume at ${path} already, where inject would mount its own: move it`
  }

  if (port === AGENT_PORT)
    yield `its container ${container} listens on port ${AGENT_PORT}, which is the agent's: give it another`
  for (const { name, ports } of all)
    if (asList(ports).some((one) => dig(one, 'containerPort') === AGENT_PORT))
      yield `its container ${name} has port ${AGENT_PORT}, which is the agent's: give it another`

  if (asList(langflow.command).length > 0) return
  if (entrypoint === null)
    yield `its container ${container} has no command, and what its image starts is not known here: say it with --entrypoint, such as --entrypoint 'langflow run'`
  else if (entrypoint.length + asList(langflow.args).length === 0)
    yield `its container ${container} has neither command nor args, so that --entrypoint must say what to start, such as --entrypoint 'langflow run'`
}

/** What whoever applies the result should know: sentences without their subject. `services`: how many lead to it. */
export function warningsFor(workload: Workload, traffic: Traffic, services: number): string[] {
  const { manifest, replicas, spec } = workload
  const others = withoutToken(workload)
  const ordered = manifest.kind === 'StatefulSet' && spec.podManagementPolicy !== 'Parallel'
  const warnings: string[] = []
  if (replicas === 1)
    warnings.push('it has one replica, so that none can take over: set replicas to 2 or more')
  if (ordered && traffic === 'readiness' && replicas > 2)
    warnings.push(
      `of its ${replicas} replicas the third is never made, since the second one never gets Ready: set podManagementPolicy to Parallel, which an existing StatefulSet must be deleted for (kubectl delete --cascade=orphan), or use --traffic label`,
    )
  if (traffic === 'label' && services === 0)
    warnings.push(
      'no Service in this stream leads to it: add langflow-leader/role: leader to the selector of the one that its clients use',
    )
  if (others.length > 0)
    warnings.push(
      `${others.join(' and ')} ${others.length > 1 ? 'lose' : 'loses'} the API server's token, which only the agent has from now on: mount a projected one where it is needed`,
    )
  return warnings
}

/** The containers and native sidecars beside LangFlow that had a token, by their names. */
function withoutToken({ pod, container }: Workload): string[] {
  const mounts = pod.automountServiceAccountToken ?? true
  if (!isTrue(mounts)) return []
  const sidecars = asList(pod.initContainers).filter((one) => dig(one, 'restartPolicy') === 'Always')
  return [...asList(pod.containers), ...sidecars]
    .map((one) => asText(dig(one, 'name')))
    .filter((name) => name !== container)
}

/** Of what a cluster gave out: old pods and new ones, of which only some know the Lease, would act at once. */
export function strangersTo({ value }: Manifest): string[] {
  const running = asNumber(dig(value, 'status', 'replicas')) ?? 0
  if (running === 0) return []
  return [
    `it has ${running} running ${running === 1 ? 'pod' : 'pods'}: scale it to 0 before you apply this, and back afterwards, since pods with an agent and pods without one act at once`,
  ]
}
