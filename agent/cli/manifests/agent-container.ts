import { AGENT_SETTINGS } from '../../config/schema.ts'
import type { KubeObject } from '../../kube/kube-objects.ts'
import { asFields, asList, asText, dig, type Fields } from './manifest.ts'
import { AGENT_PORT } from './pod-spec.ts'

const COMMANDS = ['agent', 'launch', 'run', 'install']

/** `null` if a container starts another program. */
export function programOf({ command, args, image }: Fields) {
  const words = [...asList(command), ...asList(args)].map(asText)
  // Without a command, the container starts the entry point of its image. Other programs also have a command `run`.
  const [first = ''] = words
  const isOurs = first !== 'run' || /langflow-leader/.test(asText(image))
  const isEntryPoint = asList(command).length === 0 && COMMANDS.includes(first) && isOurs
  const at = isEntryPoint ? -1 : words.findIndex((word) => /(^|\/)langflow-leader(\.mjs)?$/.test(word))
  const [name = '', ...rest] = words.slice(at + 1)
  return (isEntryPoint || at >= 0) && COMMANDS.includes(name) ? { name, args: rest } : null
}

export interface AgentContainer {
  readonly container: Fields
  /** `run`: the agent and LangFlow run in one container. */
  readonly place: 'sidecar' | 'init container' | 'container' | 'run'
  readonly args: readonly string[]
}

/** Finds the agent in a pod's spec. `null`: the pod has no agent. */
export function agentIn(pod: unknown): AgentContainer | null {
  const initial = asList(dig(pod, 'initContainers'))
  for (const one of [...initial, ...asList(dig(pod, 'containers'))]) {
    const container: Fields = { ...asFields(one) }
    const program = programOf(container)
    if (program?.name === 'run') {
      // LangFlow's own command follows.
      const end = program.args.indexOf('--')
      return { container, place: 'run', args: program.args.slice(0, end < 0 ? undefined : end) }
    }
    if (program?.name !== 'agent') continue
    const isSidecar = initial.includes(one) && container.restartPolicy === 'Always'
    const place = isSidecar ? 'sidecar' : initial.includes(one) ? 'init container' : 'container'
    return { container, place, args: program.args }
  }
  return null
}

export type PodAgent = NonNullable<ReturnType<typeof agentOf>>

/** `null` if the pod has no agent, or has ended. */
export function agentOf({ spec, status }: KubeObject) {
  const agent = agentIn(spec)
  const phase = asText(dig(status, 'phase'))
  if (agent === null || phase === 'Succeeded' || phase === 'Failed') return null
  const leaseName = settingOf(agent, '--lease-name', 'LEADER_LEASE_NAME')
  const listen = /:(\d+)$/.exec(settingOf(agent, '--listen', 'LEADER_LISTEN') ?? '')
  const named = asList(agent.container.ports).find((port) => dig(port, 'name') === 'agent')
  return {
    // `null` if another object sets it; the agent's status reports it then.
    leaseName: leaseName === undefined ? AGENT_SETTINGS.leaseName.fallback : leaseName,
    port: Number(listen?.[1]) || Number(dig(named, 'containerPort')) || AGENT_PORT,
    absence: absenceOf(asText(agent.container.name), phase, status),
  }
}

/** The text of a setting; `null` if another object sets it, `undefined` if it is not set. */
function settingOf({ container, args }: AgentContainer, flag: string, variable: string) {
  const at = args.findIndex((word) => word === flag || word.startsWith(`${flag}=`))
  if (at >= 0) return args[at] === flag ? args[at + 1] : args[at]?.slice(flag.length + 1)
  const entry = asList(container.env).findLast((one) => dig(one, 'name') === variable)
  if (entry !== undefined) return dig(entry, 'valueFrom') ? null : asText(dig(entry, 'value')) || undefined
  return asList(container.envFrom).length > 0 ? null : undefined
}

function absenceOf(name: string, phase: string, status: unknown): string | null {
  const all = [...asList(dig(status, 'initContainerStatuses')), ...asList(dig(status, 'containerStatuses'))]
  const state = dig(
    all.find((one) => dig(one, 'name') === name),
    'state',
  )
  const reason = dig(state, 'waiting', 'reason') ?? dig(state, 'terminated', 'reason')
  if (reason !== undefined) return `its agent is not running: ${reason}`
  return dig(state, 'running') === undefined && phase === 'Pending'
    ? 'its agent is not running yet: the pod is Pending'
    : null
}
