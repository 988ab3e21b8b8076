import { agentIn } from '../manifests/agent-container.ts'
import { asFields, asList, asNumber, asText, dig, unfit } from '../manifests/manifest.ts'
import { PROGRAM_DIR, SOCKET_DIR } from '../manifests/pod-spec.ts'
import type { Workload } from '../manifests/workload.ts'
import type { InjectOptions } from './inject-command.ts'

/** Throws `FatalError` if inject cannot add an agent to the workload. */
export function refuseUnfit(workload: Workload, options: InjectOptions): void {
  const [reason] = reasonsAgainst(workload, options)
  if (reason !== undefined) throw unfit(workload.manifest, reason)
}

function* reasonsAgainst(workload: Workload, options: InjectOptions): Generator<string> {
  const { langflow, container, pod } = workload
  if (agentIn(pod) !== null)
    yield 'it already has the agent: pass the original manifest, or change the variables LEADER_* of its agent here'
  const ports = [options.port, ...(options.traffic === 'front' ? [options.frontPort] : [])]
  for (const { name, ports: own } of [...asList(pod.initContainers), ...asList(pod.containers)].map(asFields))
    for (const taken of asList(own).map((one) => dig(one, 'containerPort')))
      if (ports.some((port) => port === taken))
        yield `its container ${name} has port ${taken}, which inject would use: change one of them with --listen or --front-listen`
  if (ports.includes(workload.port))
    yield `LangFlow listens on port ${workload.port}, which inject would use: change one of them with --listen or --front-listen`
  for (const { name } of options.launcherVariables)
    if (asList(langflow.env).some((one) => dig(one, 'name') === name))
      yield `its container ${container} already has a variable ${name}, which inject would add: remove the variable, or the flag`
  for (const mount of asList(langflow.volumeMounts)) {
    const path = asText(dig(mount, 'mountPath'))
    if (isWithin(path, PROGRAM_DIR) || isWithin(path, SOCKET_DIR))
      yield `its container ${container} already has a volume at ${path}, where inject would mount its own: move it`
  }
  if (asList(langflow.command).length === 0)
    yield `its container ${container} has no command, and inject cannot read the image's own: add the command, such as [langflow, run]`
}

/** In most images, `/var/run` is a link to `/run`. */
function isWithin(path: string, dir: string): boolean {
  const [inner, outer] = [path, dir].map((one) => `${one.replace(/^\/var\/run\//, '/run/')}/`)
  return inner!.startsWith(outer!)
}

/** Warnings about the application of the result. The caller adds the object's name. */
export function warningsAbout({ manifest, pod, container }: Workload): string[] {
  const running = asNumber(dig(manifest.value, 'status', 'replicas')) ?? 0
  const sidecars = asList(pod.initContainers).filter((one) => dig(one, 'restartPolicy') === 'Always')
  const names = [...asList(pod.containers), ...sidecars].map((one) => asText(dig(one, 'name')))
  const others = names.filter((name) => name !== container).join(' and ')
  const losesToken = pod.automountServiceAccountToken !== false && others !== ''
  const beside = `${running} of its pods run: scale it to 0 before you apply this and back afterwards, because pods without an agent act beside the leader`
  const lost = `the token for the API server is no longer mounted into ${others}: if it is required there, mount a projected token`
  return [...(running === 0 ? [] : [beside]), ...(losesToken ? [lost] : [])]
}
