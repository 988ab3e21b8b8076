import { ApiError } from '../kube/kube-errors.ts'
import { epochOf, holderOf, isNewer, isReleased, type Lease } from './lease.ts'
import type { PastTerm, StartPhases } from './lease-history.ts'
import { encodeHistory, encodeTerm, HISTORY, historyOf } from './lease-history.ts'
import { REQUEST_REASON, REQUESTS } from './operator-annotations.ts'
import { NO_REVISIONS, REVISIONS, type Revisions, revisionsOf } from './proven-revisions.ts'

/** The annotations that a write changes. `null`: removed. `undefined`: unchanged. */
export type AnnotationChanges = Readonly<Record<string, string | null | undefined>>

export function annotated(metadata: Lease['metadata'], changes: AnnotationChanges): Lease['metadata'] {
  const { annotations: before, ...bare } = metadata
  const annotations = { ...before }
  for (const [key, value] of Object.entries(changes)) {
    if (value === null) delete annotations[key]
    else if (value !== undefined) annotations[key] = value
  }
  return Object.keys(annotations).length === 0 ? bare : { ...bare, annotations }
}

/** What a replica continues when it writes the Lease, or re-creates it. */
interface Noted {
  readonly annotations: Readonly<Record<string, string>>
  readonly history: readonly PastTerm[]
  readonly revisions: Revisions
}

export const NOTHING_NOTED: Noted = { annotations: {}, history: [], revisions: NO_REVISIONS }

/** Only annotations that have changed are parsed again, because renewals are frequent. */
export function notedIn(lease: Lease, before: Noted): Noted {
  const annotations = lease.metadata.annotations ?? {}
  const isSame = (key: string) => annotations[key] === before.annotations[key]
  return {
    annotations,
    history: isSame(HISTORY) ? before.history : historyOf(lease),
    revisions: isSame(REVISIONS) ? before.revisions : revisionsOf(lease),
  }
}

export const REQUEST_ANNOTATIONS: readonly string[] = [...Object.values(REQUESTS), REQUEST_REASON]

/** `base`: the version that the write replaces, except for a creation. */
type Sent = { readonly lease: Lease; readonly base: Lease | null }

export function removesRequests({ lease, base }: Sent): boolean {
  const [before, after] = [base?.metadata.annotations ?? {}, lease.metadata.annotations ?? {}]
  return REQUEST_ANNOTATIONS.some((key) => before[key] !== undefined && after[key] === undefined)
}

export function withClosed(history: readonly PastTerm[], end: Partial<PastTerm>): PastTerm[] {
  return history.map((term) => (term.ended ? term : { ...term, ...end }))
}

/** The history with the present state of a term. `undefined`: it is noted already, as in most renewals. */
export function historyWithPresent({ annotations, history }: Noted, term: PastTerm): string | undefined {
  if (annotations[HISTORY]?.includes(encodeTerm(term))) return undefined
  return encodeHistory([term, ...history.filter(({ epoch }) => epoch < term.epoch)])
}

/** Adds the time without service before the term. */
export function served(term: PastTerm, took: StartPhases, history: readonly PastTerm[]): PastTerm {
  const phases = { ...term.phases, ...took }
  const { detectMs, acquireMs, startMs, healthyMs } = phases
  const servedAfterMs = acquireMs + (startMs ?? 0) + (healthyMs ?? 0)
  const earlier = history.filter(({ epoch }) => epoch < term.epoch)
  const expected = (n: number) => term.epoch - 1 - n
  const at = earlier.findIndex((past, n) => past.epoch !== expected(n) || past.phases.healthyMs !== null)
  const last = earlier[at]
  if (last === undefined || last.epoch !== expected(at) || last.ended === null) return { ...term, phases }
  const { ended, stopMs } = last
  // Terms in between that never served have left their times.
  const endedMs = at === 0 ? 0 : Date.parse(term.began) - Date.parse(ended) + (stopMs ?? 0)
  return { ...term, phases, gapMs: Math.max((stopMs ?? 0) + detectMs, endedMs) + servedAfterMs }
}

/**
 * A mutating webhook or a proxy before etcd may drop a write and answer 200, and no other replica would
 * see the Lease renewed. The renew time may come back in another form (some truncate it), but must be a new one.
 *
 * @param written renew times of all of this replica's writes: the answer may show an earlier one
 */
export function storageFault(
  { lease, base }: Sent,
  answer: Lease,
  written: readonly string[],
): ApiError | null {
  const [sent, stored] = [lease.spec ?? {}, answer.spec ?? {}]
  const { renewTime } = stored
  const ends = holderOf(lease) === ''
  const isEarlier = renewTime !== sent.renewTime && written.includes(renewTime ?? '')
  const isRenewed = !!renewTime && renewTime !== base?.spec?.renewTime && !isEarlier
  const version = answer.metadata.resourceVersion
  const parts: [string, boolean][] = [
    ['holderIdentity', holderOf(answer) === holderOf(lease)],
    ['leaseTransitions', epochOf(answer) === epochOf(lease)],
    ['resourceVersion', base === null || isNewer(version, base.metadata.resourceVersion)],
    ['mark of a release', !ends || !isReleased(lease, null) || isReleased(answer, null)],
    ['renewTime', ends || isRenewed],
    ['leaseDurationSeconds', ends || (stored.leaseDurationSeconds ?? 0) >= (sent.leaseDurationSeconds ?? 0)],
  ]
  const lack = parts.find(([, isStored]) => !isStored)
  if (lack === undefined) return null
  const message = `the API server accepted a write but did not store its ${lack[0]}: check webhooks and proxies that change Leases`
  return new ApiError('not_kept', message, { mayHaveCommitted: true })
}
