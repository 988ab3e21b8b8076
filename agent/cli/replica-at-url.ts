import type { ReplicaRow } from '../observe/agent-status.ts'
import { statusOf } from '../observe/status-shape.ts'
import { OperationError } from './exit-codes.ts'
import { readRows, rowOf } from './read-status.ts'

const DEADLINE_MS = 5_000

/**
 * What one replica's agent tells of itself and its peers, without a cluster. `base` may have a path, as behind `kubectl proxy`.
 * Rejects with an `OperationError` where it does not answer.
 */
export async function replicasAt(base: URL): Promise<ReplicaRow[]> {
  const replicas = await ask(base, 'replicas')
  if (replicas !== null) {
    const rows = readRows(replicas)
    if (rows !== null) return rows
    throw noAgent(base)
  }
  // Of a version that tells of itself alone.
  const status = statusOf(await ask(base, 'status'))
  if (status === null) throw noAgent(base)
  return [rowOf(status)]
}

/** JSON; `null`: there is no such page. */
async function ask(base: URL, page: string): Promise<unknown> {
  const url = new URL(page, base.href.endsWith('/') ? base : `${base.href}/`)
  try {
    const response = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(DEADLINE_MS) })
    if (response.status === 404) return null
    if (!response.ok) throw new OperationError('unreachable', `${url.href} answers ${response.status}`)
    return await response.json()
  } catch (error) {
    if (error instanceof OperationError) throw error
    if (error instanceof SyntaxError) throw noAgent(base)
    const { name, message, cause } = error as Error
    if (name === 'TimeoutError')
      throw new OperationError('unreachable', `${url.href} does not answer within ${DEADLINE_MS / 1000} s`)
    const why =
      (cause as NodeJS.ErrnoException | undefined)?.code ?? (cause as Error | undefined)?.message ?? message
    throw new OperationError('unreachable', `cannot reach ${url.href}: ${why}`, { cause: error })
  }
}

function noAgent({ href }: URL): OperationError {
  return new OperationError(
    'unreachable',
    `${href} answers, but not as an agent does: give the address of its --listen, such as http://127.0.0.1:8090`,
  )
}
