import { basename } from 'node:path'
import type { V1Container, V1PodSpec, V1PodStatus } from '@kubernetes/client-node'
import { AGENT_SETTINGS } from '../config/agent-settings.ts'
import type { KubeObject } from '../kube/kube-objects.ts'
import { AGENT_PORT } from './manifests/pod-spec.ts'

/** The agent of a pod, read from the pod's spec. */
export interface AgentContainer {
  /** `null` if another object sets it; the agent's status reports it then. */
  readonly leaseName: string | null
  /** 1 to 65535. */
  readonly port: number
  /** The reason why the agent cannot answer, in one sentence; `null` if the pod's status shows no reason. */
  readonly absence: string | null
}

/** `null` if the pod has no agent, or has ended. */
export function agentOf({ spec, status }: KubeObject): AgentContainer | null {
  const { initContainers = [], containers = [] } = (spec ?? {}) as Partial<V1PodSpec>
  const state = (status ?? {}) as V1PodStatus
  const container = [...initContainers, ...containers].find(runsAgent)
  if (container === undefined || state.phase === 'Succeeded' || state.phase === 'Failed') return null
  const leaseName = textOf(container, '--lease-name', 'LEADER_LEASE_NAME')
  return {
    leaseName: leaseName === undefined ? AGENT_SETTINGS.leaseName.fallback : leaseName,
    port: portOf(container),
    absence: absenceOf(container, state),
  }
}

/** `deploy/` and `inject` name the agent's port `agent`. Other containers are recognised by their command. */
function runsAgent({ image = '', command = [], args = [], ports = [] }: V1Container): boolean {
  if (ports.some(({ name }) => name === 'agent')) return true
  const words = [...command, ...args]
  const program = words.findIndex((word) => basename(word).startsWith('langflow-leader'))
  const first = words[program + 1]
  // The manifest does not show the entry point of the image, and other programs also have a command `run`.
  return first === 'agent' || (first === 'run' && (program >= 0 || image.includes('langflow-leader')))
}

function portOf(container: V1Container): number {
  const listen = textOf(container, '--listen', 'LEADER_LISTEN') ?? ''
  const named = container.ports?.find(({ name }) => name === 'agent')?.containerPort
  return Number(/:(\d+)$/.exec(listen)?.[1]) || named || AGENT_PORT
}

/** The text of a setting; `null` if another object sets it, `undefined` if it is not set. */
function textOf(container: V1Container, flag: string, variable: string): string | null | undefined {
  const { command = [], args = [], env = [], envFrom = [] } = container
  const words = [...command, ...args]
  const at = words.findIndex((word) => word === flag || word.startsWith(`${flag}=`))
  if (at >= 0) return words[at] === flag ? words[at + 1] : words[at]?.slice(flag.length + 1)
  const entry = env.findLast(({ name }) => name === variable)
  if (entry !== undefined) return entry.valueFrom ? null : entry.value || undefined
  return envFrom.length > 0 ? null : undefined
}

function absenceOf({ name }: V1Container, status: V1PodStatus): string | null {
  const { phase, initContainerStatuses = [], containerStatuses = [] } = status
  const state = [...initContainerStatuses, ...containerStatuses].find((one) => one.name === name)?.state
  const reason = state?.waiting?.reason ?? state?.terminated?.reason
  if (reason !== undefined) return `its agent is not running: ${reason}`
  return state?.running === undefined && phase === 'Pending'
    ? 'its agent is not running yet: the pod is Pending'
    : null
}
