import { ApiError } from '../kube/kube-errors.ts'
import type { Lease } from '../lease/lease.ts'
import type { Cluster } from './cluster.ts'
import { asOperationError, OperationError } from './exit-codes.ts'

/** What operating needs of a cluster. */
export type Operable = Pick<Cluster, 'leaseName' | 'namespace' | 'lease' | 'annotate' | 'replicas' | 'status'>

type Annotations = Readonly<Record<string, string | null>>

/** How often a write is tried: the leader renews the Lease each few seconds, and others may operate as well. */
const ATTEMPTS = 5
/** And how often one that is not answered in time, which takes long. */
const UNANSWERED = 2

/**
 * Writes what `change` makes of the newest version of the Lease upon that version alone: where somebody else was faster, it
 * is asked again; `unsure`: an earlier write may have been made. It throws where nothing may be written, and returns `null` where nothing needs to be. Resolves to the
 * Lease as it then is.
 */
export async function swap(
  cluster: Pick<Operable, 'lease' | 'annotate'>,
  change: (lease: Lease, unsure: boolean) => Annotations | null,
): Promise<Lease> {
  let unsure: Annotations | null = null
  let unanswered = 0
  for (let attempt = 1; ; attempt++) {
    const lease = await cluster.lease()
    // An answer that never came is no reason to take one's own write for somebody else's.
    if (unsure !== null && carries(lease, unsure)) return lease
    const annotations = change(lease, unsure !== null)
    if (annotations === null) return lease
    try {
      return await cluster.annotate(lease, annotations)
    } catch (error) {
      const { code, mayHaveCommitted } = error instanceof ApiError ? error : unforeseen(error)
      const again = code === 'conflict' || mayHaveCommitted
      if (code === 'timeout') unanswered++
      if (again && attempt < ATTEMPTS && unanswered < UNANSWERED) {
        if (mayHaveCommitted) unsure = annotations
        continue
      }
      const told = asOperationError(error)
      if (!again || !(told instanceof OperationError)) throw told
      const advice = told.code === 'conflict' ? 'try again' : 'it may have been written all the same'
      throw new OperationError(told.code, `${told.message}, ${attempt} times in a row: ${advice}`, {
        cause: error,
      })
    }
  }
}

function carries({ metadata }: Lease, annotations: Annotations): boolean {
  return Object.entries(annotations).every(([key, value]) => (metadata.annotations?.[key] ?? null) === value)
}

function unforeseen(error: unknown): never {
  throw error
}
