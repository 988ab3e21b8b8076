import { elapsed } from '../clock.ts'
import { durationOf, epochOf, holderOf, type Lease, looksReleased, releaseOf } from '../lease/lease.ts'
import type { Seen, Sighting } from './state.ts'
import type { Turn } from './turn.ts'

/** Retry periods from one proof that the Lease is absent to the next look for it, at most. */
const ABSENCE_GAP_RETRIES = 2

/** Rule 7: nobody's, but its live holder may re-create it; everybody else waits a whole lease duration. */
export function observeAbsence(turn: Turn): void {
  const { seen } = turn.state
  const unbroken = wasLookedFor(turn)
  turn.set({ absenceSeenAt: turn.now, mustRead: false })
  if (seen !== null && seen.lease === null && unbroken) return
  turn.set({
    seen: { lease: null, changedAt: turn.now.mono, heldMs: 0 },
    vacantNotBefore: waitedOut(turn, seen?.lease ?? null),
  })
  if (turn.state.term !== null) turn.set({ nextAttemptAt: turn.now.mono })
}

/**
 * An object that was emptied, or deleted and made anew, while somebody held it looks as if nobody ever did, and who held
 * it between two looks of this replica was never seen. Only at first sight does it count as vacant; otherwise after a
 * whole lease duration, or once a holder has written it again.
 */
export function guardVacancy(turn: Turn, before: Seen | null, lease: Lease): void {
  if (!looksNeverHeld(lease)) {
    turn.set({ vacantNotBefore: 0 })
  } else if (before !== null && (before.lease !== null || !wasLookedFor(turn))) {
    turn.set({ vacantNotBefore: waitedOut(turn, before.lease) })
  }
}

/** What was not looked for a while may have come and gone meanwhile; an answer counts from when it was asked for. */
function wasLookedFor(turn: Turn): boolean {
  const { fact, now, config, state } = turn
  const { absenceSeenAt, readSentAt } = state
  const askedAt = fact.type === 'lease' && fact.fresh && readSentAt !== null ? readSentAt : now
  const limit = ABSENCE_GAP_RETRIES * config.retryPeriodMs
  return absenceSeenAt !== null && elapsed(absenceSeenAt, askedAt) <= limit && isTimely(turn)
}

/** An answer that lay in its connection while the machine slept says nothing of what happened meanwhile. */
export function isTimely({ fact, now, config, state: { readSentAt } }: Turn): boolean {
  if (fact.type !== 'lease' || !fact.fresh || readSentAt === null) return true
  return elapsed(readSentAt, now) <= config.renewDeadlineMs / 2 + config.retryPeriodMs
}

/**
 * Milliseconds for which this record is to be left alone from its last change on; 0: its holder gave the Lease up, or nobody
 * ever held it, and `vacantNotBefore` tells from when that is believed.
 */
export function heldFor(turn: Turn, before: Seen | null, lease: Lease): number {
  const { config, state } = turn
  if (looksNeverHeld(lease) || isReleased(lease, state.lastHolder)) return 0
  const cleared = holderOf(lease) === ''
  // Its holder writes a renew time with whatever it changes. Whoever else shortened it took time from a holder that lives.
  const edited = cleared || before?.lease?.spec?.renewTime === lease.spec?.renewTime
  return Math.max(
    durationOf(lease, config.leaseDurationMs),
    cleared ? config.leaseDurationMs : 0,
    edited ? (before?.heldMs ?? 0) : 0,
  )
}

/** A release names who released which term, and nobody releases what another one holds. */
export function isReleased(lease: Lease, last: Sighting | null): boolean {
  const release = releaseOf(lease)
  if (!looksReleased(lease) || release === null || release.epoch !== epochOf(lease)) return false
  if (last === null || release.epoch > last.epoch) return true
  return release.epoch === last.epoch && release.identity === last.holder
}

/** As `deploy/` makes it; no candidate ever writes it like this. */
export function looksNeverHeld(lease: Lease): boolean {
  return holderOf(lease) === '' && !lease.spec?.renewTime
}

/** Monotonic ms: by then whoever held the Lease has lost it, by the record's duration and by this replica's own. */
function waitedOut(turn: Turn, known: Lease | null): number {
  const { leaseDurationMs } = turn.config
  const recorded = known === null || looksNeverHeld(known) ? 0 : durationOf(known, leaseDurationMs)
  return Math.max(turn.state.vacantNotBefore, turn.now.mono + Math.max(leaseDurationMs, recorded))
}
