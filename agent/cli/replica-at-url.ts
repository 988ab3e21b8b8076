import * as z from 'zod/mini'
import { reasonOf } from '../errno.ts'
import { type ReplicaRow, statusOf } from '../status/agent-status.ts'
import { DEADLINE_MS } from './api-connection.ts'
import { OperationError } from './exit-codes.ts'

export const NO_STATUS = "its answer is not an agent's status that this version can read"

const Rows = z.array(
  z.object({
    pod: z.string(),
    node: z.nullable(z.string()),
    status: z.unknown(),
    problem: z.nullable(z.string()),
  }),
)

/** The replicas that one agent reports. `base` may have a path, as behind `kubectl proxy`. Rejects with an `OperationError`. */
export async function replicasAt(base: URL): Promise<ReplicaRow[]> {
  const url = new URL('replicas', base.href.endsWith('/') ? base : `${base.href}/`)
  const unreachable = (why: string) => new OperationError('unreachable', `${url.href}: ${why}`)
  const signal = AbortSignal.timeout(DEADLINE_MS)
  const response = await fetch(url, { redirect: 'error', signal }).catch(({ message, cause }) => {
    throw unreachable(signal.aborted ? `no answer within ${DEADLINE_MS} ms` : reasonOf(cause ?? { message }))
  })
  const { data } = z.safeParse(Rows, await response.json().catch(() => null))
  if (data === undefined)
    throw unreachable(`status ${response.status}, but no answer of an agent: use the address of its --listen`)
  return data.map(({ pod, node, status, problem }) => {
    const known = statusOf(status)
    return { pod, node, status: known, problem: known === null ? (problem ?? NO_STATUS) : null }
  })
}
