import type { Instant } from '../clock.ts'
import {
  epochAfter,
  epochOf,
  FRONT,
  frontNote,
  LANGFLOW,
  type Lease,
  langflowOf,
  microTime,
  OWNER,
  RELEASED,
  SUCCESSOR,
} from '../lease/lease.ts'
import { encodeHistory, HISTORY } from '../lease/lease-history.ts'
import {
  PAUSE_ANNOTATIONS,
  pauseIsOver,
  podOf,
  REQUEST_REASON,
  REQUESTS,
} from '../lease/operator-annotations.ts'
import { REVISIONS } from '../lease/proven-revisions.ts'
import {
  type AnnotationChanges,
  annotated,
  historyWithPresent,
  REQUEST_ANNOTATIONS,
  withClosed,
} from '../lease/written-lease.ts'
import { isOlder } from '../python-version.ts'
import { failedStart, revisionsNoted } from './revision-trial.ts'
import type { CandidateConfig, CandidateState, Input, Write } from './state.ts'
import { doubtAt, emit, killAt } from './state.ts'

type PlannedWrite = Pick<Write, 'kind' | 'because'> & { readonly epoch: number }

const REMEMBERED_WRITES = 32

/**
 * The body keeps every field of the Lease that this program does not own, and its `resourceVersion`: every write is a
 * compare-and-swap (rule 4), except for a creation, which the API server refuses if the Lease exists.
 */
export function sendWrite<S extends CandidateState>(
  input: Input,
  state: S,
  kind: Write['kind'],
  because: Write['because'] = null,
): S {
  const { config, now } = input
  const { seen, term, highestEpoch, nextWriteId: id, written, created } = state
  const base = seen?.lease ?? null
  const renewTime = microTime(now.wall, (config.salt + id) % 1000)
  const led = term?.epoch ?? (base === null ? 0 : epochOf(base))
  const epoch = kind === 'acquire' ? epochAfter(highestEpoch) : led
  const ends = kind === 'release' || kind === 'give back'
  // client-go's form of a release: no holder, one second.
  const holder = ends
    ? { holderIdentity: '', leaseDurationSeconds: 1 }
    : { holderIdentity: config.identity, leaseDurationSeconds: config.leaseDurationMs / 1000 }
  const begins = kind === 'acquire' || ends
  const acquireTime = begins ? { acquireTime: renewTime } : term && { acquireTime: term.acquireTime }
  const metadata = base?.metadata ?? (kind === 'renew' ? { annotations: { ...state.noted.annotations } } : {})
  const lease: Lease = {
    ...(base ?? { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease' }),
    metadata: annotated(metadata, notesFor(input, state, { kind, epoch, because })),
    spec: { ...base?.spec, ...holder, renewTime, ...acquireTime, leaseTransitions: epoch },
  }
  const unchangedMs = seen === null ? 0 : now.mono - seen.changedAt
  const write: Write = { id, kind, lease, base, sentAt: now, because, unchangedMs }
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
  const lastRead = { sentAt: now, after: state.seen }
  const sent = { ...state, inFlight: true, lastRead, nextPollAt }
  return emit(sent, { type: 'read', deadlineMs: requestDeadline(config, state, now) })
}

/** Two attempts fit into the renew deadline, as in Kubernetes. Near the doubt, a request ends before it. */
function requestDeadline(config: CandidateConfig, { term }: CandidateState, now: Instant): number {
  const half = config.renewDeadlineMs / 2
  if (term === null) return half
  const untilDoubt = doubtAt(config, term.renewedAt).mono - now.mono
  const untilKill = killAt(config, term.renewedAt).mono - now.mono
  return Math.min(half, Math.max(config.retryPeriodMs, untilDoubt), Math.max(1, untilKill))
}

function notesFor(input: Input, state: CandidateState, write: PlannedWrite): AnnotationChanges {
  const { config, now } = input
  const { kind, epoch } = write
  const { identity, owner, front } = config
  const { seen, term, paused, noted } = state
  const ends = kind === 'release' || kind === 'give back'
  const isRenewal = kind === 'renew'
  const revisions = revisionsNoted(config, state)
  // A pause that came after the step-down began would prevent every replica from taking over.
  const tooLate = paused && term?.stepDown?.paused === false
  const isResumed = tooLate || pauseIsOver(seen?.lease ?? null, now.wall)
  const isClosing = term?.stepDown && term.stepDown.closingWrite !== null
  const removed = [...answered(state, kind), ...(isResumed ? PAUSE_ANNOTATIONS : [])]
  return {
    ...Object.fromEntries(removed.map((key) => [key, null])),
    [LANGFLOW]: langflowNoted(state, kind),
    [HISTORY]: historyNoted(input, state, write),
    [REVISIONS]: revisions === noted.revisions ? undefined : JSON.stringify(revisions),
    // The key is useless when its term is about to end.
    [FRONT]: front === null ? undefined : ends ? null : frontNote(epoch, isClosing ? 'closing' : front),
    [OWNER]: isRenewal ? undefined : (owner ?? undefined),
    [SUCCESSOR]: isRenewal ? undefined : ends ? namedSuccessor(config, state) : null,
    [RELEASED]: isRenewal ? undefined : ends ? `${identity} ${epoch}` : null,
  }
}

/** The best-prepared replica may be of the revision that failed, so that only an operator names a successor then. */
function namedSuccessor(config: CandidateConfig, state: CandidateState): string | null {
  const { stepDown } = state.term ?? {}
  const failed = stepDown?.blames || failedStart(config, state) !== null
  return stepDown?.to ?? (failed ? null : state.successor.identity)
}

/** It is noted before its LangFlow can act. If a term ended with its pod, this replica cannot determine its version. */
function langflowNoted({ seen, workload }: CandidateState, kind: Write['kind']): string | undefined {
  const { langflow } = workload
  if (langflow === null || kind === 'give back') return undefined
  const before = seen?.lease ? langflowOf(seen.lease) : null
  return before !== null && isOlder(langflow, before) ? before : langflow
}

/** All requests are for the present leader, so that a write which changes the leader removes them all. */
function answered({ term, requestsStay }: CandidateState, kind: Write['kind']): readonly string[] {
  if (requestsStay) return []
  if (kind !== 'renew') return kind === 'resume' ? [] : REQUEST_ANNOTATIONS
  const refused = term?.refusal?.open ? [REQUESTS[term.refusal.what]] : []
  const keys = term?.restartAnswered ? [...refused, REQUESTS.restart] : refused
  return keys.length === 0 ? [] : [...keys, REQUEST_REASON]
}

function historyNoted(
  { config, now }: Input,
  { seen, term, noted }: CandidateState,
  { kind, epoch, because }: PlannedWrite,
): string | undefined {
  const at = new Date(now.wall).toISOString()
  const renewTime = seen?.lease?.spec?.renewTime
  // The holder's clock counts if it shows a longer time than this replica has watched. It decides nothing (rule 6).
  const watchedMs = seen === null ? 0 : now.mono - seen.changedAt
  const writtenMs = now.wall - Date.parse(renewTime ?? '')
  const detectMs = writtenMs > watchedMs + config.retryPeriodMs ? writtenMs : watchedMs
  if (kind === 'acquire' && because !== null) {
    const begun = { epoch, holder: podOf(config.identity), began: at, because: because.code }
    const phases = { detectMs, acquireMs: 0, startMs: null, healthyMs: null }
    const open = { gapMs: null, ended: null, endedBecause: null, stopMs: null }
    // Its holder may have left the last term open.
    const earlier = withClosed(noted.history, { ended: renewTime ?? at, endedBecause: 'expired' })
    return encodeHistory([{ ...begun, phases, ...open }, ...earlier])
  }
  // The pod was killed. It is assumed to have served until its last renewal.
  if (kind === 'give back')
    return encodeHistory(
      withClosed(noted.history, { ended: at, endedBecause: 'pod_restarted', stopMs: detectMs }),
    )
  if (term === null || term.record === null) return undefined
  const { record, stepDown } = term
  // In case that this holder vanishes during its stop.
  const present = stepDown === null ? record : { ...record, stopMs: now.mono - stepDown.closedAt }
  const isOver = kind === 'release' && stepDown !== null
  return historyWithPresent(noted, isOver ? { ...present, ended: at, endedBecause: stepDown.code } : present)
}
