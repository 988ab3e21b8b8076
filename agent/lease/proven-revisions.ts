import * as z from 'zod/mini'
import type { Lease } from './lease.ts'
import { ENDED_BECAUSE, type EndedBecause } from './reasons.ts'

/** Written only by the holder. */
export const REVISIONS = 'langflow-leader/revisions'
/** Enough for any rollback. A revision that served before these counts as new. */
const MOST_PROVEN = 10
/** The inputs of LangFlow may differ from pod to pod, and two revisions may fail side by side. */
const MOST_FAILED = 10
/** The limit of Kubernetes for the value of a label. */
const LONGEST_REVISION = 63
const LONGEST_REASON = 300
const LONGEST_VERSION = 64

export interface FailedRevision {
  readonly revision: string
  readonly inputs: string | null
  readonly because: EndedBecause
  readonly reason: string
  /** Number of failed first starts in a row. */
  readonly attempts: number
}

/** A revision is the hash of a pod's template. It is proven when a replica of it has served. */
export interface Revisions {
  readonly proven: readonly string[]
  readonly langflow: string | null
  /** First starts, the latest first: one for each revision and digest of its inputs. */
  readonly failed: readonly FailedRevision[]
}

export const NO_REVISIONS: Revisions = { proven: [], langflow: null, failed: [] }

const revision = z.string().check(z.minLength(1), z.maxLength(LONGEST_REVISION))
const Failed = z.object({
  revision,
  inputs: z.nullable(z.string().check(z.maxLength(64))),
  because: z.enum(ENDED_BECAUSE),
  reason: z.string().check(z.maxLength(LONGEST_REASON)),
  attempts: z.catch(z.int().check(z.positive()), 1),
})
const Note = z.object({
  proven: z.catch(z.array(revision).check(z.maxLength(MOST_PROVEN)), []),
  langflow: z.catch(z.nullable(z.string().check(z.maxLength(LONGEST_VERSION))), null),
  failed: z.catch(z.array(Failed).check(z.maxLength(MOST_FAILED)), []),
})

export function revisionsOf(lease: Lease): Revisions {
  try {
    return z.parse(Note, JSON.parse(lease.metadata.annotations?.[REVISIONS] ?? ''))
  } catch {
    return NO_REVISIONS
  }
}

export function withProven(before: Revisions, revision: string, langflow: string | null): Revisions {
  const { proven, failed } = before
  const others = proven.filter((other) => other !== revision)
  return {
    proven: [revision, ...others].slice(0, MOST_PROVEN),
    langflow: langflow?.slice(0, LONGEST_VERSION) ?? null,
    failed: failed.filter((one) => one.revision !== revision),
  }
}

export function withFailed({ failed, ...more }: Revisions, failure: FailedRevision): Revisions {
  const { revision, inputs, reason } = failure
  const others = failed.filter((one) => one.revision !== revision || one.inputs !== inputs)
  const clipped = { ...failure, reason: reason.slice(0, LONGEST_REASON) }
  return { ...more, failed: [clipped, ...others].slice(0, MOST_FAILED) }
}
