import type { Instant } from '../clock.ts'
import { epochAfter, epochOf, langflowOf, microTime } from '../lease/lease.ts'
import {
  MEMBERS_DEAD,
  PAUSE_ANNOTATIONS,
  pauseIsOver,
  podOf,
  REQUEST_DETAILS,
  REQUESTS,
} from '../lease/operator-annotations.ts'
import type { Statement, WriteKind } from '../lease/written-lease.ts'
import {
  historyClosed,
  historyWithNew,
  historyWithPresent,
  REQUEST_ANNOTATIONS,
  writtenLease,
} from '../lease/written-lease.ts'
import { isOlder } from '../python-version.ts'
import { membersNoted } from './consent.ts'
import { failedStart, revisionsNoted } from './revision-trial.ts'
import type { CandidateConfig, CandidateState, Input, Write } from './state.ts'
import { doubtAt, emit, killAt } from './state.ts'

const REMEMBERED_WRITES = 32

export function sendWrite<S extends CandidateState>(
  input: Input,
  state: S,
  kind: WriteKind,
  because: Write['because'] = null,
): S {
  const { config, now } = input
  const { seen, nextWriteId: id, written, created } = state
  const base = seen?.lease ?? null
  const renewTime = microTime(now.wall, (config.salt + id) % 1000)
  const lease = writtenLease(base, state.noted, statementOf(input, state, { kind, because, renewTime }))
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

type PlannedWrite = Pick<Write, 'kind' | 'because'> & { readonly renewTime: string }

function statementOf(input: Input, state: CandidateState, write: PlannedWrite): Statement {
  const { config, now } = input
  const { kind, renewTime } = write
  const { identity, leaseDurationMs, owner } = config
  const { seen, term, paused, highestEpoch } = state
  const lease = seen?.lease ?? null
  const led = term?.epoch ?? (lease === null ? 0 : epochOf(lease))
  const epoch = kind === 'acquire' ? epochAfter(highestEpoch) : led
  // A pause that came after the step-down began would prevent every replica from taking over.
  const tooLate = paused && term?.stepDown?.paused === false
  const isResumed = tooLate || pauseIsOver(lease, now.wall)
  const isClosing = term?.stepDown && term.stepDown.closingWrite !== null
  return {
    ...{ kind, epoch, identity, leaseDurationMs, renewTime, acquireTime: term?.acquireTime, owner },
    removed: [...answered(state, kind), ...(isResumed ? PAUSE_ANNOTATIONS : [])],
    langflow: langflowNoted(state, kind),
    history: historyNoted(input, state, { ...write, epoch }),
    revisions: revisionsNoted(config, state),
    front: config.front && isClosing ? 'closing' : config.front,
    members: membersNoted(config, state),
    successor: namedSuccessor(config, state),
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
  // A holder that writes is not dead. The declaration would count in a later outage of the same term.
  return keys.length === 0 ? [MEMBERS_DEAD] : [...keys, ...REQUEST_DETAILS]
}

function historyNoted(
  { config, now }: Input,
  { seen, term, noted }: CandidateState,
  { kind, epoch, because }: PlannedWrite & { readonly epoch: number },
): string | undefined {
  const at = new Date(now.wall).toISOString()
  const renewTime = seen?.lease?.spec?.renewTime
  // The holder's clock counts if it shows a longer time than this replica has watched. It decides nothing (rule 6).
  const watchedMs = seen === null ? 0 : now.mono - seen.changedAt
  const writtenMs = now.wall - Date.parse(renewTime ?? '')
  const detectMs = writtenMs > watchedMs + config.retryPeriodMs ? writtenMs : watchedMs
  if (kind === 'acquire' && because !== null) {
    const begun = { epoch, holder: podOf(config.identity), began: at, because: because.code, detectMs }
    return historyWithNew(noted, begun, { ended: renewTime ?? at, endedBecause: 'expired' })
  }
  // The pod was killed. It is assumed to have served until its last renewal.
  if (kind === 'give back')
    return historyClosed(noted, { ended: at, endedBecause: 'pod_restarted', stopMs: detectMs })
  if (term === null || term.record === null) return undefined
  const { record, stepDown } = term
  // In case that this holder vanishes during its stop.
  const present = stepDown === null ? record : { ...record, stopMs: now.mono - stepDown.closedAt }
  const isOver = kind === 'release' && stepDown !== null
  return historyWithPresent(noted, isOver ? { ...present, ended: at, endedBecause: stepDown.code } : present)
}
