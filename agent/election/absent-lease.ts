import { elapsed } from '../clock.ts'
import { durationOf, holderOf, isReleased, type Lease, looksNeverHeld } from '../lease/lease.ts'
import { areDeclaredDead } from '../lease/operator-annotations.ts'
import { reservedAfter, reservedMs } from './consent.ts'
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
 * Monotonic ms before which a Lease that looks never held does not count as vacant. It also looks like this if it was
 * emptied or re-created while a replica held it, or was held between two looks. Then it waits for a lease duration.
 */
export function vacantFrom(input: Input, state: CandidateState, lease: Lease): number {
  const before = state.seen
  if (!looksNeverHeld(lease)) return 0
  const mayHaveBeenHeld = before !== null && (before.lease !== null || !wasLookedFor(input, state))
  return mayHaveBeenHeld ? waitedOut(input, state, before.lease) : state.vacantNotBefore
}

/** After a longer gap, a Lease may have been created and deleted. An answer counts from the time of its request. */
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

/** See `Seen.heldMs`. If it is 0, `vacantNotBefore` holds the time from which the Lease is vacant. */
export function heldFor({ config }: Input, state: CandidateState, lease: Lease): number {
  const before = state.seen
  if (looksNeverHeld(lease) || isReleased(lease, state.lastHolder)) return 0
  const cleared = holderOf(lease) === ''
  // Without a new renew time, another writer than the holder changed the duration.
  const edited = cleared || before?.lease?.spec?.renewTime === lease.spec?.renewTime
  const ownMs = Math.max(durationOf(lease, config.leaseDurationMs), cleared ? config.leaseDurationMs : 0)
  if (areDeclaredDead(lease)) return ownMs
  return Math.max(ownMs, reservedMs(config, lease), edited ? (before?.heldMs ?? 0) : 0)
}

/** Monotonic ms at which any holder has lost the Lease, by the record's duration and by this replica's own. */
function waitedOut({ config, now }: Input, state: CandidateState, last: Lease | null): number {
  const { leaseDurationMs } = config
  const recorded = last === null || looksNeverHeld(last) ? 0 : durationOf(last, leaseDurationMs)
  const heldMs = Math.max(leaseDurationMs, recorded, reservedAfter(config, last))
  return Math.max(state.vacantNotBefore, now.mono + heldMs)
}
