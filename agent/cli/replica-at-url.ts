import * as z from 'zod/mini'
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

/**
 * The replicas that one agent reports, itself included. The agent may have another version. `base` may have a path, as behind
 * `kubectl proxy`. Rejects with an `OperationError` if the agent does not answer.
 */
export async function replicasAt(base: URL): Promise<ReplicaRow[]> {
  const url = new URL('replicas', base.href.endsWith('/') ? base : `${base.href}/`)
  const signal = AbortSignal.timeout(DEADLINE_MS)
  const response = await fetch(url, { redirect: 'error', signal }).catch(({ message, cause }) => {
    const why = signal.aborted
      ? `no answer within ${DEADLINE_MS} ms`
      : (cause?.code ?? cause?.message ?? message)
    throw new OperationError('unreachable', `cannot reach ${url.href}: ${why}`)
  })
  const read = z.safeParse(Rows, await response.json().catch(() => null))
  if (!read.success)
    throw new OperationError(
      'unreachable',
      `${url.href} answered ${response.status}, but not as an agent does: use the address of an agent's --listen, such as http://127.0.0.1:8090`,
    )
  return read.data.map(({ pod, node, status, problem }) => {
    const known = statusOf(status)
    return { pod, node, status: known, problem: known === null ? (problem ?? NO_STATUS) : null }
  })
}
