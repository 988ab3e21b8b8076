import { epochOf, foreignOwner, holderOf, type Lease, looksNeverHeld, successorOf } from '../lease/lease.ts'
import { isOfPod, pauseOf } from '../lease/operator-annotations.ts'
import type { AcquiredBecause } from '../lease/reasons.ts'
import { isTimely } from './absent-lease.ts'
import { barrier } from './eligibility.ts'
import { sendRead, sendWrite } from './lease-requests.ts'
import { failedStart, isUnproven } from './revision-trial.ts'
import {
  type CandidateConfig,
  decide,
  type ElectionState,
  type Ending,
  emit,
  event,
  type Follower,
  type Free,
  type Input,
  kill,
  NEVER,
  type Seen,
  type Why,
  wake,
  writerWall,
} from './state.ts'

/** What every replica but the holder does: watch, wait, and take the Lease once it is free. */
export function follow(input: Input, before: Follower): Follower {
  const { now, config } = input

  // 1. Report whom it follows.
  let state = reportHolder(before)

  // 2. Take back the grant of an earlier agent that lives on in the launcher; kill what has none.
  const { workload, seen } = state
  if (workload.alive === 'maybe') {
    state = decide(state, 'waiting for proof that nothing of the workload lives')
  } else if (workload.alive === 'yes' && seen === null) {
    state = decide(state, 'a workload lives: reading the Lease to see whether it is this replica’s own')
  } else if (workload.alive === 'yes') {
    if (canTakeBack(input, state)) return takeBack(input, state)
    state = decide(killNews(input, state), 'killing a workload that has no leadership behind it')
  }

  // 3. Send one request at a time.
  if (state.inFlight) return decide(state, 'waiting for the API server')

  // 4. Look where the watch does not show it. Just read, and free: the time to write, however slow the answers are.
  const toBeCreated = confirmsAbsence(input, state) && now.mono >= state.vacantNotBefore
  const lookAt = nextLook(input, state)
  if (now.mono >= lookAt && !toBeCreated) return decide(sendRead(input, state), 'reading the Lease')
  const pauseMs = toBeCreated ? config.retryPeriodMs / 2 : 0
  const waiting = wake(state, Math.max(lookAt, now.mono + pauseMs))

  if (state.mustRead) return waiting

  // 5. Give back what an earlier agent of this pod held, if nothing of that lives any more.
  if (seen?.lease && isOver(config, state, seen.lease) && !state.paused) return giveBack(input, waiting)

  // 6. Take it, if it is free.
  return take(input, waiting)
}

const POD_RESTARTED = {
  code: 'pod_restarted',
  reason: 'every process of this pod was killed, and nothing of it lives any more',
} as const

/** Whether this pod led the term that holds the Lease, and nothing of that lives: by its epoch, for an identity may be copied. */
function isOver({ identity }: CandidateConfig, { workload, written }: Follower, lease: Lease): boolean {
  const isOfPod = holderOf(lease) === identity && workload.ended === `${identity} ${epochOf(lease)}`
  // A write of this very process: see `isOwn`.
  return isOfPod && workload.alive === 'no' && !written.includes(lease.spec?.renewTime ?? '')
}

/** A compare-and-swap on the record that was seen: a late renewal of the dead agent makes it fail, or fails itself. */
function giveBack(input: Input, state: Follower): Follower {
  const decision = `giving the Lease back: ${POD_RESTARTED.reason}`
  if (input.now.mono < state.nextAttemptAt) return decide(state, decision, state.nextAttemptAt)
  return decide(sendWrite(input, state, 'release', POD_RESTARTED), decision)
}

/** A standby that hears of it goes first, and this replica soon after that: it may be the only one. */
export function gaveBack({ config, now }: Input, state: Free): Free {
  const ended = event(event(state, 'released', POD_RESTARTED), 'stepped_down', POD_RESTARTED)
  return { ...ended, nextAttemptAt: now.mono + config.retryPeriodMs / 2 }
}

/** Takes the Lease, or says why not yet. */
function take(input: Input, state: Follower): Follower {
  const { now, config } = input
  const { seen, workload, nextAttemptAt } = state
  if (seen === null) return decide(state, 'the Lease was not seen yet')
  const holder = seen.lease === null ? '' : holderOf(seen.lease)
  const standing = holder === '' ? 'nobody holds the Lease' : `${holder} holds the Lease`

  // 1. Is this replica to compete, and could it start anything?
  const bar = barrier(state)
  if (bar !== null) return decide(state, `${standing}; ${bar}`)
  if (!workload.canRun)
    return decide(state, `${standing}; no idle launcher is connected, so this replica does not campaign`)

  // 2. Is it paused? The leader stays: what this replica held last it may take again.
  const wall = writerWall(state, now)
  const pause = pauseOf(seen.lease, wall)
  if (pause !== null && holder !== config.identity) {
    const [until, at] =
      pause.until === null
        ? ['', NEVER]
        : [` until ${pause.until}`, now.mono + Date.parse(pause.until) - wall]
    return decide(state, `${standing}; paused${until}, so that no takeover starts`, at)
  }

  // 3. Is it free, also for this one, and is the cool-down over that this one makes?
  const free = freeAt(input, state, seen)
  const cool = coolDownEnds(state)
  const wait = precedence(config, state, seen)
  const first = wait.ms === 0 ? free : Math.max(free, seen.changedAt, state.resumedAt) + wait.ms
  const at = Math.max(first, cool, nextAttemptAt)
  if (now.mono < at) {
    const left = `${((at - now.mono) / 1000).toFixed(1)} s`
    if (cool > first)
      return decide(state, `${standing}; cooling down for ${left} ${state.coolDown?.after}`, at)
    if (first > free && holder === '')
      return decide(state, `${standing}; ${wait.of} has precedence for ${left}`, at)
    return decide(state, `${standing}; free in ${left} unless renewed`, at)
  }

  // 4. Is it absent, by a read that shows it now?
  if (seen.lease === null && !confirmsAbsence(input, state))
    return decide(state, `${standing}: making sure of it`)

  // 5. Then it is taken.
  const because = whyFree(config, state, seen)
  return decide(sendWrite(input, state, 'acquire', because), `${standing}: taking it`)
}

/** Monotonic ms until when this replica does not campaign; it is shortened while the Lease stands as it was released. */
export function coolDownEnds({ coolDown, seen, written }: ElectionState): number {
  if (coolDown === null) return 0
  const untaken = seen?.heldMs === 0 && written.includes(seen.lease?.spec?.renewTime ?? '')
  return untaken ? coolDown.early : coolDown.full
}

/**
 * Monotonic ms from when the Lease may be taken. Rule 6: only what this process itself saw, on its own clock, counts;
 * `renewTime` is compared with nothing, not even this replica's own.
 */
function freeAt(input: Input, state: Follower, seen: Seen): number {
  const { lease } = seen
  if (lease === null || seen.heldMs === 0) return state.vacantNotBefore
  const isFree = isOwn(input.config, state, lease) || isOver(input.config, state, lease)
  return isFree ? seen.changedAt : seen.changedAt + seen.heldMs
}

function whyFree(config: CandidateConfig, state: Follower, { lease, heldMs }: Seen): Why<AcquiredBecause> {
  if (lease === null) return { code: 'deleted', reason: 'the Lease was gone for a whole lease duration' }
  if (heldMs === 0)
    return lease.spec?.renewTime
      ? { code: 'released', reason: 'its holder released it' }
      : { code: 'never_held', reason: 'nobody held it before' }
  const holder = holderOf(lease)
  if (holder === '')
    return {
      code: 'cleared',
      reason: 'nobody who held it gave it back, and a whole lease duration is over',
    }
  if (isOwn(config, state, lease))
    return { code: 'own_write', reason: 'a late write of this replica itself holds it' }
  if (isOver(config, state, lease)) return POD_RESTARTED
  const who = holder === config.identity ? 'an earlier agent of this replica' : holder
  return { code: 'expired', reason: `${who} did not renew it in time` }
}

/**
 * For how long, in milliseconds, a free Lease is left to others, and to whom: a retry period to the successor that was
 * named, another one to those whose standby is prepared where this one's is not, half of one to a revision that has served, a
 * lease duration to the Deployment that it belongs to, or to other revisions where the own one has failed. All of them may be
 * gone for good, so that no replica waits longer.
 */
function precedence(
  config: CandidateConfig,
  state: Follower,
  { lease, heldMs }: Seen,
): { ms: number; of: string } {
  const none = { ms: 0, of: '' }
  if (lease !== null && isOwn(config, state, lease)) return none
  const successor = lease !== null && heldMs === 0 ? successorOf(lease) : null
  if (successor !== null && isOfPod(config.identity, successor)) return none
  const owner = foreignOwner(config.owner, lease)
  if (owner !== null) return { ms: config.leaseDurationMs, of: owner }
  const first = successor === null ? none : { ms: config.retryPeriodMs, of: successor }
  const after = (ms: number, of: string) => ({ ms: first.ms + ms, of: successor ?? of })
  if (failedStart(config, state) !== null) return after(config.leaseDurationMs, 'a revision that has served')
  if (!state.workload.prepared) return after(config.retryPeriodMs, 'a replica whose standby is prepared')
  // Never more than a retry period for one that is prepared (rule 11).
  if (successor !== null || !isUnproven(config, state)) return first
  return { ms: config.retryPeriodMs / 2, of: 'a revision that has served' }
}

/**
 * Written by this very process, and come through after it had given up; its workload is dead by now. A creation is no
 * compare-and-swap: another may have held the Lease, and lost it, since it was sent.
 */
function isOwn({ identity }: CandidateConfig, { written, created }: Follower, lease: Lease): boolean {
  const renewTime = lease.spec?.renewTime ?? ''
  return holderOf(lease) === identity && written.includes(renewTime) && !created.includes(renewTime)
}

/**
 * A creation has no version to compare with. If this process could not run for a while, all that happened meanwhile
 * still lies in its connections, and is heard before the answer to a read.
 */
function confirmsAbsence(input: Input, state: Follower): boolean {
  const { fact } = input
  return fact.type === 'lease' && fact.fresh && fact.lease === null && isTimely(input, state)
}

/**
 * Monotonic ms of the next read. While the watch lives, only a refused write leads to one, and a Lease that is absent or was
 * emptied: such a Lease isn't renewed, so a silent watch proves nothing.
 */
function nextLook({ now }: Input, state: Follower): number {
  const { mustRead, watchUp, nextPollAt, nextAttemptAt, readSentAt, seen, vacantNotBefore } = state
  if (mustRead) return nextAttemptAt
  const emptied = seen?.lease && looksNeverHeld(seen.lease) && now.mono < vacantNotBefore
  if (watchUp && seen?.lease !== null && !emptied) return NEVER
  // Also at the very moment from which it is free: the replica that has waited for longest should be first, as it knows the epoch.
  const freed = seen?.lease === null && (readSentAt?.mono ?? 0) < vacantNotBefore
  return freed ? Math.min(nextPollAt, vacantNotBefore) : nextPollAt
}

/** An agent was restarted, and may take its grant back (rule 8). */
function canTakeBack({ config, now }: Input, { workload, seen, killOrdered }: Follower): boolean {
  return (
    !killOrdered &&
    !!seen?.lease &&
    holderOf(seen.lease) === config.identity &&
    workload.identity === config.identity &&
    workload.epoch === epochOf(seen.lease) &&
    workload.killAt !== null &&
    now.mono < workload.killAt
  )
}

function takeBack(input: Input, state: Follower): Follower {
  const { inFlight, nextAttemptAt, mustRead, workload } = state
  const { now } = input
  const decision = 'taking back the grant that the launcher kept'
  if (inFlight) return decide(state, decision, workload.killAt ?? now.mono)
  if (now.mono < nextAttemptAt) return decide(state, decision, nextAttemptAt)
  if (mustRead) return decide(sendRead(input, state), decision)
  const because = { code: 'resumed', reason: 'took its grant back from the launcher' } as const
  return decide(sendWrite(input, state, 'resume', because), decision)
}

/** Waits until nothing is under way and nothing lives, and ends this process. */
export function leave(input: Input, before: Ending): Ending {
  const state = reportHolder(before)
  const { pending, workload, ending } = state
  if (pending !== null) return decide(state, 'ending: waiting for the answer to the last write')
  if (workload.alive !== 'no')
    return decide(killNews(input, state), 'ending: waiting until nothing of the workload lives')
  const exited = emit({ ...state, exited: true }, { type: 'exit', code: ending.code })
  return decide(exited, `ended: ${ending.reason}`)
}

function reportHolder<S extends Free>(state: S): S {
  const { seen, reportedHolder } = state
  if (seen === null) return state
  const holder = seen.lease === null ? '' : holderOf(seen.lease)
  if (holder === reportedHolder) return state
  const reported = { ...state, reportedHolder: holder }
  return holder === '' ? reported : event(reported, 'leader_observed', {}, { holder })
}

/** The kill is ordered again with each fact, and not by time alone. */
function killNews<S extends Free>({ fact }: Input, state: S): S {
  return fact.type === 'tick' ? state : kill(state)
}
