import type { KubeObject } from '../../agent/kube/kube-objects.ts'
import type { AgentStatus, ReplicaRow } from '../../agent/status/agent-status.ts'
import { FOLLOWING, SERVING } from '../observe/replica.ts'

/** `a` serves, and `b` could take over. */
export const LEADER = row('a', SERVING)
export const STANDBY = row('b', FOLLOWING)

/** A replica that reports this status under its own name. */
export function row(pod: string, status: AgentStatus, node: string | null = `node-${pod}`): ReplicaRow {
  const lease = { ...status.lease, holder: 'a_uid' }
  return { pod, node, status: { ...status, identity: `${pod}_uid`, lease }, problem: null }
}

type More = Partial<AgentStatus>

/** The row of a replica that leads and serves, and of one that could take over. Their node is unknown. */
export const leads = (pod: string, more: More = {}) => row(pod, { ...SERVING, ...more }, null)
export const follows = (pod: string, more: More = {}) => row(pod, { ...FOLLOWING, ...more }, null)

export function changed({ pod, status, node }: ReplicaRow, change: More): ReplicaRow {
  return { pod, node, status: { ...(status as AgentStatus), ...change }, problem: null }
}

/** A pod of `deploy/langflow.yaml`. */
export function podWith(container: object, status: object = { phase: 'Running' }, name = 'a'): KubeObject {
  return {
    metadata: { name, uid: `uid-${name}`, resourceVersion: '1' },
    spec: {
      nodeName: `node-${name}`,
      initContainers: [{ name: 'install', args: ['install', '/opt/x'] }, container],
      containers: [{ name: 'langflow', args: ['langflow', 'run'] }],
    },
    status,
  }
}

export const AGENT = { name: 'agent', args: ['agent'], ports: [{ name: 'agent', containerPort: 8090 }] }
