import type { Command } from 'commander'
import { createProgram } from '../../config/command-line.ts'
import {
  type AgentOptions,
  agentOptions,
  type LauncherOptions,
  launcherOptions,
  runOptions,
} from '../../config/options.ts'
import { FatalError, UsageError } from '../../exit.ts'
import { asFields, asList, asText, dig, type Fields, type Manifest } from '../manifests/manifest.ts'
import { findLangflows, readWorkload, type Workload } from '../manifests/workload.ts'
import { type Environment, environmentOf } from './container-environment.ts'
import type { Facts } from './rule.ts'

/** A LangFlow with the agent and the launcher of its pods, read from its manifest. */
export interface Installation extends Workload {
  /** The environment of LangFlow's container. */
  readonly env: Environment
  /** `null` if no container of its pods starts an agent. */
  readonly agent: Agent | null
  /** `null` if LangFlow's container starts LangFlow without the launcher. */
  readonly launcher: Launcher | null
}

export interface Agent {
  readonly container: Fields
  readonly env: Environment
  /** `run`: the agent runs in LangFlow's container. */
  readonly place: 'sidecar' | 'init container' | 'container' | 'run'
  /** `null` if the agent would not start. */
  readonly options: AgentOptions | null
  /** The reason why the agent would not start; `null` if it would. */
  readonly fault: string | null
}

export interface Launcher {
  readonly options: LauncherOptions | null
  readonly fault: string | null
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
    return { manifests, installations, unfound: null, cluster: null }
  } catch (error) {
    if (!(error instanceof FatalError)) throw error
    return { manifests, installations: [], unfound: error.message, cluster: null }
  }
}

/** Finds agent and launcher in the pods of a LangFlow. */
export function read(
  workload: Workload,
  manifests: readonly Manifest[],
  absent: ReadonlySet<string> = new Set(),
): Installation {
  const { pod, langflow } = workload
  const env = environmentOf(langflow, manifests, absent)
  const own = programOf(langflow)
  const launcher =
    own?.command === 'launch'
      ? readOptions('launch', launcherOptions, own.args, env.values)
      : own?.command === 'run'
        ? launcherOfRun(own.args, env.values)
        : null
  return { ...workload, env, launcher, agent: agentIn(pod, langflow, manifests, absent) }
}

/** The ServiceAccount of its pods. */
export function accountOf({ ownAccount, names }: Workload): string {
  return ownAccount ? 'default' : names.account
}

function launcherOfRun(args: readonly string[], env: NodeJS.ProcessEnv) {
  const { options, fault } = readOptions('run', runOptions, args, env)
  return { options: options?.launcher ?? null, fault }
}

function agentIn(
  pod: Fields,
  langflow: Fields,
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
      return { container, env, place, ...readOptions('agent', agentOptions, own.args, env.values) }
    }
    if (container === langflow) {
      const { options, fault } = readOptions('run', runOptions, own.args, env.values)
      return { container, env, place: 'run', options: options?.agent ?? null, fault }
    }
  }
  return null
}

/** The command of this program that a container starts; `null` if there is no known command. */
function programOf({ command, args }: Fields): { command: string; args: string[] } | null {
  const words = [...asList(command), ...asList(args)].map(asText)
  const at = words.findIndex((word) => /(^|\/)langflow-leader(\.mjs)?$/.test(word))
  if (at < 0 && asList(command).length > 0) return null
  const [name = '', ...rest] = words.slice(at + 1)
  return ['agent', 'launch', 'run'].includes(name) && (at >= 0 || name === 'agent')
    ? { command: name, args: rest }
    : null
}

/** Reads options as the program itself would read them at its start. `env` does not include the kubelet's own variables. */
function readOptions<T>(
  name: string,
  reader: (command: Command) => (env: NodeJS.ProcessEnv) => T,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): { options: T | null; fault: string | null } {
  // The kubelet adds this variable to every container.
  const whole = { ...env, KUBERNETES_SERVICE_HOST: '10.0.0.1' }
  const program = createProgram(whole)
  for (const [other, options] of [
    ['agent', agentOptions],
    ['launch', launcherOptions],
    ['run', runOptions],
  ] as const)
    if (other !== name) options(program.command(other))
  const command = program.command(name)
  const read = reader(command)
  let options: T | null = null
  command.action(() => {
    options = read(whole)
  })
  try {
    program.parse([name, ...args], { from: 'user' })
    return { options, fault: null }
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    return { options: null, fault: error.message.replace(/^langflow-leader \w+: (.*); see '.*'$/s, '$1') }
  }
}

/** The volume that a container mounts at this path or above it; `null` if there is no such volume. */
export function mountAt(
  container: Fields,
  path: string,
): { volume: string; path: string; readOnly: boolean } | null {
  const mounts = asList(container.volumeMounts)
    .map((mount) => ({
      volume: asText(dig(mount, 'name')),
      path: asText(dig(mount, 'mountPath')).replace(/\/+$/, ''),
      readOnly: dig(mount, 'readOnly') === true,
    }))
    .filter((mount) => path === mount.path || path.startsWith(`${mount.path}/`))
  return mounts.sort((a, b) => b.path.length - a.path.length)[0] ?? null
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
