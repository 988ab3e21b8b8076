import { createProgram } from '../../config/command-line.ts'
import { agentOptions, launcherOptions } from '../../config/options.ts'
import { FatalError, UsageError } from '../../exit.ts'
import { agentIn, programOf } from '../manifests/agent-container.ts'
import { asFields, asList, asText, dig, type Fields, type Manifest } from '../manifests/manifest.ts'
import { findLangflows, inOneNamespace, readWorkload, type Workload } from '../manifests/workload.ts'
import { Environment, type Sources, Unknown } from './environment.ts'
import type { Facts, Installation, Installed, Started } from './rule.ts'

/** Facts from manifests. `container`: the given name of LangFlow's container, or `null`. `hidden`: see `Facts`. */
export function factsOf(
  manifests: readonly Manifest[],
  container: string | null,
  hidden: ReadonlyMap<string, string> = new Map(),
): Facts {
  const facts = { manifests, hidden, isCluster: false, refusals: null }
  try {
    const installations = findLangflows(manifests, container).map((found) =>
      installationOf(readWorkload(found), { manifests, hidden }),
    )
    return { ...facts, installations, unfound: null }
  } catch (error) {
    if (!(error instanceof FatalError)) throw error
    return { ...facts, installations: [], unfound: error.message }
  }
}

function installationOf(workload: Workload, { manifests, hidden }: Sources): Installation {
  const { langflow, manifest, pod, replicas } = workload
  const near = { manifests: manifests.filter((one) => inOneNamespace(one, manifest)), hidden }
  const env = new Environment(langflow, near)
  const isSingle = replicas === 1 && !near.manifests.some((one) => scales(one, manifest))
  const own = programOf(langflow)
  const found = agentIn(pod)
  const agentEnv = new Environment(found?.container ?? {}, near)
  const agent = found && { ...found, env: agentEnv, started: startedOptions('agent', found.args, agentEnv) }
  const launcher = own?.name === 'launch' ? startedOptions('launch', own.args, env) : null
  return { ...workload, env, isSingle, agent, launcher }
}

const COMMANDS = { agent: agentOptions, launch: launcherOptions }
type OptionsOf<N extends keyof typeof COMMANDS> = ReturnType<ReturnType<(typeof COMMANDS)[N]>>

/** Reads the options as the program itself would read them at its start in a container. */
function startedOptions<N extends keyof typeof COMMANDS>(
  name: N,
  args: readonly string[],
  environment: Environment,
): Started<OptionsOf<N>> {
  const unknown = environment.unknownSetting
  if (unknown !== null) return { unknown }
  // The kubelet adds this variable to every container.
  const env = { ...environment.texts(), KUBERNETES_SERVICE_HOST: '10.0.0.1' }
  const program = createProgram(env)
  // The other command defines variables that this one accepts.
  const other = name === 'agent' ? 'launch' : 'agent'
  COMMANDS[other](program.command(other))
  const command = program.command(name)
  const read = COMMANDS[name](command)
  let options: OptionsOf<N> | null = null
  command.action(() => {
    options = read(env) as OptionsOf<N>
  })
  try {
    program.parse([name, ...args], { from: 'user' })
    return { options: options! }
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    return { fault: error.message.replace(/^langflow-leader \w+: (.*); see '.*'$/s, '$1') }
  }
}

/** `null` if its agent would not start, or shares LangFlow's container, which are findings of their own. Throws `Unknown`. */
export function asInstalled(one: Installation): Installed | null {
  if (one.agent === null || one.agent.place === 'run' || 'fault' in one.agent.started) return null
  if ('unknown' in one.agent.started) throw new Unknown(one.agent.started.unknown)
  return { ...one, agent: one.agent, options: one.agent.started.options }
}

/** The LangFlows with a working agent before this one, so that each pair is compared once. Throws `Unknown`. */
export function othersBefore({ manifest }: Installation, { installations }: Facts): Installed[] {
  const at = installations.findIndex((one) => one.manifest === manifest)
  return installations.slice(0, at).flatMap((one) => asInstalled(one) ?? [])
}

export function accountOf({ hasDefaultAccount, names }: Workload): string {
  return hasDefaultAccount ? 'default' : names.account
}

export function scales({ kind, value }: Manifest, workload: Manifest): boolean {
  const { kind: target = 'Deployment', name } = asFields(dig(value, 'spec', 'scaleTargetRef'))
  const isTarget = target === workload.kind && name === workload.name
  return /^(HorizontalPodAutoscaler|ScaledObject)$/.test(kind) && isTarget
}

export function objectsOf(kind: string, { manifest }: Workload, { manifests }: Facts): Manifest[] {
  return manifests.filter((one) => one.kind === kind && inOneNamespace(one, manifest))
}

export function mountsOf(container: Fields) {
  return asList(container.volumeMounts).map((mount) => ({
    volume: asText(dig(mount, 'name')),
    path: asText(dig(mount, 'mountPath')).replace(/\/+$/, ''),
    readOnly: dig(mount, 'readOnly') === true,
  }))
}

/** The volume that a container mounts at this path or above it; `null` if there is no such volume. */
export function mountAt(container: Fields, path: string) {
  const above = mountsOf(container).filter((one) => path === one.path || path.startsWith(`${one.path}/`))
  return above.sort((a, b) => b.path.length - a.path.length)[0] ?? null
}

export function containersOf(pod: Fields): Fields[] {
  return [...asList(pod.initContainers), ...asList(pod.containers)].map((one) => asFields(one) as Fields)
}

export function volumeOf(pod: Fields, name: string | undefined): Readonly<Fields> {
  return asFields(asList(pod.volumes).find((volume) => dig(volume, 'name') === name))
}

export function secretsIn(volume: unknown): string[] {
  const sources = [volume, ...asList(dig(volume, 'projected', 'sources'))].map((one) => dig(one, 'secret'))
  return sources.flatMap((secret) => asText(dig(secret, 'secretName') ?? dig(secret, 'name')) || [])
}
