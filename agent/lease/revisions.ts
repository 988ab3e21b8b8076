import * as z from 'zod/mini'
import type { Lease } from './lease.ts'
import { ENDED_BECAUSE, type EndedBecause } from './reasons.ts'

/** The revisions that have served, and the one whose first start failed: one annotation, written by the holder alone. */
export const REVISIONS = 'langflow-leader/revisions'
/** More than anybody rolls back over; a revision that served before these counts as new. */
const MOST_PROVEN = 10
/** What Kubernetes takes as the value of a label. */
const LONGEST_REVISION = 63
const LONGEST_REASON = 300

export interface FailedRevision {
  readonly revision: string
  /** Digest of what its LangFlow was started from (`Digests.inputs`); `null`: unknown. */
  readonly inputs: string | null
  readonly because: EndedBecause
  /** One sentence. */
  readonly reason: string
}

/** A revision is the hash of a pod's template; it is proven when a replica of it has served. */
export interface Revisions {
  /** The one that served last first. */
  readonly proven: readonly string[]
  /** The last one whose first start failed; `null`: none. */
  readonly failed: FailedRevision | null
}

export const NO_REVISIONS: Revisions = { proven: [], failed: null }

const revision = z.string().check(z.minLength(1), z.maxLength(LONGEST_REVISION))
const Failed = z.object({
  revision,
  inputs: z.nullable(z.string().check(z.maxLength(64))),
  because: z.enum(ENDED_BECAUSE),
  reason: z.string().check(z.maxLength(LONGEST_REASON)),
})
const Note = z.object({
  proven: z.catch(z.array(revision).check(z.maxLength(MOST_PROVEN)), []),
  failed: z.catch(z.nullable(Failed), null),
})

/** What the Lease says of revisions. What can't be read counts as not written. */
export function revisionsOf(lease: Lease): Revisions {
  try {
    return z.parse(Note, JSON.parse(lease.metadata.annotations?.[REVISIONS] ?? ''))
  } catch {
    return NO_REVISIONS
  }
}

/** A replica of this revision serves. */
export function withProven({ proven, failed }: Revisions, revision: string): Revisions {
  const others = proven.filter((other) => other !== revision)
  return {
    proven: [revision, ...others].slice(0, MOST_PROVEN),
    failed: failed?.revision === revision ? null : failed,
  }
}

/** A revision's first start has failed. */
export function withFailed({ proven }: Revisions, failed: FailedRevision): Revisions {
  return { proven, failed: { ...failed, reason: failed.reason.slice(0, LONGEST_REASON) } }
}
