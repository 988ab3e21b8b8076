import type { AgentOptions, LauncherOptions } from '../../config/options.ts'
import { FatalError } from '../../exit.ts'
import { asFields, asList, asText, dig, type Fields, type Manifest, titleOf } from '../manifests/manifest.ts'
import { findLangflows, inOneNamespace, readWorkload, type Workload } from '../manifests/workload.ts'
import { type Environment, environmentOf } from './container-environment.ts'
import { type Facts, Unseen } from './rule.ts'
import { type Scale, scaleOf } from './scale.ts'
import { type Started, startedOptions } from './started-options.ts'

/** A LangFlow with the agent and the launcher of its pods, read from its manifest. */
export interface Installation extends Workload {
  /** The environment of LangFlow's container. */
  readonly env: Environment
  readonly scale: Scale
  /** `null` if no container of its pods starts an agent. */
  readonly agent: Agent | null
  /** `null` if LangFlow's container starts LangFlow without the launcher. */
  readonly launcher: Started<LauncherOptions> | null
}

export interface Agent extends Started<AgentOptions> {
  readonly container: Fields
  readonly env: Environment
  /** `run`: the agent runs in LangFlow's container. */
  readonly place: 'sidecar' | 'init container' | 'container' | 'run'
}

/**
 * Facts from manifests, without a cluster. `container`: the given name of LangFlow's container, or `null`. `absent`: objects that do
 * not exist in the cluster, such as `Secret/langflow`.
 */
export function factsOf(
  manifests: readonly Manifest[],
  container: string | null,
  absent: ReadonlySet<string> = new Set(),
): Facts {
  try {
    const installations = findLangflows(manifests, container).map((target) =>
      read(readWorkload(target), manifests, absent),
    )
    return { manifests, installations, all: installations, unfound: null, cluster: null }
  } catch (error) {
    if (!(error instanceof FatalError)) throw error
    return { manifests, installations: [], all: [], unfound: error.message, cluster: null }
  }
}

/** Finds agent and launcher in the pods of a LangFlow. */
export function read(
  workload: Workload,
  manifests: readonly Manifest[],
  absent: ReadonlySet<string> = new Set(),
): Installation {
  const { langflow, manifest } = workload
  const near = manifests.filter((one) => inOneNamespace(one, manifest))
  const env = environmentOf(langflow, near, absent)
  const scale = scaleOf(workload, near)
  const own = programOf(langflow)
  const agent = agentIn(workload, near, absent)
  if (own?.command === 'launch')
    return { ...workload, env, scale, agent, launcher: startedOptions('launch', own.args, env) }
  if (own?.command !== 'run') return { ...workload, env, scale, agent, launcher: null }
  const started = startedOptions('run', own.args, env)
  return {
    ...workload,
    env,
    scale,
    agent,
    launcher: { ...started, options: started.options?.launcher ?? null },
  }
}

/** The ServiceAccount of its pods. */
export function accountOf({ ownAccount, names }: Workload): string {
  return ownAccount ? 'default' : names.account
}

/** The Lease of its agents; `null` if it has none, or if check does not see the name. */
export function leaseNameOf({ agent }: Pick<Installation, 'agent'>): string | null {
  try {
    return agent?.options?.leaseName ?? null
  } catch (error) {
    if (error instanceof Unseen) return null
    throw error
  }
}

function agentIn(
  { pod, langflow }: Workload,
  manifests: readonly Manifest[],
  absent: ReadonlySet<string>,
): Agent | null {
  const initial = asList(pod.initContainers).map(asFields)
  for (const container of [...initial, ...asList(pod.containers).map(asFields)]) {
    const own = programOf(container)
    if (own?.command !== 'agent' && own?.command !== 'run') continue
    const env = environmentOf(container, manifests, absent)
    if (own.command === 'agent') {
      const place = !initial.includes(container)
        ? 'container'
        : container.restartPolicy === 'Always'
          ? 'sidecar'
          : 'init container'
      return { container, env, place, ...startedOptions('agent', own.args, env) }
    }
    if (container !== langflow) continue
    const started = startedOptions('run', own.args, env)
    return { container, env, place: 'run', ...started, options: started.options?.agent ?? null }
  }
  return null
}

/** The command of this program that a container starts; `null` if there is no known command. */
export function programOf({ command, args }: Fields): { command: string; args: string[] } | null {
  const words = [...asList(command), ...asList(args)].map(asText)
  // The image's own entrypoint is the program.
  const isImage = asList(command).length === 0 && ['agent', 'install', 'drill'].includes(words[0] ?? '')
  const at = isImage ? -1 : words.findIndex((word) => /(^|\/)langflow-leader(\.mjs)?$/.test(word))
  if (at < 0 && !isImage) return null
  const [name = '', ...rest] = words.slice(at + 1)
  return ['agent', 'launch', 'run', 'install', 'drill'].includes(name) ? { command: name, args: rest } : null
}

export interface Mount {
  readonly volume: string
  readonly path: string
  readonly subPath: string
  readonly readOnly: boolean
}

export function mountsOf(container: Fields): Mount[] {
  return asList(container.volumeMounts).map((mount) => ({
    volume: asText(dig(mount, 'name')),
    path: asText(dig(mount, 'mountPath')).replace(/\/+$/, ''),
    subPath: asText(dig(mount, 'subPath')) || asText(dig(mount, 'subPathExpr')),
    readOnly: dig(mount, 'readOnly') === true,
  }))
}

/** The volume that a container mounts at this path or above it; `null` if there is no such volume. */
export function mountAt(container: Fields, path: string): Mount | null {
  const above = mountsOf(container).filter(
    (mount) => path === mount.path || path.startsWith(`${mount.path}/`),
  )
  return above.sort((a, b) => b.path.length - a.path.length)[0] ?? null
}

/** All containers of a pod, in the order of their start. */
export function containersOf(pod: Fields): Fields[] {
  return [...asList(pod.initContainers), ...asList(pod.containers)].map((one) => asFields(one) as Fields)
}

/** The volume of this name in a pod. */
export function volumeOf(pod: Fields, name: string | undefined): Readonly<Fields> {
  return asFields(asList(pod.volumes).find((volume) => dig(volume, 'name') === name))
}

/** Whether a label selector, as in a NetworkPolicy or a PodDisruptionBudget, matches. An empty selector matches all labels. */
export function matches(selector: unknown, labels: Readonly<Fields>): boolean {
  const exact = Object.entries(asFields(dig(selector, 'matchLabels')))
  if (!exact.every(([name, wanted]) => labels[name] === wanted)) return false
  return asList(dig(selector, 'matchExpressions')).every((one) => {
    const own = labels[asText(dig(one, 'key'))]
    const among = asList(dig(one, 'values')).includes(own)
    switch (dig(one, 'operator')) {
      case 'In':
        return own !== undefined && among
      case 'NotIn':
        return own === undefined || !among
      case 'Exists':
        return own !== undefined
      case 'DoesNotExist':
        return own === undefined
      default:
        return false
    }
  })
}

/** The labels of the pods. */
export function labelsOf({ template }: Pick<Workload, 'template'>): Readonly<Fields> {
  return asFields(dig(template, 'metadata', 'labels'))
}

/** The definition of a variable in a container; the last one counts. */
export function definitionOf(container: Fields, name: string): Readonly<Fields> | null {
  const found = asList(container.env).findLast((one) => dig(one, 'name') === name)
  return found === undefined ? null : asFields(found)
}

/** Such as `Deployment/langflow of the namespace flows`. */
export function placeOf({ manifest }: Pick<Workload, 'manifest'>): string {
  const { namespace } = manifest
  return `${titleOf(manifest)}${namespace === null ? '' : ` of the namespace ${namespace}`}`
}
