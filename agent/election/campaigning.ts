import { epochOf, holderOf, type Lease, successorOf } from '../lease/lease.ts'
import { coolDownEnds } from './cool-down.ts'
import { barrier } from './outdated.ts'
import { foreignOwner } from './ownership.ts'
import type { Seen } from './state.ts'
import type { Turn } from './turn.ts'
import { isTimely, looksNeverHeld } from './vacancy.ts'

/** What everybody but the holder does: watch, wait, and take the Lease once it is free. */
export function campaign(turn: Turn): void {
  reportHolder(turn)
  if (turn.state.ending !== null) {
    leave(turn)
    return
  }
  if (settleLiveWorkload(turn)) return
  if (turn.state.inFlight) {
    turn.decide('waiting for the API server')
    return
  }
  if (poll(turn)) return
  take(turn)
}

function reportHolder(turn: Turn): void {
  const { seen, reportedHolder } = turn.state
  if (seen === null) return
  const holder = seen.lease === null ? '' : holderOf(seen.lease)
  if (holder === reportedHolder) return
  turn.set({ reportedHolder: holder })
  if (holder !== '') turn.event('leader_observed', undefined, { holder })
}

function leave(turn: Turn): void {
  const { pending, workload, ending } = turn.state
  if (pending !== null) {
    turn.decide('ending: waiting for the answer to the last write')
  } else if (workload.alive !== 'no' || workload.spare) {
    if (turn.fact.type !== 'tick') turn.emit({ type: 'kill' })
    turn.decide('ending: waiting until nothing of the workload lives')
  } else {
    turn.set({ ended: true })
    turn.emit({ type: 'exit', code: ending?.code ?? 0 })
    turn.decide(`ended: ${ending?.reason ?? ''}`)
  }
}

/**
 * A live workload without a term: an agent was restarted and may take its grant back (rule 8), or it is a remnant.
 * Returns whether it keeps this replica from campaigning.
 */
function settleLiveWorkload(turn: Turn): boolean {
  const { workload, seen } = turn.state
  if (workload.alive === 'no') return false
  if (workload.alive === 'maybe') {
    turn.decide('waiting for proof that nothing of the workload lives')
    return false
  }
  if (seen === null) {
    turn.decide('a workload lives: reading the Lease to see whether it is this replica’s own')
    return false
  }
  if (!canResume(turn, seen)) {
    if (turn.fact.type !== 'tick') turn.emit({ type: 'kill' })
    turn.decide('killing a workload that has no leadership behind it')
    return false
  }
  const { inFlight, nextAttemptAt, mustRead } = turn.state
  if (inFlight) turn.wake(workload.killAt ?? turn.now.mono)
  else if (turn.now.mono < nextAttemptAt) turn.wake(nextAttemptAt)
  else if (mustRead) turn.read()
  else turn.write('resume', 'took its grant back from the launcher')
  turn.decide('taking back the grant that the launcher kept')
  return true
}

function canResume(turn: Turn, seen: Seen): boolean {
  const { workload } = turn.state
  return (
    !turn.state.killOrdered &&
    seen.lease !== null &&
    holderOf(seen.lease) === turn.config.identity &&
    workload.identity === turn.config.identity &&
    workload.epoch === epochOf(seen.lease) &&
    workload.killAt !== null &&
    turn.now.mono < workload.killAt
  )
}

/**
 * Returns whether a read is on its way. While the watch lives, only a refused write leads to one, and a Lease that is
 * absent or was emptied: nobody renews it, so that its watch brings nothing proves nothing.
 */
function poll(turn: Turn): boolean {
  const { mustRead, watchUp, nextPollAt, nextAttemptAt, readSentAt, seen, vacantNotBefore } = turn.state
  const vanished =
    seen !== null && (seen.lease === null || (looksNeverHeld(seen.lease) && turn.now.mono < vacantNotBefore))
  // Also at the very moment from which it is free: whoever has waited for longest knows the most of it, its epoch above all.
  const freed = seen?.lease === null && (readSentAt?.mono ?? 0) < vacantNotBefore
  const next = freed ? Math.min(nextPollAt, vacantNotBefore) : nextPollAt
  const due = mustRead ? nextAttemptAt : watchUp && !vanished ? Number.POSITIVE_INFINITY : next
  // Just read, and free: the time to write, however slow the answers are.
  const toBeCreated = confirmsAbsence(turn) && turn.now.mono >= turn.state.vacantNotBefore
  if (turn.now.mono < due || toBeCreated) {
    turn.wake(Math.max(due, turn.now.mono + (toBeCreated ? turn.config.retryPeriodMs / 2 : 0)))
    return mustRead
  }
  turn.read()
  turn.decide('reading the Lease')
  return true
}

function take(turn: Turn): void {
  const { seen, workload, nextAttemptAt } = turn.state
  if (seen === null) {
    turn.decide('the Lease was not seen yet')
    return
  }
  const holder = seen.lease === null ? '' : holderOf(seen.lease)
  const standing = holder === '' ? 'nobody holds the Lease' : `${holder} holds the Lease`
  const bar = barrier(turn.state)
  if (bar !== null) {
    turn.decide(`${standing}; ${bar}`)
    return
  }
  if (!workload.canRun) {
    turn.decide(`${standing}; no idle launcher is connected, so this replica does not campaign`)
    return
  }
  const free = freeAt(turn, seen)
  const cool = coolDownEnds(turn.state)
  const wait = precedence(turn, seen)
  const first = wait.ms === 0 ? free : Math.max(free, seen.changedAt) + wait.ms
  const at = Math.max(first, cool, nextAttemptAt)
  if (turn.now.mono >= at && seen.lease === null && !confirmsAbsence(turn)) {
    turn.decide(`${standing}: making sure of it`)
    return
  }
  if (turn.now.mono >= at) {
    turn.write('acquire', whyFree(turn, seen))
    turn.decide(`${standing}: taking it`)
    return
  }
  turn.wake(at)
  const left = `${((at - turn.now.mono) / 1000).toFixed(1)} s`
  if (cool > first) turn.decide(`${standing}; cooling down for ${left} after the workload failed here`)
  else if (first > free && holder === '') turn.decide(`${standing}; ${wait.of} has precedence for ${left}`)
  else turn.decide(`${standing}; free in ${left} unless renewed`)
}

/**
 * A creation has no version to compare with. Where this process could not run for a while, whatever happened meanwhile
 * still lies in its connections, and is heard before the answer to a read.
 */
function confirmsAbsence(turn: Turn): boolean {
  const { fact } = turn
  return fact.type === 'lease' && fact.fresh && fact.lease === null && isTimely(turn)
}

function whyFree(turn: Turn, { lease, heldMs }: Seen): string {
  if (lease === null) return 'the Lease was gone for a whole lease duration'
  if (heldMs === 0) return lease.spec?.renewTime ? 'its holder released it' : 'nobody held it before'
  const holder = holderOf(lease)
  if (holder === '') return 'nobody who held it gave it back, and a whole lease duration is over'
  if (isOwn(turn, lease)) return 'a late write of this replica itself holds it'
  if (holder === turn.config.identity) return 'an earlier agent of this replica did not renew it in time'
  return `${holder} did not renew it in time`
}

/**
 * Monotonic ms from when the Lease may be taken. Rule 6: only what this process itself saw, on its own clock, counts;
 * whoever the holder is, `renewTime` is compared with nothing.
 */
function freeAt(turn: Turn, seen: Seen): number {
  const { vacantNotBefore } = turn.state
  const { lease } = seen
  if (lease === null || seen.heldMs === 0) return vacantNotBefore
  if (isOwn(turn, lease)) return seen.changedAt
  return seen.changedAt + seen.heldMs
}

/**
 * For how long, in milliseconds, a free Lease is left to others, and to whom: a retry period to the successor that was
 * named, another one to those whose standby is prepared where this one's is not, a lease duration to the Deployment that
 * it belongs to. All of them may be gone for good, so that nobody waits longer.
 */
function precedence({ config, state }: Turn, { lease, heldMs }: Seen): { ms: number; of: string } {
  const none = { ms: 0, of: '' }
  if (lease !== null && isOwn({ config, state }, lease)) return none
  const successor = lease !== null && heldMs === 0 ? successorOf(lease) : null
  if (successor === config.identity) return none
  const owner = foreignOwner(config.owner, lease)
  if (owner !== null) return { ms: config.leaseDurationMs, of: owner }
  const first = successor === null ? none : { ms: config.retryPeriodMs, of: successor }
  if (state.workload.prepared) return first
  return { ms: first.ms + config.retryPeriodMs, of: successor ?? 'a replica whose standby is prepared' }
}

/**
 * Written by this very process, and come through after it had given up; its workload is dead by now. A creation is no
 * compare-and-swap: another may have held the Lease, and lost it, since it was sent.
 */
function isOwn(
  { config, state: { written, created } }: Pick<Turn, 'config' | 'state'>,
  lease: Lease,
): boolean {
  const renewTime = lease.spec?.renewTime ?? ''
  return holderOf(lease) === config.identity && written.includes(renewTime) && !created.includes(renewTime)
}
