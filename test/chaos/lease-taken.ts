import type { Term } from '../support/terms.ts'
import { mayCostLease } from './faults/kinds.ts'
import type { Struck } from './strikes.ts'

/** What an agent says of a Lease whose holder gave it back. */
export const RELEASED = 'its holder released it'

/** After the end of a fault: a lease duration until the Lease has run out, and a retry period until somebody looks. */
const SHOWS_WITHIN_MS = 15_000 + 2_000

export interface Succession {
  readonly term: Term
  /** The first that began after it. */
  readonly next: Term
  /** Why that could begin, as its agent says; `undefined`: that is not known, or not yet. */
  readonly because: string | undefined
  /** Monotonic ms: since then the launcher of `term` stood still. */
  readonly stillSince: number
}

/**
 * Whether a fault took the Lease from a replica whose launcher stood still. That alone costs no Lease: the agent goes on
 * renewing, and without proof that nothing lives it releases nothing.
 */
export function leaseTaken(
  { term, next, because, stillSince }: Succession,
  struck: readonly Struck[],
): boolean {
  // With an epoch in between it was another holder that released.
  if (because === RELEASED && next.epoch === term.epoch + 1) return false
  return struck.some(
    ({ kind, at, healedAt, replica }) =>
      mayCostLease(kind) &&
      (replica === '' || replica === term.replica) &&
      at <= next.first &&
      healedAt >= stillSince - SHOWS_WITHIN_MS,
  )
}
