import { asFields, asList, asNumber, asText, dig, type Manifest, unfit } from '../manifests/manifest.ts'
import { PROGRAM_DIR, SOCKET_DIR, VOLUMES } from '../manifests/pod-spec.ts'
import type { Workload } from '../manifests/workload.ts'
import type { InjectOptions } from './inject-command.ts'

/** Throws `FatalError` if inject cannot add an agent to the workload. */
export function refuseUnfit(workload: Workload, options: InjectOptions): void {
  const [reason] = reasonsAgainst(workload, options)
  if (reason !== undefined) throw unfit(workload.manifest, reason)
}

function* reasonsAgainst(workload: Workload, options: InjectOptions): Generator<string> {
  if (workload.manifest.kind === 'Rollout' && options.traffic === 'readiness')
    yield 'Argo Rollouts waits for more than one Ready pod, but with --traffic=readiness only one pod is Ready: use --traffic=front'
  yield* takenNames(workload, options)
  yield* takenPaths(workload)
  const { langflow, container } = workload
  if (asList(langflow.command).length > 0) return
  if (options.entrypoint === null)
    yield `its container ${container} has no command, and inject cannot read the image's own command: set it with --entrypoint, such as --entrypoint 'langflow run'`
  else if (options.entrypoint.length + asList(langflow.args).length === 0)
    yield `its container ${container} has neither command nor args: set the command with --entrypoint, such as --entrypoint 'langflow run'`
}

/** Names that inject would use a second time. */
function* takenNames(workload: Workload, options: InjectOptions): Generator<string> {
  const { pod, langflow, container } = workload
  const has = (list: unknown, name: string) => asList(list).some((one) => dig(one, 'name') === name)
  for (const name of ['install', 'agent'])
    if (has(pod.initContainers, name) || has(pod.containers, name))
      yield `it already has a container named ${name}, which inject would add: rename it`
  for (const { name } of VOLUMES)
    if (has(pod.volumes, name))
      yield `it already has a volume named ${name}, which inject would add: rename it`
  const ports = [options.port, ...(options.traffic === 'front' ? [options.frontPort] : [])]
  for (const { name, ports: own } of [...asList(pod.initContainers), ...asList(pod.containers)].map(asFields))
    for (const taken of asList(own).map((one) => dig(one, 'containerPort')))
      if (ports.some((port) => port === taken))
        yield `its container ${name} has port ${taken}, which inject would use: change one of them with --listen or --front-listen`
  if (ports.includes(workload.port))
    yield `LangFlow listens on port ${workload.port}, which inject would use: change one of them with --listen or --front-listen`
  for (const { name } of options.launcherVariables)
    if (has(langflow.env, name))
      yield `its container ${container} already has a variable ${name}, which inject would add: remove the variable, or the flag`
}

/** Volumes at the paths of inject's own. */
function* takenPaths({ langflow, container }: Workload): Generator<string> {
  for (const mount of asList(langflow.volumeMounts)) {
    const path = asText(dig(mount, 'mountPath'))
    if (isWithin(path, PROGRAM_DIR) || isWithin(path, SOCKET_DIR))
      yield `its container ${container} already has a volume at ${path}, where inject would mount its own: move it`
  }
}

/** In most images, `/var/run` is a link to `/run`. */
function isWithin(path: string, dir: string): boolean {
  const [inner, outer] = [path, dir].map((one) => `${one.replace(/^\/var\/run\//, '/run/')}/`)
  return inner!.startsWith(outer!)
}

/** A warning that containers beside LangFlow lose the token for the API server. The caller adds the object's name. */
export function* lossesOf({ pod, container }: Workload): Generator<string> {
  if (pod.automountServiceAccountToken === false) return
  const sidecars = asList(pod.initContainers).filter((one) => dig(one, 'restartPolicy') === 'Always')
  const names = [...asList(pod.containers), ...sidecars].map((one) => asText(dig(one, 'name')))
  const others = names.filter((name) => name !== container).join(' and ')
  if (others !== '')
    yield `the token for the API server is no longer mounted into ${others}: if it is required there, mount a projected token`
}

/** A warning that pods without an agent run beside pods with an agent. The caller adds the object's name. */
export function runningPodsOf({ value }: Manifest): string[] {
  const running = asNumber(dig(value, 'status', 'replicas')) ?? 0
  if (running === 0) return []
  return [
    `it has ${running} running ${running === 1 ? 'pod' : 'pods'}: scale it to 0 before you apply this and back afterwards, because pods without an agent act beside the leader`,
  ]
}
