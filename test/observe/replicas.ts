import type { AgentStatus, ReplicaRow } from '../../agent/status/agent-status.ts'
import { FOLLOWING, SERVING } from './replica.ts'

type More = { readonly [K in keyof AgentStatus]?: AgentStatus[K] }

/** The row of a replica that leads and serves. */
export function leads(pod: string, more: More = {}): ReplicaRow {
  return row(pod, { ...SERVING, identity: `${pod}_3f1c`, ...more })
}

/** The row of a replica that could take over from `langflow-0`. */
export function follows(pod: string, more: More = {}): ReplicaRow {
  const lease = { ...FOLLOWING.lease, holder: SERVING.identity }
  return row(pod, { ...FOLLOWING, identity: `${pod}_9d2e`, decision: 'langflow-0 leads', lease, ...more })
}

function row(pod: string, status: AgentStatus): ReplicaRow {
  return { pod, node: null, status, problem: null }
}
