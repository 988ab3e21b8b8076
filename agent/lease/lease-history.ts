import * as z from 'zod/mini'
import { epochOf, holderOf, type Lease } from './lease.ts'
import { ACQUIRED_BECAUSE, ENDED_BECAUSE } from './reasons.ts'

/** The last terms, in one annotation of the Lease, so that they survive every pod. */
export const HISTORY = 'langflow-leader/history'
export const MOST_BYTES = 8 * 1024

/** RFC 3339. */
const time = z.string().check(z.maxLength(40))
const ms = z.number().check(z.nonnegative())

export const Term = z.object({
  epoch: z.int().check(z.nonnegative()),
  holder: z.string().check(z.maxLength(512)),
  began: time,
  because: z.enum(ACQUIRED_BECAUSE),
  /** Each lasts from the end of the one before. A takeover may not reach the last two. */
  phases: z.object({ detectMs: ms, acquireMs: ms, startMs: z.nullable(ms), healthyMs: z.nullable(ms) }),
  /** From the end of service in an earlier term to its start in this one. */
  gapMs: z.nullable(ms),
  /** For a holder that vanished, the time of its last renewal. */
  ended: z.nullable(time),
  endedBecause: z.nullable(z.enum(['expired', ...ENDED_BECAUSE])),
  /** From closing the gate to the release, or to the last renewal of a holder that vanished. */
  stopMs: z.nullable(ms),
  /** The time that the holder led without the API server, by consent of its members. */
  consentMs: z.optional(ms),
})

export type PastTerm = Readonly<z.infer<typeof Term>>
export type StartPhases = Pick<PastTerm['phases'], 'startMs' | 'healthyMs'>

/** Newest first, without invalid entries and those of a later version. */
export function historyOf(lease: Lease | null): PastTerm[] {
  const noted = lease?.metadata.annotations?.[HISTORY]
  if (noted === undefined || noted.length > 2 * MOST_BYTES) return []
  let entries: unknown
  try {
    entries = JSON.parse(noted)
  } catch {
    return []
  }
  return (Array.isArray(entries) ? entries : []).flatMap((entry) => {
    const read = z.safeParse(Term, entry)
    return read.success ? [read.data] : []
  })
}

export function holderServes(lease: Lease | null, [present]: readonly PastTerm[]): boolean {
  if (lease === null || present === undefined || holderOf(lease) === '') return false
  return present.epoch === epochOf(lease) && present.phases.healthyMs !== null
}

export function encodeHistory(terms: readonly PastTerm[]): string {
  const entries: string[] = []
  let bytes = 2
  for (const term of terms) {
    const entry = encodeTerm(term)
    bytes += Buffer.byteLength(entry) + 1
    if (bytes > MOST_BYTES) break
    entries.push(entry)
  }
  return `[${entries.join(',')}]`
}

export function encodeTerm(term: PastTerm): string {
  return JSON.stringify(term, (_, value) => (typeof value === 'number' ? Math.round(value) : value))
}
