import { reached } from '../clock.ts'
import type { ApiError } from '../kube/errors.ts'
import { epochOf, holderOf, isNewer, type Lease, sameRecord } from '../lease/lease.ts'
import { learnRight, mayWrite, rehearseAgain, rehearsed } from './ability.ts'
import { doubtAt, grantOf, killAt } from './deadlines.ts'
import { noticeEnd, noticeFailure, remedyFailure } from './failing.ts'
import { beginStepDown, endTerm } from './holding.ts'
import { notKept } from './kept.ts'
import type { Seen, Write } from './state.ts'
import type { Turn } from './turn.ts'
import { guardVacancy, heldFor, looksNeverHeld, observeAbsence } from './vacancy.ts'

/** Outcomes that can still surface are those of the last few writes. */
const REMEMBERED_FAILURES = 16

/** One sighting may be a predecessor's write that was still under way; a second one is somebody alive. */
const STRANGER_SIGHTINGS = 2

/** Folds the fact into the state. Only what cannot wait is decided here: another holder, an acknowledged write. */
export function learn(turn: Turn): void {
  const { fact } = turn
  switch (fact.type) {
    case 'lease':
      turn.set({ readProblem: null, sightedAt: turn.now })
      if (fact.fresh) turn.set({ inFlight: false })
      // After a refused write a read is believed even if it is older: etcd may have been restored from a backup.
      if (fact.fresh && turn.state.mustRead) slowDown(turn, fact.lease)
      else if (isStale(turn, fact.lease)) return
      observe(turn, fact.lease)
      return
    case 'watch':
      if (fact.up) turn.set({ sightedAt: turn.now })
      // Whatever kept it from watching may have changed its rights as well.
      if (fact.up && turn.state.watchProblem !== null) rehearseAgain(turn)
      turn.set({ watchUp: fact.up, watchProblem: fact.problem })
      return
    case 'written':
      turn.set({ inFlight: false })
      acknowledged(turn, fact.id, fact.lease)
      return
    case 'write_failed':
      turn.set({ inFlight: false })
      learnRight(turn, fact.error)
      failed(turn, fact.id, fact.error)
      return
    case 'rehearsed':
      rehearsed(turn, fact.error)
      return
    case 'read_failed':
      turn.set({ inFlight: false, readProblem: fact.error.message })
      // With the watch alive only a refused write asks for a read: it is due again after a retry period.
      if (turn.state.mustRead) turn.set({ nextAttemptAt: turn.now.mono + turn.config.retryPeriodMs })
      return
    case 'workload':
      // A launcher that lived on while the Lease was made anew knows higher epochs than the Lease does.
      turn.set({
        workload: fact.workload,
        highestEpoch: Math.max(turn.state.highestEpoch, fact.workload.epoch ?? 0),
      })
      noticeEnd(turn)
      noticeFailure(turn)
      return
    case 'workload_failed':
      remedyFailure(turn, fact.reason, fact.remedy)
      return
    case 'drained':
      if (turn.state.term?.stepDown?.stage === 'draining') {
        turn.setTerm({ stepDown: { ...turn.state.term.stepDown, drained: true } })
      }
      return
    case 'successor':
      turn.set({ successor: fact.identity })
      return
    case 'barred':
      turn.set({ barred: fact.reason })
      return
    case 'step_down':
      beginStepDown(turn, fact.reason, false, fact.graceMs)
      return
    case 'terminate':
      turn.end(fact.reason, 0)
      if (turn.state.term !== null) beginStepDown(turn, fact.reason, false)
      return
    case 'tick':
      return
  }
}

function isStale({ state, fact }: Turn, lease: Lease | null): boolean {
  const { seen, readAfter } = state
  if (!seen?.lease) return false
  if (lease !== null) return !isNewer(lease.metadata.resourceVersion, seen.lease.metadata.resourceVersion)
  // An absence has no version: one that a read brings is older than a Lease that was seen after the read was sent.
  return fact.type === 'lease' && fact.fresh && seen !== readAfter
}

/** A refusal that the Lease itself does not explain must not turn into a loop as fast as the network. */
function slowDown(turn: Turn, lease: Lease | null): void {
  const { seen, attemptedAt, term } = turn.state
  if (attemptedAt === null || seen?.lease?.metadata.resourceVersion !== lease?.metadata.resourceVersion)
    return
  const wait = term?.doubt ? turn.config.retryPeriodMs / 4 : turn.config.retryPeriodMs
  turn.set({ nextAttemptAt: Math.max(turn.now.mono, attemptedAt.mono + wait) })
}

function observe(turn: Turn, lease: Lease | null): void {
  const { seen } = turn.state
  // To create it is another right than to update it.
  if (seen !== null && (seen.lease === null) !== (lease === null)) rehearseAgain(turn)
  if (lease === null) observeAbsence(turn)
  else observeLease(turn, lease, ownWrite(turn, lease))
}

function observeLease(turn: Turn, lease: Lease, own: Write | undefined): void {
  const before = turn.state.seen
  const known = before?.lease ?? null
  const holder = holderOf(lease)
  const changed = known === null || known.metadata.uid !== lease.metadata.uid || !sameRecord(known, lease)
  guardVacancy(turn, before, lease)
  turn.set({
    seen: {
      lease,
      changedAt: changed || before === null ? turn.now.mono : before.changedAt,
      heldMs: heldFor(turn, before, lease),
    },
    lastHolder: holder === '' ? turn.state.lastHolder : { holder, epoch: epochOf(lease) },
    highestEpoch: Math.max(turn.state.highestEpoch, epochOf(lease)),
    mustRead: false,
  })
  if (own !== undefined && !cameTooLate(before, own)) committed(turn, own, lease)
  else if (turn.state.term !== null) checkTerm(turn, lease)
  else if (changed && before !== null) lookForStranger(turn, lease)
}

/** A creation is no compare-and-swap: another may have held the Lease, and lost it, since it was sent. */
function cameTooLate(before: Seen | null, write: Write): boolean {
  if (!isCreation(write) || before === null) return false
  return before.lease !== null || before.changedAt >= write.sentAt.mono
}

/** Of one that did not hold the Lease. */
function isCreation({ kind, lease }: Write): boolean {
  return kind === 'acquire' && lease.metadata.resourceVersion === undefined
}

function ownWrite(turn: Turn, lease: Lease): Write | undefined {
  const { pending, unresolved } = turn.state
  const candidates = pending === null ? unresolved : [...unresolved, pending]
  return candidates.find((write) => sameRecord(write.lease, lease))
}

/** A write is in the Lease, whether its answer came, came late or never will: deadlines count from its sending. */
function committed(turn: Turn, write: Write, lease: Lease): void {
  const { pending, unresolved, term } = turn.state
  turn.set({
    // Earlier writes were compare-and-swaps on versions that are gone now.
    unresolved: unresolved.filter((other) => other.id > write.id),
    pending: pending === write ? null : pending,
    // However it was answered, nothing is urgent any more.
    nextAttemptAt: Math.max(turn.state.nextAttemptAt, write.sentAt.mono + turn.config.retryPeriodMs),
  })
  if (write.kind === 'release') {
    if (term !== null) endTerm(turn)
    return
  }
  if (write.kind === 'acquire' || write.kind === 'resume') {
    if (term === null) beginTerm(turn, write, lease)
    return
  }
  if (term === null || write.sentAt.mono <= term.renewedAt.mono) return
  turn.setTerm({ renewedAt: write.sentAt })
  extend(turn)
}

function beginTerm(turn: Turn, write: Write, lease: Lease): void {
  if (reached(turn.now, killAt(turn.config, write.sentAt))) return
  const resumed = write.kind === 'resume'
  turn.set({
    coolDown: null,
    strangers: 0,
    successor: null,
    reportedHolder: turn.config.identity,
    term: {
      epoch: epochOf(lease),
      acquireTime: lease.spec?.acquireTime ?? write.renewTime,
      renewedAt: write.sentAt,
      startedAt: turn.now.mono,
      doubt: false,
      startOrdered: resumed,
      restarting: null,
      stepDown: null,
    },
  })
  turn.event('acquired', write.because, {
    acquireMs: Math.round(turn.now.mono - write.sentAt.mono),
    unchangedMs: Math.round(write.unchangedMs),
  })
  extend(turn)
  const { ending, workload } = turn.state
  if (ending !== null) beginStepDown(turn, ending.reason, false)
  else if (!resumed && !workload.canRun) beginStepDown(turn, 'the launcher went away', false)
  else if (resumed && workload.alive === 'no')
    beginStepDown(turn, 'the workload ended without its agent', true)
  else noticeFailure(turn)
}

/** Passes on what the last acknowledged write earned; a doubt that it ends is over (compare-and-swap: nobody else held it). */
function extend(turn: Turn): void {
  const { term } = turn.state
  if (term === null || reached(turn.now, killAt(turn.config, term.renewedAt))) return
  if (!reached(turn.now, doubtAt(turn.config, term.renewedAt))) turn.setTerm({ doubt: false })
  turn.emit({ type: 'grant', grant: grantOf(turn.config, term) })
}

/** What the Lease says while this replica leads, when it was not this replica that wrote it. */
function checkTerm(turn: Turn, lease: Lease): void {
  const { term, written } = turn.state
  const holder = holderOf(lease)
  if (term === null) return
  if (holder === turn.config.identity) {
    if (epochOf(lease) === term.epoch) return
    // Whoever acquires writes times of its own; an own creation of an earlier term may come late, after a deletion.
    const { renewTime, acquireTime } = lease.spec ?? {}
    const edited = epochOf(lease) < term.epoch || acquireTime === term.acquireTime
    if (!edited || !written.includes(renewTime ?? '')) {
      turn.lose('somebody else acquired the Lease in this name')
      sighted(turn)
      return
    }
  } else if (holder !== '') {
    turn.lose(`the Lease is held by ${holder}`)
    return
  } else if (epochOf(lease) !== term.epoch && !looksNeverHeld(lease)) {
    turn.lose('somebody else held the Lease meanwhile')
    return
  }
  // Cleared, emptied or made anew. Nobody else may believe it yet, and a compare-and-swap tells whether somebody did.
  turn.set({ nextAttemptAt: turn.now.mono })
}

function lookForStranger(turn: Turn, lease: Lease): void {
  if (holderOf(lease) !== turn.config.identity) return
  const { renewTime, acquireTime } = lease.spec ?? {}
  // An own acquisition whose renew time something on its way took away is still known by the other one.
  if ([renewTime, acquireTime].some((time) => turn.state.written.includes(time ?? ''))) return
  sighted(turn)
}

/** Somebody else wrote the Lease in this name. */
function sighted(turn: Turn): void {
  turn.set({ strangers: turn.state.strangers + 1 })
  if (turn.state.strangers < STRANGER_SIGHTINGS) return
  const { identity } = turn.config
  turn.end(
    `the identity "${identity}" is used by another live process: give each replica its own --identity`,
    1,
  )
}

function acknowledged(turn: Turn, id: number, lease: Lease): void {
  const { pending, unresolved } = turn.state
  const write = pending?.id === id ? pending : unresolved.find((other) => other.id === id)
  const refusal = write === undefined ? null : notKept(write, lease, turn.state.written)
  if (refusal !== null) {
    dropped(turn, id, lease, refusal)
    return
  }
  turn.set({ writeProblem: null, sightedAt: turn.now })
  mayWrite(turn)
  if (write === undefined) return // the watch was faster
  if (!isStale(turn, lease)) {
    observeLease(turn, lease, write)
    return
  }
  // This, or something newer, was seen already; a creation was judged then.
  if (isCreation(write)) {
    turn.set({ pending: pending === write ? null : pending })
    return
  }
  committed(turn, write, lease)
  const newest = turn.state.seen?.lease
  if (newest && ownWrite(turn, newest) === undefined && newest.spec?.renewTime !== write.renewTime) {
    if (turn.state.term !== null) checkTerm(turn, newest)
  }
}

/** It was answered with 200, and not carried out as it was written: the answer is a Lease that was seen, no more. */
function dropped(turn: Turn, id: number, lease: Lease, error: ApiError): void {
  learnRight(turn, error)
  failed(turn, id, error)
  const { nextAttemptAt } = turn.state
  if (!isStale(turn, lease)) observeLease(turn, lease, ownWrite(turn, lease))
  // What it shows may call for another write at once, which would fare no better.
  turn.set({ nextAttemptAt: Math.max(turn.state.nextAttemptAt, nextAttemptAt) })
}

function failed(turn: Turn, id: number, error: ApiError): void {
  const { pending, unresolved, seen, term } = turn.state
  if (pending?.id !== id) return // resolved by what was seen meanwhile
  // Even a refusal is remembered: a 409 can be the answer to a retry of a write that had succeeded.
  turn.set({ pending: null, unresolved: [...unresolved.slice(-REMEMBERED_FAILURES), pending] })
  if (error.code === 'not_found') {
    observe(turn, null)
  } else if (error.code === 'conflict' || error.code === 'already_exists') {
    const base = pending.lease.metadata.resourceVersion
    const newest = seen?.lease?.metadata.resourceVersion
    const behind = newest === undefined || (base !== undefined && !isNewer(newest, base))
    turn.set({ mustRead: behind, nextAttemptAt: turn.now.mono, writeProblem: null })
  } else {
    turn.set({ writeProblem: error.message })
    // In doubt the first moment in which the API server answers again counts; a timeout has waited already.
    const pause = error.code === 'timeout' ? 0 : turn.config.retryPeriodMs / 4
    if (term?.doubt) turn.set({ nextAttemptAt: turn.now.mono + pause })
  }
}
