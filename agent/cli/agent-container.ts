import { basename } from 'node:path'
import { AGENT_SETTINGS } from '../config/agent-settings.ts'
import type { KubeObject } from '../kube/kube-objects.ts'
import { AGENT_PORT } from './manifests/pod-spec.ts'

/** Of a container, what says that an agent runs in it and how it was told so. */
export interface Container {
  readonly name: string
  readonly image?: string
  readonly command?: readonly string[]
  readonly args?: readonly string[]
  readonly env?: readonly { readonly name: string; readonly value?: string }[]
  readonly envFrom?: readonly unknown[]
  readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[]
}

interface ContainerStatus {
  readonly name: string
  readonly state?: {
    readonly running?: object
    readonly waiting?: { readonly reason?: string }
    readonly terminated?: { readonly reason?: string }
  }
}

interface PodStatus {
  readonly phase?: string
  readonly conditions?: readonly {
    readonly type: string
    readonly status: string
    readonly message?: string
  }[]
  readonly initContainerStatuses?: readonly ContainerStatus[]
  readonly containerStatuses?: readonly ContainerStatus[]
}

/** The agent of a pod, as the pod's own spec tells. */
export interface AgentContainer {
  /** `null`: the pod takes it from elsewhere; the agent's status tells. */
  readonly leaseName: string | null
  /** 1 to 65535. */
  readonly port: number
  /** Why nobody can answer, in one sentence; `null`: nothing that the pod's status knows of. */
  readonly absence: string | null
}

/** `null`: no agent runs in this pod, or none will any more. */
export function agentOf(pod: KubeObject): AgentContainer | null {
  const status = (pod.status ?? {}) as PodStatus
  if (status.phase === 'Succeeded' || status.phase === 'Failed') return null
  const container = containersOf(pod).find(runsAgent)
  if (container === undefined) return null
  const absence = absenceOf(container, status)
  return { leaseName: leaseNameOf(container), port: portOf(container), absence }
}

export function containersOf({ spec }: KubeObject): Container[] {
  const { initContainers = [], containers = [] } = (spec ?? {}) as Record<string, Container[] | undefined>
  return [...initContainers, ...containers]
}

/** By the name of its port, which `deploy/` and `inject` give it, or by what it starts. */
function runsAgent({ image = '', command = [], args = [], ports = [] }: Container): boolean {
  if (ports.some(({ name }) => name === 'agent')) return true
  const words = [...command, ...args]
  const program = words.findIndex((word) => basename(word).startsWith('langflow-leader'))
  const first = words[program + 1]
  // An image's own entry point is not to be seen: `run` alone may be anybody's.
  return first === 'agent' || (first === 'run' && (program >= 0 || image.includes('langflow-leader')))
}

function leaseNameOf(container: Container): string | null {
  const said = saidBy(container, '--lease-name', 'LEADER_LEASE_NAME')
  return said === undefined ? AGENT_SETTINGS.leaseName.fallback : said
}

function portOf(container: Container): number {
  const said = saidBy(container, '--listen', 'LEADER_LISTEN')
  const listened = Number(/:(\d+)$/.exec(said ?? '')?.[1] ?? 0)
  return listened || (container.ports?.find(({ name }) => name === 'agent')?.containerPort ?? AGENT_PORT)
}

/** The text of a setting; `null`: it comes from elsewhere, `undefined`: nothing is said. */
export function saidBy(container: Container, flag: string, variable: string): string | null | undefined {
  const { command = [], args = [], env = [], envFrom = [] } = container
  const words = [...command, ...args]
  const at = words.findIndex((word) => word === flag || word.startsWith(`${flag}=`))
  if (at >= 0) return words[at] === flag ? words[at + 1] : words[at]?.slice(flag.length + 1)
  const entry = env.findLast(({ name }) => name === variable)
  if (entry !== undefined) return 'valueFrom' in entry ? null : entry.value || undefined
  return envFrom.length > 0 ? null : undefined
}

function absenceOf({ name }: Container, { phase, conditions = [], ...statuses }: PodStatus): string | null {
  const all = [...(statuses.initContainerStatuses ?? []), ...(statuses.containerStatuses ?? [])]
  const state = all.find((status) => status.name === name)?.state
  const reason = state?.waiting?.reason ?? state?.terminated?.reason
  if (reason !== undefined) return `its agent does not run: ${reason}`
  if (state?.running !== undefined || phase !== 'Pending') return null
  const unscheduled = conditions.find(({ type, status }) => type === 'PodScheduled' && status === 'False')
  if (unscheduled === undefined) return 'its agent does not run yet: the pod is Pending'
  return `no node has room for it: ${(unscheduled.message ?? 'it is not scheduled').slice(0, 200)}`
}
