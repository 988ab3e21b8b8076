import { elapsed } from '../clock.ts'
import { durationOf, holderOf, isReleased, type Lease, looksNeverHeld } from '../lease/lease.ts'
import type { CandidateState, Input } from './state.ts'

/** The most retry periods between two proofs that the Lease is absent. */
const ABSENCE_GAP_RETRIES = 2

/** Rule 7: a live holder may re-create the Lease immediately. Any other replica waits a whole lease duration. */
export function observeAbsence<S extends CandidateState>(input: Input, state: S): S {
  const { seen, term, nextAttemptAt } = state
  const { now } = input
  const observed = { ...state, absenceSeenAt: now, mustRead: false }
  if (seen !== null && seen.lease === null && wasLookedFor(input, state)) return observed
  return {
    ...observed,
    seen: { lease: null, changedAt: now.mono, heldMs: 0 },
    vacantNotBefore: waitedOut(input, state, seen?.lease ?? null),
    nextAttemptAt: term === null ? nextAttemptAt : now.mono,
  }
}

/**
 * Monotonic ms before which a Lease that looks never held does not count as vacant. A Lease looks never held also if it
 * was emptied, or deleted and re-created, while a replica held it, or if it was held between two looks. If neither is
 * possible, it counts as vacant at first sight. If one is possible, it counts as vacant after a whole lease duration,
 * or once a holder has written it again.
 */
export function vacantFrom(input: Input, state: CandidateState, lease: Lease): number {
  const before = state.seen
  if (!looksNeverHeld(lease)) return 0
  const mayHaveBeenHeld = before !== null && (before.lease !== null || !wasLookedFor(input, state))
  return mayHaveBeenHeld ? waitedOut(input, state, before.lease) : state.vacantNotBefore
}

/**
 * Whether the last proof of absence is recent. Otherwise a Lease may have been created and deleted in the meantime. An
 * answer counts from the time of its request.
 */
function wasLookedFor(input: Input, state: CandidateState): boolean {
  const { fact, now, config } = input
  const { absenceSeenAt, lastRead } = state
  const askedAt = fact.type === 'lease' && fact.fresh && lastRead !== null ? lastRead.sentAt : now
  const limit = ABSENCE_GAP_RETRIES * config.retryPeriodMs
  return absenceSeenAt !== null && elapsed(absenceSeenAt, askedAt) <= limit && isTimely(input, state)
}

/** An answer that waited in its connection while the machine slept proves nothing about the time since. */
export function isTimely({ fact, now, config }: Input, { lastRead }: CandidateState): boolean {
  if (fact.type !== 'lease' || !fact.fresh || lastRead === null) return true
  return elapsed(lastRead.sentAt, now) <= config.renewDeadlineMs / 2 + config.retryPeriodMs
}

/**
 * Milliseconds from its last change for which other replicas must leave this record alone. 0: its holder released the
 * Lease, or no replica ever held it. `vacantNotBefore` then holds the time from which it is vacant.
 */
export function heldFor({ config }: Input, state: CandidateState, lease: Lease): number {
  const before = state.seen
  if (looksNeverHeld(lease) || isReleased(lease, state.lastHolder)) return 0
  const cleared = holderOf(lease) === ''
  // A holder writes a renew time with every change. Any other writer that shortened the duration took time from a live
  // holder.
  const edited = cleared || before?.lease?.spec?.renewTime === lease.spec?.renewTime
  return Math.max(
    durationOf(lease, config.leaseDurationMs),
    cleared ? config.leaseDurationMs : 0,
    edited ? (before?.heldMs ?? 0) : 0,
  )
}

/** Monotonic ms at which any holder has lost the Lease, by the record's duration and by this replica's own. */
function waitedOut({ config, now }: Input, state: CandidateState, last: Lease | null): number {
  const { leaseDurationMs } = config
  const recorded = last === null || looksNeverHeld(last) ? 0 : durationOf(last, leaseDurationMs)
  return Math.max(state.vacantNotBefore, now.mono + Math.max(leaseDurationMs, recorded))
}
