import * as z from 'zod/mini'
import { podOf } from '../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../observe/agent-status.ts'
import { statusOf } from '../observe/status-shape.ts'

export const NO_STATUS = 'it answers, but not with the status of an agent that this version understands'

const Rows = z.array(
  z.object({
    pod: z.string(),
    node: z.nullable(z.string()),
    status: z.unknown(),
    problem: z.nullable(z.string()),
  }),
)

/** The answer of `GET /replicas`, maybe of another version of this program; `null`: it is none. */
export function readRows(value: unknown): ReplicaRow[] | null {
  const read = z.safeParse(Rows, value)
  if (!read.success) return null
  return read.data.map(({ pod, node, status, problem }) => {
    const known = statusOf(status)
    return { pod, node, status: known, problem: known === null ? (problem ?? NO_STATUS) : null }
  })
}

/** Of a replica that told its status. */
export function rowOf(status: AgentStatus): ReplicaRow {
  return { pod: podOf(status.identity), node: null, status, problem: null }
}
