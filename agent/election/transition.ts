import type { Instant } from '../clock.ts'
import type { ApiError } from '../kube/kube-errors.ts'
import { epochOf, holderOf, isNewer, type Lease, sameRecord } from '../lease/lease.ts'
import { areDeclaredDead, requestOf } from '../lease/operator-annotations.ts'
import { notedIn, removesRequests, storageFault } from '../lease/written-lease.ts'
import { heldFor, observeAbsence, vacantFrom } from './absent-lease.ts'
import { addAnswer, agreedAt, answerConsent, enrolled, leadsByConsent, newerHolder } from './consent.ts'
import { isNoAnswer, mayWrite, noteRefusal, rehearse, rehearseAgain, rehearsed } from './eligibility.ts'
import { follow, gaveBack, leave } from './follower.ts'
import {
  beginTerm,
  endTerm,
  extend,
  lead,
  lose,
  lostTo,
  noteAnswers,
  noteHealth,
  notePause,
  noticeFailure,
  refuse,
  remedyFailure,
  renewed,
  USED_BY_ANOTHER,
  whenQuiet,
} from './leader.ts'
import type { CandidateConfig, CandidateState, End, Ending, Fact, Free, Held, Input, Write } from './state.ts'
import { endingOf, event, NEVER } from './state.ts'

const REMEMBERED_FAILURES = 16

/** The first sighting may be a predecessor's write that was still in progress. A second one is a live process. */
const STRANGER_SIGHTINGS = 2

/**
 * Decides who leads. The elector runs its effects, the simulation runs it under a virtual clock.
 *
 * Guaranteed: while a term lasts, the workload holds grants that end before any other replica can take the Lease. Not
 * guaranteed: that a process without a launcher obeys them (see docs/evidence/decisions.md).
 */
export function transition(
  config: CandidateConfig,
  before: CandidateState,
  fact: Fact,
  now: Instant,
): CandidateState {
  const input: Input = { config, fact, now }
  const begun = { ...before, effects: [], wakeAt: NEVER }
  if (begun.phase === 'ending' && begun.exited) return watchOn(input, begun)

  // 1. Add the fact to the state. Another holder ends the term immediately, an acknowledged write begins or extends it.
  const observed = observe(input, begun)
  // 2. An operator pauses or resumes.
  const operated = notePause(input, observed)
  // 3. The holder renews, doubts, loses, or steps down.
  const state = operated.term === null ? operated : lead(input, operated)

  // 4. A replica that does not hold the Lease, or has just lost it, follows or leaves.
  switch (state.phase) {
    case 'follower':
      return rehearse(input, follow(input, state))
    case 'ending':
      return leave(input, state)
    case 'leading':
    case 'stepping down':
      return state
  }
}

/** Nothing is decided any more, but this replica's front still forwards requests, and needs the current leader. */
function watchOn(input: Input, state: Ending): Ending {
  const { fact, now } = input
  if (fact.type !== 'lease' || isStale(input, state, fact.lease)) return state
  return { ...state, seen: { lease: fact.lease, changedAt: now.mono, heldMs: 0 } }
}

function observe(input: Input, state: CandidateState): CandidateState {
  const { fact, now, config } = input
  switch (fact.type) {
    case 'lease':
      return shownLease(input, state, fact.lease, fact.fresh)
    case 'watch': {
      const { up, problem } = fact
      const watched = { ...state, watchUp: up, watchProblem: problem, sightedAt: up ? now : state.sightedAt }
      // The trouble that ended the watch may have changed this replica's rights as well.
      return up && state.watchProblem !== null ? rehearseAgain(watched, now.mono) : watched
    }
    case 'written':
      return acknowledged(input, { ...state, inFlight: false }, fact.id, fact.lease)
    case 'write_failed':
      return failed(input, { ...state, inFlight: false }, fact.id, fact.error)
    case 'rehearsed':
      return rehearsed(input, state, fact.error)
    case 'read_failed': {
      // With the watch up, only a refused write causes a read, which is due again after a retry period.
      const nextAttemptAt = state.mustRead ? now.mono + config.retryPeriodMs : state.nextAttemptAt
      return { ...state, inFlight: false, readProblem: fact.error.message, nextAttemptAt }
    }
    case 'workload': {
      // If the Lease was re-created, a launcher that survived may report a higher epoch than the Lease.
      const highestEpoch = Math.max(state.highestEpoch, fact.workload.epoch ?? 0)
      // The others reported whether they have the content before a change.
      const isChanged = fact.workload.content?.digest !== state.workload.content?.digest
      const { successor: best } = state
      const successor =
        isChanged && best.content === 'ready' ? { ...best, content: 'awaited' as const } : best
      const next = { ...state, workload: fact.workload, highestEpoch, successor }
      return next.phase === 'leading' ? noticeFailure(input, next) : next
    }
    case 'workload_failed': {
      const { type: _, ...failure } = fact
      return state.phase === 'leading' ? remedyFailure(input, state, failure) : state
    }
    case 'workload_healthy':
      return state.term === null ? state : noteHealth(input, state, fact.took)
    case 'successor':
      return { ...state, successor: { identity: fact.identity, content: fact.content, newer: fact.newer } }
    case 'enrolled':
      return state.term === null ? state : enrolled(state, fact.members)
    case 'consent_asked':
      return answerConsent(input, state, fact.request)
    case 'consent':
      return state.term === null ? state : consented(input, state, fact)
    case 'barred':
      return { ...state, barred: fact.reason }
    case 'step_down': {
      // A leader by consent cannot release the Lease, and no replica could follow.
      const mayHandOver = state.phase === 'leading' && !state.paused && !leadsByConsent(state.term)
      return mayHandOver ? whenQuiet(input, state, fact) : state
    }
    case 'switchover_refused': {
      const { to, reason } = fact
      return state.phase === 'leading' ? refuse(input, state, { what: 'switchover', to, reason }) : state
    }
    case 'terminate':
      return end(input, state, { reason: fact.reason, code: 0 })
    case 'drained':
    case 'quiet':
    case 'tick':
      return state
  }
}

function shownLease(
  input: Input,
  before: CandidateState,
  lease: Lease | null,
  fresh: boolean,
): CandidateState {
  const inFlight = before.inFlight && !fresh
  const state = { ...before, readProblem: null, sightedAt: input.now, inFlight }
  // After a refused write, a read counts even if it is older: etcd may have been restored from a backup.
  if (fresh && state.mustRead) return observeAny(input, slowDown(input, state, lease), lease)
  return isStale(input, state, lease) ? state : observeAny(input, state, lease)
}

function isStale({ fact }: Input, { seen, lastRead }: CandidateState, lease: Lease | null): boolean {
  if (!seen?.lease) return false
  if (lease !== null) return !isNewer(lease.metadata.resourceVersion, seen.lease.metadata.resourceVersion)
  // An absence has no version. If a read brings it, it is older than a Lease that was seen after the read was sent.
  return fact.type === 'lease' && fact.fresh && seen !== lastRead?.after
}

/** If the Lease itself does not explain a refusal, retries must not loop as fast as the network. */
function slowDown({ config, now }: Input, state: CandidateState, lease: Lease | null): CandidateState {
  const { seen, attemptedAt, term } = state
  if (attemptedAt === null || seen?.lease?.metadata.resourceVersion !== lease?.metadata.resourceVersion)
    return state
  const wait = term?.doubt ? config.retryPeriodMs / 4 : config.retryPeriodMs
  return { ...state, nextAttemptAt: Math.max(now.mono, attemptedAt.mono + wait) }
}

function observeAny(input: Input, before: CandidateState, lease: Lease | null): CandidateState {
  const { seen } = before
  // Creating the Lease requires another right than updating it.
  const otherRight = seen !== null && (seen.lease === null) !== (lease === null)
  const state = otherRight ? rehearseAgain(before, input.now.mono) : before
  return lease === null ? observeAbsence(input, state) : observeLease(input, state, lease)
}

function observeLease(
  input: Input,
  before: CandidateState,
  lease: Lease,
  own = ownWrite(before, lease),
): CandidateState {
  const { seen, lastHolder, highestEpoch } = before
  const last = seen?.lease ?? null
  const holder = holderOf(lease)
  const noted = notedIn(lease, before.noted)
  const changed = last === null || last.metadata.uid !== lease.metadata.uid || !sameRecord(last, lease)
  const isDeclared = areDeclaredDead(lease) && last !== null && !areDeclaredDead(last)
  const observed: CandidateState = {
    ...before,
    noted,
    revisionsSeenAt: noted.revisions === before.noted.revisions ? before.revisionsSeenAt : input.now.mono,
    requestsStay: before.requestsStay && requestOf(lease) !== null,
    vacantNotBefore: vacantFrom(input, before, lease),
    firstVersion: before.firstVersion ?? lease.metadata.resourceVersion ?? null,
    seen: {
      lease,
      changedAt: changed || seen === null || isDeclared ? input.now.mono : seen.changedAt,
      heldMs: heldFor(input, before, lease),
    },
    lastHolder: holder === '' ? lastHolder : { holder, epoch: epochOf(lease) },
    highestEpoch: Math.max(highestEpoch, epochOf(lease)),
    mustRead: false,
  }
  const state = observed.term === null ? observed : noteAnswers(observed, lease)
  // A creation is no compare-and-swap: another replica may have held the Lease and lost it since the creation was sent.
  const cameTooLate =
    own !== undefined &&
    isCreation(own) &&
    seen !== null &&
    (seen.lease !== null || seen.changedAt >= own.sentAt.mono)
  if (own !== undefined && !cameTooLate) return committed(input, state, own, lease)
  if (state.term !== null) return holdAgainst(input, state, lease)
  if (!changed || seen === null || holder !== input.config.identity) return state
  // A component in between may have removed one of the times.
  const { renewTime, acquireTime } = lease.spec ?? {}
  const isOwn = [renewTime, acquireTime].some((time) => state.written.includes(time ?? ''))
  return isOwn ? state : strangerSeen(input, state)
}

/** By a replica that did not hold the Lease. */
function isCreation({ kind, lease }: Write): boolean {
  return kind === 'acquire' && lease.metadata.resourceVersion === undefined
}

function ownWrite({ pending, unresolved }: CandidateState, lease: Lease): Write | undefined {
  const candidates = pending === null ? unresolved : [...unresolved, pending]
  return candidates.find((write) => sameRecord(write.lease, lease))
}

/** A write is in the Lease, even if its answer was late or lost. Deadlines count from its sending. */
function committed(input: Input, before: CandidateState, write: Write, lease: Lease): CandidateState {
  const { pending, unresolved, nextAttemptAt } = before
  const state: CandidateState = {
    ...before,
    // Earlier writes were compare-and-swaps on versions that are gone now.
    unresolved: unresolved.filter((other) => other.id > write.id),
    pending: pending === write ? null : pending,
    // Regardless of the answer, no write is urgent any more.
    nextAttemptAt: Math.max(nextAttemptAt, write.sentAt.mono + input.config.retryPeriodMs),
  }
  switch (write.kind) {
    case 'acquire':
    case 'resume':
      return state.term === null ? beginTerm(input, state, write, lease) : state
    case 'renew':
      return state.term === null ? state : renewed(input, state, write)
    case 'give back':
      return state.term === null ? gaveBack(input, state) : state
    case 'release':
      return state.phase === 'stepping down' ? endTerm(input, state) : state
  }
}

/** A round that all members agreed to counts as an acknowledged write, sent before its first request (F5). */
function consented(input: Input, before: Held, fact: Extract<Fact, { type: 'consent' }>): CandidateState {
  const newer = newerHolder(input.config, before.term, fact.answer)
  if (newer !== null) {
    const reason = `${fact.identity} has seen that ${newer} holds the Lease`
    return lose(input, before, { code: 'held_by_other', reason })
  }
  const state = addAnswer(before, fact)
  const sentAt = agreedAt(input.config, state.term)
  return sentAt === null ? state : extend(input, state, sentAt)
}

function holdAgainst(input: Input, state: Held, lease: Lease): CandidateState {
  const why = lostTo(input, state, lease)
  if (why !== null) {
    const lost = lose(input, state, why)
    return why === USED_BY_ANOTHER ? strangerSeen(input, lost) : lost
  }
  if (holderOf(lease) === input.config.identity && epochOf(lease) === state.term.epoch) return state
  // The Lease was cleared, emptied or re-created. No replica may treat this as a vacancy yet, and a compare-and-swap
  // shows whether one did.
  return { ...state, nextAttemptAt: input.now.mono }
}

function strangerSeen({ config }: Input, before: Free): Free {
  const strangers = before.strangers + 1
  const state = { ...before, strangers }
  if (strangers < STRANGER_SIGHTINGS || state.ending !== null) return state
  const reason = `the identity "${config.identity}" is used by another live process: give each replica its own --identity`
  const ending = { ...state, phase: 'ending', ending: { reason, code: 1 }, exited: false } as const
  return event(ending, 'fatal', { code: 'identity_taken', reason })
}

function end(input: Input, state: CandidateState, ending: End): CandidateState {
  if (state.ending !== null) return state
  if (state.phase === 'leading') {
    // A second request hurries.
    const now = endingOf(state) !== null
    return whenQuiet(input, state, { code: 'terminated', reason: ending.reason, ending, now })
  }
  if (state.phase === 'stepping down') return { ...state, ending }
  return { ...state, phase: 'ending', ending, exited: false }
}

function acknowledged(input: Input, before: CandidateState, id: number, lease: Lease): CandidateState {
  const { pending, unresolved, written } = before
  const write = pending?.id === id ? pending : unresolved.find((other) => other.id === id)
  const fault = write === undefined ? null : storageFault(write, lease, written)
  if (fault !== null) {
    // The API server answered 200 but did not apply the write as sent. Its answer only counts as a Lease that was seen,
    // which may cause another write immediately. That would fail as well.
    const refused = failed(input, before, id, fault)
    if (isStale(input, refused, lease)) return refused
    const shown = observeLease(input, refused, lease)
    return { ...shown, nextAttemptAt: Math.max(shown.nextAttemptAt, refused.nextAttemptAt) }
  }
  const state = mayWrite({ ...before, writeProblem: null, readProblem: null, sightedAt: input.now })
  if (write === undefined) return state // the watch was faster
  if (!isStale(input, state, lease)) return observeLease(input, state, lease, write)
  // This version or a newer one was seen already. A creation was judged then.
  if (isCreation(write)) return { ...state, pending: pending === write ? null : pending }
  const after = committed(input, state, write, lease)
  const newest = after.seen?.lease
  const others =
    newest && ownWrite(after, newest) === undefined && newest.spec?.renewTime !== write.lease.spec?.renewTime
  return others && after.term !== null ? holdAgainst(input, after, newest) : after
}

function failed(input: Input, earlier: CandidateState, id: number, error: ApiError): CandidateState {
  const { now, config } = input
  const before = noteRefusal(input, earlier, error)
  const { pending, unresolved, seen, term } = before
  if (pending?.id !== id) return before // resolved by a Lease that was seen in between
  // Even a refusal is remembered: a 409 can be the answer to a retry of a write that had succeeded.
  const remembered = [...unresolved.slice(-REMEMBERED_FAILURES), pending]
  const state: CandidateState = { ...before, pending: null, unresolved: remembered }
  // An admission policy may refuse just the removal of a request, which must not end the renewals.
  const isForbidden = error.code === 'forbidden' || error.code === 'invalid'
  if (isForbidden && removesRequests(pending))
    return { ...state, requestsStay: true, writeProblem: error.message, nextAttemptAt: now.mono }
  switch (error.code) {
    case 'not_found':
      return observeAny(input, state, null)
    case 'conflict':
    case 'already_exists': {
      const base = pending.lease.metadata.resourceVersion
      const newest = seen?.lease?.metadata.resourceVersion
      const mustRead = newest === undefined || (base !== undefined && !isNewer(newest, base))
      return { ...state, mustRead, nextAttemptAt: now.mono, writeProblem: null, readProblem: null }
    }
    default: {
      // In doubt, the first moment in which the API server answers again counts. A timeout has waited already.
      const pause = error.code === 'timeout' ? 0 : config.retryPeriodMs / 4
      const nextAttemptAt = term?.doubt ? now.mono + pause : state.nextAttemptAt
      // The next sight of the Lease proves that the API server is reachable, while a follower may never write again.
      const problem = isNoAnswer(error) ? 'readProblem' : 'writeProblem'
      return { ...state, [problem]: error.message, nextAttemptAt }
    }
  }
}
