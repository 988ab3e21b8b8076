import { unsafe } from '../check/check.ts'
import { factsOf, read } from '../check/installation.ts'
import { ofRollout } from '../check/rules/rollout-rules.ts'
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
import { PROGRAM_DIR, TOKEN_DIR, VOLUMES } from '../manifests/pod-spec.ts'
import type { Workload } from '../manifests/workload.ts'
import type { InjectOptions } from './inject-settings.ts'

/** Throws `FatalError` where LangFlow could not be kept to one at a time, or the pod would not start. */
export function refuseUnfit(workload: Workload<StreamManifest>, options: InjectOptions): void {
  const [reason] = reasonsAgainst(workload, options)
  if (reason !== undefined) throw unfit(workload.manifest, reason)
}

function* reasonsAgainst(workload: Workload<StreamManifest>, options: InjectOptions): Generator<string> {
  const { entrypoint, port: agentPort, frontPort, socketDir, launcherVariables } = options
  const { manifest, pod, langflow, container, port } = workload
  const all = [...asList(pod.initContainers), ...asList(pod.containers)].map(asFields)
  if (/^%/m.test(manifest.document.text.split(/^---/m, 1)[0]!))
    yield 'a % directive stands before it: remove that'

  yield* unsafe(read(workload, []), factsOf([], null))
  if (manifest.kind === 'Rollout') yield* ofRollout(options.traffic)

  for (const name of ['install', 'agent'])
    if (all.some((one) => one.name === name))
      yield `it has a container named ${name} already, which is what inject would add: rename it`
  for (const { name } of VOLUMES)
    if (asList(pod.volumes).some((volume) => dig(volume, 'name') === name))
      yield `it has a volume named ${name} already, which is what inject would add: rename it`
  for (const mount of asList(langflow.volumeMounts)) {
    const path = asText(dig(mount, 'mountPath')).replace(/\/+$/, '')
    if ([PROGRAM_DIR, socketDir].some((dir) => path === dir || path.startsWith(`${dir}/`)))
      yield `its container ${container} has a volume at ${path} already, where inject would mount its own: move it`
  }
  yield* places(options)

  for (const [own, whose] of [
    [agentPort, "the agent's"],
    ...(options.traffic === 'front' ? ([[frontPort, "the front's"]] as const) : []),
  ] as const) {
    if (port === own)
      yield `its container ${container} listens on port ${own}, which is ${whose}: give it another`
    for (const { name, ports } of all)
      if (asList(ports).some((one) => dig(one, 'containerPort') === own))
        yield `its container ${name} has port ${own}, which is ${whose}: give it another`
  }

  for (const { name } of launcherVariables)
    if (asList(langflow.env).some((one) => dig(one, 'name') === name))
      yield `its container ${container} has a variable ${name} already, which is what inject would add: remove it, or leave ${flagOfVariable(name)} out`

  if (asList(langflow.command).length > 0) return
  if (entrypoint === null)
    yield `its container ${container} has no command, and what its image starts is not known here: say it with --entrypoint, such as --entrypoint 'langflow run'`
  else if (entrypoint.length + asList(langflow.args).length === 0)
    yield `its container ${container} has neither command nor args, so that --entrypoint must say what to start, such as --entrypoint 'langflow run'`
}

/** Directories that images have, and need as they are. */
const OF_IMAGES =
  /^\/((app|bin|boot|etc|home|lib|lib64|media|mnt|opt|root|run|sbin|srv|tmp|usr|var)?|(usr|var)\/\w+|(dev|proc|sys)(\/.*)?)$/

/** What the volumes of socket and state would hide, or show to others. */
function* places({ socketDir, stateDir }: InjectOptions): Generator<string> {
  const own = [
    ['--socket', socketDir],
    ['--state-dir', stateDir],
  ] as const
  for (const [flag, dir] of own)
    if (OF_IMAGES.test(dir))
      yield `${flag} would have a volume at ${dir}, where other files are: give it a directory of its own, such as /run/langflow-leader`
  const others = [
    ['the program', PROGRAM_DIR],
    ["the agent's token", TOKEN_DIR],
  ] as const
  for (const [[flag, dir], [what, other]] of [
    ...own.flatMap((one) => others.map((other) => [one, other] as const)),
    own,
  ])
    if (isWithin(dir, other) || isWithin(other, dir))
      yield `${flag} (${dir}) and ${what} (${other}) are in one directory: give each its own`
}

/** `/var/run` is `/run` in most images. */
function isWithin(path: string, dir: string): boolean {
  const [inner, outer] = [path, dir].map((one) => `${one.replace(/^\/var\/run\//, '/run/')}/`)
  return inner!.startsWith(outer!)
}

/** What whoever applies the result should know of what was done to it: sentences without their subject. */
export function* lossesOf(workload: Workload): Generator<string> {
  const others = withoutToken(workload)
  if (others.length > 0)
    yield `${others.join(' and ')} ${others.length > 1 ? 'lose' : 'loses'} the API server's token, which only the agent has from now on: mount a projected one where it is needed`
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

/** `LEADER_STOP_TIMEOUT` -> `--stop-timeout` */
function flagOfVariable(name: string): string {
  return `--${name.slice('LEADER_'.length).toLowerCase().replaceAll('_', '-')}`
}
