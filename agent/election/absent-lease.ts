import { elapsed } from '../clock.ts'
import { durationOf, holderOf, isReleased, type Lease, looksNeverHeld } from '../lease/lease.ts'
import type { CandidateState, Input } from './state.ts'

/** Retry periods from one proof that the Lease is absent to the next look for it, at most. */
const ABSENCE_GAP_RETRIES = 2

/** Rule 7: a live holder may re-create the Lease at once; any other replica waits a whole lease duration. */
export function observeAbsence<S extends CandidateState>(input: Input, state: S): S {
  const { seen, term, nextAttemptAt } = state
  const { now } = input
  const known = { ...state, absenceSeenAt: now, mustRead: false }
  if (seen !== null && seen.lease === null && wasLookedFor(input, state)) return known
  return {
    ...known,
    seen: { lease: null, changedAt: now.mono, heldMs: 0 },
    vacantNotBefore: waitedOut(input, state, seen?.lease ?? null),
    nextAttemptAt: term === null ? nextAttemptAt : now.mono,
  }
}

/**
 * Monotonic ms before which a Lease that looks never held doesn't count as vacant. An object that was emptied, or deleted and
 * made anew, while a replica held it looks that way too, and so does one that was held between two looks. It counts as vacant
 * at first sight; otherwise after a whole lease duration, or once a holder has written it again.
 */
export function vacantFrom(input: Input, state: CandidateState, lease: Lease): number {
  const before = state.seen
  if (!looksNeverHeld(lease)) return 0
  const mayHaveBeenHeld = before !== null && (before.lease !== null || !wasLookedFor(input, state))
  return mayHaveBeenHeld ? waitedOut(input, state, before.lease) : state.vacantNotBefore
}

/** A Lease may have come and gone since the last look, if that is too long ago. An answer counts from when it was asked for. */
function wasLookedFor(input: Input, state: CandidateState): boolean {
  const { fact, now, config } = input
  const { absenceSeenAt, readSentAt } = state
  const askedAt = fact.type === 'lease' && fact.fresh && readSentAt !== null ? readSentAt : now
  const limit = ABSENCE_GAP_RETRIES * config.retryPeriodMs
  return absenceSeenAt !== null && elapsed(absenceSeenAt, askedAt) <= limit && isTimely(input, state)
}

/** An answer that lay in its connection while the machine slept says nothing of what happened meanwhile. */
export function isTimely({ fact, now, config }: Input, { readSentAt }: CandidateState): boolean {
  if (fact.type !== 'lease' || !fact.fresh || readSentAt === null) return true
  return elapsed(readSentAt, now) <= config.renewDeadlineMs / 2 + config.retryPeriodMs
}

/**
 * Milliseconds from its last change for which this record must be left alone; 0: its holder gave the Lease up, or no replica
 * ever held it, and `vacantNotBefore` says from when that counts.
 */
export function heldFor({ config }: Input, state: CandidateState, lease: Lease): number {
  const before = state.seen
  if (looksNeverHeld(lease) || isReleased(lease, state.lastHolder)) return 0
  const cleared = holderOf(lease) === ''
  // A holder writes a renew time with every change. Any other writer that shortened the duration took time from a live holder.
  const edited = cleared || before?.lease?.spec?.renewTime === lease.spec?.renewTime
  return Math.max(
    durationOf(lease, config.leaseDurationMs),
    cleared ? config.leaseDurationMs : 0,
    edited ? (before?.heldMs ?? 0) : 0,
  )
}

/** Monotonic ms: by then any holder has lost the Lease, by the record's duration and by this replica's own. */
function waitedOut({ config, now }: Input, state: CandidateState, known: Lease | null): number {
  const { leaseDurationMs } = config
  const recorded = known === null || looksNeverHeld(known) ? 0 : durationOf(known, leaseDurationMs)
  return Math.max(state.vacantNotBefore, now.mono + Math.max(leaseDurationMs, recorded))
}
