import * as z from 'zod/mini'
import { epochOf, holderOf, type Lease } from './lease.ts'
import { ACQUIRED_BECAUSE, type AcquiredBecause, ENDED_BECAUSE, type EndedBecause } from './reasons.ts'

/** The last terms, in one annotation of the Lease, so that they survive every pod. */
export const HISTORY = 'langflow-leader/history'
export const MOST_TERMS = 50
export const MOST_BYTES = 8 * 1024

/** The phases that a takeover may not reach. */
export interface StartPhases {
  readonly startMs: number | null
  readonly healthyMs: number | null
}

/** Durations of the phases of a takeover, each from the end of the one before. */
export interface Phases extends StartPhases {
  readonly detectMs: number
  readonly acquireMs: number
}

export interface PastTerm {
  readonly epoch: number
  readonly holder: string
  readonly began: string
  readonly because: AcquiredBecause
  readonly phases: Phases
  /** From the end of service in an earlier term to its start in this one. */
  readonly gapMs: number | null
  /** RFC 3339, as all times here. For a holder that vanished, the time of its last renewal. */
  readonly ended: string | null
  readonly endedBecause: EndedBecause | 'expired' | null
  /** Milliseconds from closing the gate to the release, or to the last renewal of a holder that vanished. */
  readonly stopMs: number | null
}

const count = z.int().check(z.nonnegative())
const seconds = z.int().check(z.nonnegative(), z.maximum(8_640_000_000_000 / 1000))
/** The entry is short, since it is sent with each renewal: times in seconds since 1970, durations in milliseconds. */
const Entry = z.tuple([
  count,
  z.string().check(z.maxLength(512)),
  seconds,
  z.enum(ACQUIRED_BECAUSE),
  count,
  count,
  z.nullable(count),
  z.nullable(count),
  z.nullable(count),
  z.nullable(seconds),
  z.nullable(z.enum(['expired', ...ENDED_BECAUSE])),
  z.nullable(count),
])

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
    const read = z.safeParse(Entry, entry)
    return read.success ? [termOf(read.data)] : []
  })
}

export function holderServes(lease: Lease | null, [present]: readonly PastTerm[]): boolean {
  if (lease === null || present === undefined || holderOf(lease) === '') return false
  return present.epoch === epochOf(lease) && present.phases.healthyMs !== null
}

export function encodeHistory(terms: readonly PastTerm[]): string {
  const entries: string[] = []
  let bytes = 2
  for (const term of terms.slice(0, MOST_TERMS)) {
    const entry = encodeTerm(term)
    bytes += Buffer.byteLength(entry) + 1
    if (bytes > MOST_BYTES) break
    entries.push(entry)
  }
  return `[${entries.join(',')}]`
}

function termOf(entry: z.infer<typeof Entry>): PastTerm {
  const [epoch, holder, beganAt, because, detectMs, acquireMs, startMs, healthyMs, gapMs, ...end] = entry
  const [endedAt, endedBecause, stopMs] = end
  const phases = { detectMs, acquireMs, startMs, healthyMs }
  const [began, ended] = [timeOf(beganAt), endedAt === null ? null : timeOf(endedAt)]
  return { epoch, holder, began, because, phases, gapMs, ended, endedBecause, stopMs }
}

export function encodeTerm({ epoch, holder, began, because, phases, gapMs, ...end }: PastTerm): string {
  const { ended, endedBecause, stopMs } = end
  const { detectMs, acquireMs, startMs, healthyMs } = phases
  return JSON.stringify([
    epoch,
    holder,
    secondsOf(began),
    because,
    ...[detectMs, acquireMs, startMs, healthyMs, gapMs].map((ms) => (ms === null ? null : Math.round(ms))),
    ended === null ? null : secondsOf(ended),
    endedBecause,
    stopMs === null ? null : Math.round(stopMs),
  ])
}

function timeOf(s: number): string {
  return `${new Date(s * 1000).toISOString().slice(0, -5)}Z`
}

function secondsOf(time: string): number {
  return Math.floor(Date.parse(time) / 1000)
}
