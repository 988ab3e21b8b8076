import { ApiError } from '../kube/kube-errors.ts'
import type { FrontAccess, Lease } from './lease.ts'
import {
  epochOf,
  FRONT,
  frontNote,
  holderOf,
  isNewer,
  isReleased,
  LANGFLOW,
  OWNER,
  RELEASED,
  SUCCESSOR,
} from './lease.ts'
import type { PastTerm, StartPhases } from './lease-history.ts'
import { encodeHistory, encodeTerm, HISTORY, historyOf } from './lease-history.ts'
import { MEMBERS, type MembersNote } from './lease-members.ts'
import { REQUEST_DETAILS, REQUESTS } from './operator-annotations.ts'
import { NO_REVISIONS, REVISIONS, type Revisions, revisionsOf } from './proven-revisions.ts'

/** `give back`: releases this pod's earlier term, since nothing of it is alive. A `renew` may be a creation. */
export type WriteKind = 'acquire' | 'resume' | 'renew' | 'release' | 'give back'

/** All that a write states. An annotation that is `undefined` stays as it is; one that is `null` is removed. */
export interface Statement {
  readonly kind: WriteKind
  readonly epoch: number
  readonly identity: string
  readonly leaseDurationMs: number
  readonly renewTime: string
  /** Of the term that goes on, unless this write begins or ends one. */
  readonly acquireTime: string | undefined
  /** Answered requests, and a pause that is over. */
  readonly removed: readonly string[]
  readonly langflow: string | undefined
  readonly history: string | undefined
  readonly revisions: Revisions
  readonly front: FrontAccess | 'closing' | null
  readonly members: MembersNote | null
  readonly owner: string | null
  readonly successor: string | null
}

/**
 * The body keeps every field of `base` that this program does not own, and its `resourceVersion`: every write is a
 * compare-and-swap (rule 4), except for a creation, which the API server refuses if the Lease exists.
 */
export function writtenLease(base: Lease | null, noted: Noted, statement: Statement): Lease {
  const { kind, epoch, identity, leaseDurationMs, renewTime, acquireTime } = statement
  const ends = kind === 'release' || kind === 'give back'
  // client-go's form of a release: no holder, one second.
  const holder = ends
    ? { holderIdentity: '', leaseDurationSeconds: 1 }
    : { holderIdentity: identity, leaseDurationSeconds: leaseDurationMs / 1000 }
  const began = kind === 'acquire' || ends ? renewTime : acquireTime
  const metadata = base?.metadata ?? (kind === 'renew' ? { annotations: { ...noted.annotations } } : {})
  return {
    ...(base ?? { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' }),
    metadata: annotated(metadata, annotationsOf(noted, statement, ends)),
    spec: {
      ...base?.spec,
      ...{ ...holder, renewTime, leaseTransitions: epoch },
      ...(began !== undefined && { acquireTime: began }),
    },
  }
}

function annotationsOf(noted: Noted, statement: Statement, ends: boolean): AnnotationChanges {
  const { kind, epoch, identity, removed, langflow, history, revisions, front, members, owner, successor } =
    statement
  const isRenewal = kind === 'renew'
  return {
    ...Object.fromEntries(removed.map((key) => [key, null])),
    [LANGFLOW]: langflow,
    [HISTORY]: history,
    [REVISIONS]: revisions === noted.revisions ? undefined : JSON.stringify(revisions),
    // The key is useless when its term is about to end.
    [FRONT]: front === null ? undefined : ends ? null : frontNote(epoch, front),
    [MEMBERS]: members === null || ends ? null : JSON.stringify(members),
    [OWNER]: isRenewal ? undefined : (owner ?? undefined),
    [SUCCESSOR]: isRenewal ? undefined : ends ? successor : null,
    [RELEASED]: isRenewal ? undefined : ends ? `${identity} ${epoch}` : null,
  }
}

type AnnotationChanges = Readonly<Record<string, string | null | undefined>>

function annotated(metadata: Lease['metadata'], changes: AnnotationChanges): Lease['metadata'] {
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

export const REQUEST_ANNOTATIONS: readonly string[] = [...Object.values(REQUESTS), ...REQUEST_DETAILS]

/** `base`: the version that the write replaces, except for a creation. */
type Sent = { readonly lease: Lease; readonly base: Lease | null }

export function removesRequests({ lease, base }: Sent): boolean {
  const [before, after] = [base?.metadata.annotations ?? {}, lease.metadata.annotations ?? {}]
  return REQUEST_ANNOTATIONS.some((key) => before[key] !== undefined && after[key] === undefined)
}

type TermEnd = Pick<PastTerm, 'ended' | 'endedBecause'> & Partial<Pick<PastTerm, 'stopMs'>>

/** The history with a new term. Its holder may have left the last one open, which then ended as stated. */
export function historyWithNew(
  { history }: Noted,
  begun: Pick<PastTerm, 'epoch' | 'holder' | 'began' | 'because'> & { readonly detectMs: number },
  end: TermEnd,
): string {
  const { detectMs, ...term } = begun
  const phases = { detectMs, acquireMs: 0, startMs: null, healthyMs: null }
  const open = { gapMs: null, ended: null, endedBecause: null, stopMs: null }
  return encodeHistory([{ ...term, phases, ...open }, ...withClosed(history, end)])
}

export function historyClosed({ history }: Noted, end: TermEnd): string {
  return encodeHistory(withClosed(history, end))
}

function withClosed(history: readonly PastTerm[], end: TermEnd): PastTerm[] {
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
  return new ApiError('not_kept', message)
}
