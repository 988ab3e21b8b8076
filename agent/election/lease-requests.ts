import type { Instant } from '../clock.ts'
import { ApiError } from '../kube/kube-errors.ts'
import {
  annotated,
  epochAfter,
  epochOf,
  holderOf,
  isNewer,
  isReleased,
  LARGEST_TRANSITIONS,
  type Lease,
  langflowOf,
  microTime,
  type Notes,
} from '../lease/lease.ts'
import { encodeHistory, encodeTerm, HISTORY, type PastTerm } from '../lease/lease-history.ts'
import {
  type OperatorRequest,
  pauseIsOver,
  podOf,
  REQUEST_REASON,
  REQUESTS,
  requestsOf,
} from '../lease/operator-annotations.ts'
import { isOlder } from '../python-version.ts'
import { failedStart, revisionsNoted } from './revision-trial.ts'
import {
  type CandidateConfig,
  type CandidateState,
  doubtAt,
  type ElectionState,
  emit,
  type Input,
  killAt,
  type Term,
  type Write,
  type WriteKind,
  writerWall,
} from './state.ts'

/** Few writes can still surface as committed: one request is in flight at a time. */
const REMEMBERED_WRITES = 32
const REQUEST_NOTES: readonly string[] = [...Object.values(REQUESTS), REQUEST_REASON]
/** Fields of a term that has not ended. */
const LASTS = { gapMs: null, ended: null, endedBecause: null, stopMs: null, note: null } as const

/**
 * Sends a write. Its body keeps every field of the Lease that this program does not own, and its `resourceVersion`.
 * Every write is a compare-and-swap (rule 4), except for a creation, which the API server refuses if the Lease exists.
 *
 * @param because for an `acquire`: why the Lease is free. For a `release`: why a replica that does not lead releases
 * it.
 */
export function sendWrite<S extends CandidateState>(
  input: Input,
  state: S,
  kind: WriteKind,
  because: Write['because'] = null,
): S {
  const { config, now } = input
  const { seen, term, highestEpoch, nextWriteId: id, written, created } = state
  const base = seen?.lease ?? null
  const renewTime = microTime(now.wall, (config.salt + id) % 1000)
  const led = term?.epoch ?? (base === null ? 0 : epochOf(base))
  const epoch = kind === 'acquire' ? epochAfter(highestEpoch) : led
  const held = { holderIdentity: config.identity, leaseDurationSeconds: config.leaseDurationMs / 1000 }
  // client-go's form of a release: no holder, one second.
  const holder = kind === 'release' ? { holderIdentity: '', leaseDurationSeconds: 1 } : held
  const begins = kind === 'acquire' || kind === 'release'
  const acquireTime = begins ? { acquireTime: renewTime } : term && { acquireTime: term.acquireTime }
  const unchangedMs = seen === null ? 0 : now.mono - seen.changedAt
  const detectMs = detectedAfter(input, state)
  const leaseTransitions = Math.min(epoch, LARGEST_TRANSITIONS)
  const write: Write = {
    id,
    kind,
    base,
    renewTime,
    sentAt: now,
    because,
    unchangedMs,
    detectMs,
    drops: droppedRequests(state, kind),
    lease: {
      ...(base ?? { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' }),
      metadata: annotated(
        base?.metadata ?? (kind === 'recreate' ? { annotations: state.lastNotes } : {}),
        notesFor(input, state, { kind, because, detectMs, epoch }),
      ),
      spec: { ...base?.spec, ...holder, renewTime, ...acquireTime, leaseTransitions },
    },
  }
  const sent = {
    ...state,
    inFlight: true,
    pending: write,
    attemptedAt: now,
    nextWriteId: id + 1,
    nextAttemptAt: now.mono + config.retryPeriodMs,
    written: [...written.slice(-REMEMBERED_WRITES), renewTime],
    created: base === null ? [...created.slice(-REMEMBERED_WRITES), renewTime] : created,
  }
  return emit(sent, { type: 'write', write, deadlineMs: requestDeadline(config, state, now) })
}

export function sendRead<S extends CandidateState>({ config, now }: Input, state: S): S {
  const nextPollAt = now.mono + config.retryPeriodMs
  const sent = { ...state, inFlight: true, readSentAt: now, readAfter: state.seen, nextPollAt }
  return emit(sent, { type: 'read', deadlineMs: requestDeadline(config, state, now) })
}

/**
 * Monotonic ms until which the API server asked for no requests (Retry-After). Rule 11 limits the wait: no renewal is
 * skipped, no grant that could be taken back is lost, and no Lease stays free for longer.
 */
export function askedToWait({ config, now }: Input, { retryAfterMs = 0 }: ApiError): number {
  return now.mono + Math.min(retryAfterMs, config.retryPeriodMs)
}

/**
 * Half the renew deadline, as in the Kubernetes components, so that two attempts fit. Near the doubt it is less, so
 * that the request ends before it: a new connection is worth more than an old answer.
 */
function requestDeadline(config: CandidateConfig, { term }: ElectionState, now: Instant): number {
  const half = config.renewDeadlineMs / 2
  if (term === null) return half
  const untilDoubt = doubtAt(config, term.renewedAt).mono - now.mono
  const untilKill = killAt(config, term.renewedAt).mono - now.mono
  return Math.min(half, Math.max(config.retryPeriodMs, untilDoubt), Math.max(1, untilKill))
}

/**
 * The annotations of a write. The next write after a release removes the named successor and the note about the
 * releasing replica.
 */
function notesFor(
  input: Input,
  state: ElectionState,
  write: Pick<Write, 'kind' | 'because' | 'detectMs'> & { readonly epoch: number },
): Notes {
  const { owner, identity, allowOlder, front } = input.config
  const { workload, seen, term, paused } = state
  const { kind, epoch } = write
  // If a term ended with its pod, its LangFlow is noted already, and this replica cannot determine it.
  const langflow = kind === 'release' && write.because !== null ? null : workload.langflow
  // The newest version that has led. It is written with the write that takes the Lease, and so before its LangFlow can
  // act.
  const noted = seen?.lease ? langflowOf(seen.lease) : null
  const older = langflow !== null && noted !== null && !allowOlder && isOlder(langflow, noted)
  const history = historyNote(input, state, write)
  const revisions = revisionsNoted(input.config, state)
  // A pause that came after the step-down began would prevent every replica from taking over.
  const tooLate = paused && term?.stepDown?.paused === false
  const both = {
    epoch,
    answered: answeredNotes(state, kind),
    ...(langflow !== null && { langflow: older ? noted : langflow }),
    ...(history !== undefined && { history }),
    ...(revisions !== state.revisions && { revisions: JSON.stringify(revisions) }),
    ...((tooLate || pauseIsOver(seen?.lease ?? null, writerWall(state, input.now))) && {
      resumed: true as const,
    }),
    // The key is useless when its term is about to end.
    ...(front !== null && {
      front:
        kind === 'release'
          ? null
          : term?.stepDown && term.stepDown.toldBy !== null
            ? ('closing' as const)
            : front,
    }),
  }
  if (kind === 'renew') return both
  const own = owner === null ? both : { ...both, owner }
  if (kind === 'release') {
    // The best-prepared replica may be of the revision that failed.
    const failed = term?.stepDown?.blames || failedStart(input.config, state) !== null
    const successor = term?.stepDown?.to ?? (failed ? null : state.successor)
    return { ...own, successor, released: { identity, epoch } }
  }
  return { ...own, successor: null, released: null }
}

/** The annotations that a write removes: of answered requests, or of all, because they are for the leader at that time. */
function answeredNotes(state: ElectionState, kind: WriteKind): string[] {
  const { refusal, restartAnswered, keptRequests } = state
  const all = kind === 'acquire' || kind === 'release'
  const renews = kind === 'renew'
  const keys = all ? [...REQUEST_NOTES] : []
  if (renews && refusal?.open) keys.push(REQUESTS[refusal.what], REQUEST_REASON)
  if (renews && restartAnswered) keys.push(REQUESTS.restart, REQUEST_REASON)
  return keys.filter((key) => !(key in keptRequests))
}

/** The requests that a write removes although this replica has neither obeyed nor refused them. */
function droppedRequests(
  { seen, term, refusal, restartAnswered, keptRequests }: ElectionState,
  kind: WriteKind,
): OperatorRequest[] {
  if (kind !== 'acquire' && kind !== 'release') return []
  return requestsOf(seen?.lease ?? null, keptRequests).filter(({ what }) => {
    if (what === 'restart' && restartAnswered) return false
    return term?.stepDown?.code !== what && !(refusal?.open && refusal.what === what)
  })
}

/**
 * The annotations of requests that a refused write tried to remove. An admission policy may refuse just that, so the
 * next writes leave them in the Lease. `null`: the refusal has another cause.
 */
export function keptRequests(
  { base, lease }: Write,
  { code }: ApiError,
): Readonly<Record<string, string>> | null {
  if (code !== 'forbidden' && code !== 'invalid') return null
  const notes = lease.metadata.annotations ?? {}
  const removed = Object.entries(base?.metadata.annotations ?? {}).filter(
    ([key]) => REQUEST_NOTES.includes(key) && notes[key] === undefined,
  )
  return removed.length === 0 ? null : Object.fromEntries(removed)
}

/**
 * A write's addition to the Lease's history of terms. `undefined`: nothing new. A write that takes the Lease closes the
 * term that its holder left open. A release records why its term ended.
 */
function historyNote(
  { config, now }: Pick<Input, 'config' | 'now'>,
  { seen, term, lastNotes, history: known, setAside }: ElectionState,
  write: Pick<Write, 'kind' | 'because' | 'detectMs'> & { readonly epoch: number },
): string | undefined {
  const lease = seen?.lease ?? null
  const at = new Date(now.wall).toISOString()
  const holder = podOf(config.identity)
  const { kind, because, epoch, detectMs } = write
  const close = (over: Partial<PastTerm>) => known.map((past) => (past.ended ? past : { ...past, ...over }))
  if (kind === 'acquire' && because !== null) {
    const phases = { detectMs, acquireMs: 0, startMs: null, healthyMs: null }
    const begun = { ...LASTS, epoch, holder, began: at, because: because.code, phases }
    return encodeHistory([begun, ...close({ ended: lease?.spec?.renewTime ?? at, endedBecause: 'expired' })])
  }
  // The pod was killed. It is assumed to have served until its last renewal.
  if (kind === 'release' && because !== null)
    return encodeHistory(close({ ended: at, endedBecause: 'pod_restarted', stopMs: Math.round(detectMs) }))
  if (term === null || term.phases === null) return undefined
  const { acquireTime, phases, stepDown, note } = term
  const earlier = known.filter((past) => past.epoch < term.epoch)
  const leftAloneMs = term.leftAloneMs + (setAside === null ? 0 : now.mono - setAside.since)
  const present = {
    ...LASTS,
    epoch: term.epoch,
    holder,
    began: acquireTime,
    because: term.because,
    phases,
    gapMs: leftAloneMs > 0 ? (gapOf(term, earlier) ?? 0) + leftAloneMs : gapOf(term, earlier),
    // If this holder vanishes during its stop, its successor also counts from the closing of the gate.
    stopMs: stepDown && now.mono - stepDown.closedAt,
    note,
  }
  const entry =
    kind === 'release' && stepDown !== null ? { ...present, ended: at, endedBecause: stepDown.code } : present
  // Most renewals have nothing to add.
  return lastNotes[HISTORY]?.includes(encodeTerm(entry)) ? undefined : encodeHistory([entry, ...earlier])
}

/**
 * Milliseconds for which the Lease has been free or not renewed, as this replica watched it. If that differs from the
 * time since the last holder's write, by that holder's wall clock, by more than clocks usually do, the latter counts.
 * The value is only noted, and decides nothing (rule 6).
 */
function detectedAfter({ config, now }: Pick<Input, 'config' | 'now'>, state: ElectionState): number {
  const { seen } = state
  const watchedMs = seen === null ? 0 : now.mono - seen.changedAt
  const writtenMs = writerWall(state, now) - Date.parse(seen?.lease?.spec?.renewTime ?? '')
  return writtenMs > watchedMs + config.retryPeriodMs ? writtenMs : watchedMs
}

/** @param earlier the terms before this one, newest first */
function gapOf({ epoch, acquireTime, phases }: Term, earlier: readonly PastTerm[]): number | null {
  if (phases === null || phases.healthyMs === null) return null
  const { detectMs, acquireMs, startMs, healthyMs } = phases
  const servedAfterMs = acquireMs + (startMs ?? 0) + healthyMs
  const at = earlier.findIndex((past, n) => past.epoch !== epoch - 1 - n || past.phases.healthyMs !== null)
  const last = earlier[at]
  if (last === undefined || last.epoch !== epoch - 1 - at || last.ended === null) return null
  const { ended, stopMs } = last
  const sinceMs = (stopMs ?? 0) + detectMs
  // Terms in between that never served have left their times.
  const endedMs = at === 0 ? 0 : Date.parse(acquireTime) - Date.parse(ended) + (stopMs ?? 0)
  return Math.max(sinceMs, endedMs) + servedAfterMs
}

/**
 * The part of the write that the answer lacks. `null`: nothing. A success is no proof: a mutating webhook or a proxy
 * between this replica and etcd may drop a write and answer 200, and no other replica would see the Lease renewed. The
 * renew time may come back in another form (some truncate it), but must differ from the one before.
 *
 * @param written renew times of all of this replica's writes
 */
export function notKept(
  { lease, base }: Pick<Write, 'lease' | 'base'>,
  answer: Lease,
  written: readonly string[],
): ApiError | null {
  const lacks = (lack: string) => {
    const message = `the API server accepted a write but did not store it: ${lack}; check webhooks and proxies that change Leases`
    return new ApiError('not_kept', message, { mayHaveCommitted: true })
  }
  const [holder, epoch] = [holderOf(lease), epochOf(lease)]
  if (holderOf(answer) !== holder) return lacks(`the holder is "${holderOf(answer)}" instead of "${holder}"`)
  if (epochOf(answer) !== epoch) return lacks(`the epoch is ${epochOf(answer)} instead of ${epoch}`)
  if (base !== null && !isNewer(answer.metadata.resourceVersion, base.metadata.resourceVersion))
    return lacks('the resourceVersion is not newer')
  if (holder === '')
    return isReleased(lease, null) && !isReleased(answer, null) ? lacks('the release is missing') : null
  const { renewTime, leaseDurationSeconds } = answer.spec ?? {}
  if (!renewTime || renewTime === base?.spec?.renewTime) return lacks('the renewTime is unchanged')
  // The answer is newer than the version that this write was based on, but not newer than an earlier write without an
  // answer.
  if (renewTime !== lease.spec?.renewTime && written.includes(renewTime))
    return lacks('the renewTime is that of an earlier write')
  const duration = lease.spec?.leaseDurationSeconds ?? 0
  if ((leaseDurationSeconds ?? 0) >= duration) return null
  return lacks(`leaseDurationSeconds is ${leaseDurationSeconds} instead of ${duration}`)
}
