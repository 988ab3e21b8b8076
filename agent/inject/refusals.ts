import { AGENT_PORT, PROGRAM_DIR, SOCKET_DIR, VOLUMES } from './parts.ts'
import type { InjectOptions } from './settings.ts'
import { Unfit } from './unfit.ts'
import { asFields, asList, asText, dig, type Fields, isTrue } from './value.ts'
import type { Workload } from './workload.ts'

/** Throws `Unfit` where LangFlow could not be kept to one at a time, or the pod would not start. */
export function refuseUnfit(workload: Workload, options: InjectOptions): void {
  const { pod } = workload
  refuseNamespaces(pod)
  refuseWindows(pod)
  refuseTaken(workload)
  refusePort(workload)
  refuseUnknownCommand(workload, options)
}

function refuseNamespaces(pod: Fields): void {
  if (isTrue(pod.hostPID))
    throw new Unfit(
      'with hostPID the launcher cannot be PID 1, whose end ends every process of LangFlow: remove it',
    )
  if (isTrue(pod.shareProcessNamespace))
    throw new Unfit(
      'with shareProcessNamespace the launcher cannot be PID 1, whose end ends every process of LangFlow: remove it',
    )
  if (isTrue(pod.hostNetwork))
    throw new Unfit(
      `with hostNetwork port ${AGENT_PORT} and the loopback address are the node's, where others may answer and ask: remove it`,
    )
}

function refuseWindows(pod: Fields): void {
  const systems = [
    dig(pod, 'os', 'name'),
    dig(pod, 'nodeSelector', 'kubernetes.io/os'),
    dig(pod, 'nodeSelector', 'beta.kubernetes.io/os'),
  ]
  if (systems.includes('windows')) throw new Unfit('it is for Windows nodes, and the launcher needs Linux')
}

function refuseTaken({ pod, langflow, container }: Workload): void {
  const containers = allContainers(pod).map(({ name }) => name)
  const taken = ['install', 'agent'].find((name) => containers.includes(name))
  if (taken !== undefined)
    throw new Unfit(`it has a container named ${taken} already, which is what inject would add: rename it`)
  const volumes = asList(pod.volumes).map((volume) => dig(volume, 'name'))
  const volume = VOLUMES.find(({ name }) => volumes.includes(name))
  if (volume !== undefined)
    throw new Unfit(`it has a volume named ${volume.name} already, which is what inject would add: rename it`)
  for (const mount of asList(langflow.volumeMounts)) {
    const path = asText(dig(mount, 'mountPath')).replace(/\/+$/, '')
    const place = [PROGRAM_DIR, SOCKET_DIR].find((dir) => path === dir || path.startsWith(`${dir}/`))
    if (place !== undefined)
      throw new Unfit(
        `its container ${container} has a volume at ${path} already, where inject would mount its own: move it`,
      )
  }
}

function refusePort({ pod, port, container }: Workload): void {
  if (port === AGENT_PORT)
    throw new Unfit(
      `its container ${container} listens on port ${AGENT_PORT}, which is the agent's: give it another`,
    )
  for (const { name, ports } of allContainers(pod)) {
    if (asList(ports).some((one) => dig(one, 'containerPort') === AGENT_PORT))
      throw new Unfit(`its container ${name} has port ${AGENT_PORT}, which is the agent's: give it another`)
  }
}

function refuseUnknownCommand({ langflow, container }: Workload, { entrypoint }: InjectOptions): void {
  if (asList(langflow.command).length > 0) return
  if (entrypoint === null)
    throw new Unfit(
      `its container ${container} has no command, and what its image starts is not known here: say it with --entrypoint, such as --entrypoint 'langflow run'`,
    )
  if (entrypoint.length === 0 && asList(langflow.args).length === 0)
    throw new Unfit(
      `its container ${container} has neither command nor args, so that --entrypoint must say what to start, such as --entrypoint 'langflow run'`,
    )
}

function allContainers(pod: Fields): Fields[] {
  return [...asList(pod.initContainers), ...asList(pod.containers)].map(asFields)
}
