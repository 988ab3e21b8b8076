import type { PastTerm } from '../../../agent/lease/history.ts'
import type { AgentStatus, ReplicaRow } from '../../../agent/observe/status.ts'
import { FOLLOWING, SERVING } from '../replica.ts'

type More = { readonly [K in keyof AgentStatus]?: AgentStatus[K] }

/** One that leads and serves. */
export function leads(pod: string, more: More = {}): ReplicaRow {
  return row(pod, { ...SERVING, identity: `${pod}_3f1c`, ...more })
}

/** One that could take over from `langflow-0`. */
export function follows(pod: string, more: More = {}): ReplicaRow {
  const lease = { ...FOLLOWING.lease, holder: SERVING.identity }
  return row(pod, { ...FOLLOWING, identity: `${pod}_9d2e`, decision: 'langflow-0 leads', lease, ...more })
}

export function silent(pod: string): ReplicaRow {
  return { pod, node: null, status: null, problem: 'peer http://10.0.0.7:8090 did not answer within 1 s' }
}

function row(pod: string, status: AgentStatus): ReplicaRow {
  return { pod, node: null, status, problem: null }
}

/** A term that began after a release, an hour before `SERVING.now`, and lasts. */
export const TERM: PastTerm = {
  epoch: 7,
  holder: 'langflow-0',
  began: '2026-01-02T02:04:05Z',
  because: 'released',
  phases: { detectMs: 3, acquireMs: 14, startMs: 1_210, healthyMs: 290 },
  gapMs: 1_734,
  ended: null,
  endedBecause: null,
  stopMs: null,
}
