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

/** One LangFlow with what stands beside it in its pods, as its manifest says. */
export interface Installation extends Workload {
  /** The environment of LangFlow's container. */
  readonly env: Environment
  /** `null`: no container of its pods starts an agent. */
  readonly agent: Agent | null
  /** What LangFlow's container starts of this program; `null`: LangFlow starts without it. */
  readonly launcher: Launcher | null
}

export interface Agent {
  readonly container: Fields
  readonly env: Environment
  /** `run`: in LangFlow's own container. */
  readonly place: 'sidecar' | 'init container' | 'container' | 'run'
  /** What it is told; `null`: it would not start. */
  readonly options: AgentOptions | null
  /** Why it would not start; `null`: it would. */
  readonly fault: string | null
}

export interface Launcher {
  readonly command: 'launch' | 'run'
  readonly options: LauncherOptions | null
  readonly fault: string | null
}

/**
 * What manifests say, without asking anybody. `container`: the name that was given for LangFlow's; `null`: none. `absent`: what
 * certainly does not exist, such as `Secret/langflow`.
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
    return { manifests, installations, unfound: null, bare: [], cluster: null }
  } catch (error) {
    if (!(error instanceof FatalError)) throw error
    return { manifests, installations: [], unfound: error.message, bare: [], cluster: null }
  }
}

/** Reads what of this program is in the pods of a LangFlow. */
export function read(
  workload: Workload,
  manifests: readonly Manifest[],
  absent: ReadonlySet<string> = new Set(),
): Installation {
  const { pod, langflow } = workload
  const env = environmentOf(langflow, manifests, absent)
  const own = programOf(langflow)
  const launcher: Launcher | null =
    own?.command === 'launch'
      ? { command: 'launch', ...readOptions('launch', launcherOptions, own.args, env.values) }
      : own?.command === 'run'
        ? { command: 'run', ...launcherOfRun(own.args, env.values) }
        : null
  return { ...workload, env, launcher, agent: agentIn(pod, langflow, manifests, absent) }
}

/** The account of its pods, in their namespace. */
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

/** Which command of this program a container starts; `null`: none that is known. */
function programOf({ command, args }: Fields): { command: string; args: string[] } | null {
  const words = [...asList(command), ...asList(args)].map(asText)
  const at = words.findIndex((word) => /(^|\/)langflow-leader(\.mjs)?$/.test(word))
  if (at < 0 && asList(command).length > 0) return null
  const [name = '', ...rest] = words.slice(at + 1)
  return ['agent', 'launch', 'run'].includes(name) && (at >= 0 || name === 'agent')
    ? { command: name, args: rest }
    : null
}

/** As the program itself would read them at its start. `env`: without what is in no manifest. */
export function readOptions<T>(
  name: string,
  reader: (command: Command) => (env: NodeJS.ProcessEnv) => T,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): { options: T | null; fault: string | null } {
  // The kubelet adds it to every container.
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

/** The volume that a container has at this path, or around it; `null`: none. */
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
