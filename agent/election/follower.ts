import { epochOf, holderOf, type Lease, looksNeverHeld, successorOf } from '../lease/lease.ts'
import { describePause, isOfPod, pauseOf } from '../lease/operator-annotations.ts'
import type { AcquiredBecause } from '../lease/reasons.ts'
import { isTimely } from './absent-lease.ts'
import { barrier } from './eligibility.ts'
import { sendRead, sendWrite } from './lease-requests.ts'
import { failedStart, isUnproven } from './revision-trial.ts'
import type { CandidateConfig, Ending, Follower, Free, Input, MonoMs, Seen, Why } from './state.ts'
import { decide, emit, event, kill, NEVER, wake } from './state.ts'

/** Every replica except the holder: watch, wait, and take the Lease when it is free. */
export function follow(input: Input, before: Follower): Follower {
  const { now, config } = input
  let state = reportHolder(before)

  // Take back the grant of an earlier agent that the launcher still has. Kill a workload without one.
  const { workload, seen } = state
  if (workload.alive === 'maybe') {
    state = decide(state, 'waiting for proof that no LangFlow process is alive')
  } else if (workload.alive === 'yes' && seen === null) {
    state = decide(state, 'LangFlow runs: reading the Lease to check whether this replica holds it')
  } else if (workload.alive === 'yes') {
    if (canTakeBack(input, state)) return takeBack(input, state)
    state = decide(killAgain(input, state), 'killing a LangFlow that runs without leadership')
  }

  if (state.inFlight) return decide(state, 'waiting for the API server')

  // Read the Lease, unless a read has just proven that it is absent and free, however slow the answers are.
  const toBeCreated = confirmsAbsence(input, state) && now.mono >= state.vacantNotBefore
  const lookAt = nextLook(input, state)
  if (now.mono >= lookAt && !toBeCreated) return decide(sendRead(input, state), 'reading the Lease')
  const pauseMs = toBeCreated ? config.retryPeriodMs / 2 : 0
  const waiting = wake(state, Math.max(lookAt, now.mono + pauseMs))

  if (state.mustRead) return waiting
  if (seen?.lease && isOver(config, state, seen.lease) && !state.paused) return giveBack(input, waiting)
  return take(input, waiting)
}

const RESUMED = { code: 'resumed', reason: 'the restarted agent resumed the grant of its launcher' } as const
const POD_RESTARTED = {
  code: 'pod_restarted',
  reason: 'the pod restarted, and no process of its earlier term is alive',
} as const

/** This pod led the term, and nothing of it is alive. The epoch counts, because an identity may be copied. */
function isOver({ identity }: CandidateConfig, { workload, written }: Follower, lease: Lease): boolean {
  const isOfPod = holderOf(lease) === identity && workload.ended === `${identity} ${epochOf(lease)}`
  // A write of this process does not count: see `isOwn`.
  return isOfPod && workload.alive === 'no' && !written.includes(lease.spec?.renewTime ?? '')
}

/** By compare-and-swap, either this release or a late renewal of the dead agent fails. */
function giveBack(input: Input, state: Follower): Follower {
  const decision = `releasing the Lease: ${POD_RESTARTED.reason}`
  if (input.now.mono < state.nextAttemptAt) return decide(state, decision, state.nextAttemptAt)
  return decide(sendWrite(input, state, 'give back'), decision)
}

/** A standby that observes the release goes first. This replica follows soon, because it may be the only one. */
export function gaveBack({ config, now }: Input, state: Free): Free {
  const ended = event(event(state, 'released', POD_RESTARTED), 'stepped_down', POD_RESTARTED)
  return { ...ended, nextAttemptAt: now.mono + config.retryPeriodMs / 2 }
}

function take(input: Input, state: Follower): Follower {
  const { now, config } = input
  const { seen, workload, nextAttemptAt } = state
  if (seen === null) return decide(state, 'this replica has not seen the Lease yet')
  const holder = seen.lease === null ? '' : holderOf(seen.lease)
  const standing = holder === '' ? 'no replica holds the Lease' : `${holder} holds the Lease`

  // 1. May this replica compete, and could it start anything?
  const bar = barrier(state)
  if (bar !== null) return decide(state, `${standing}; ${bar}`)
  if (!workload.canRun)
    return decide(state, `${standing}; no idle launcher is connected, so this replica does not campaign`)

  // 2. Is the Lease paused? The leader stays: a replica may take again the Lease that it held last.
  const pause = pauseOf(seen.lease, now.wall)
  if (pause !== null && holder !== config.identity) {
    const at = pause.until === null ? NEVER : now.mono + Date.parse(pause.until) - now.wall
    return decide(state, `${standing}; paused ${describePause(pause)}: no takeover starts`, at)
  }

  // 3. Is it free for this replica, and is the replica's cool-down over?
  const free = freeAt(input, state, seen)
  const cool = state.coolDown?.until ?? 0
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

  // 4. If it is absent, has a read just shown this?
  if (seen.lease === null && !confirmsAbsence(input, state))
    return decide(state, `${standing}: reading it again to verify that it does not exist`)

  // 5. The replica takes it.
  return decide(sendWrite(input, state, 'acquire', whyFree(config, seen)), `${standing}: acquiring it`)
}

/** Rule 6: `renewTime` is compared with no clock, not even this replica's own. */
function freeAt(input: Input, state: Follower, seen: Seen): MonoMs {
  const { lease } = seen
  if (lease === null || seen.heldMs === 0) return state.vacantNotBefore
  const isFree = isOwn(input.config, state, lease) || isOver(input.config, state, lease)
  return isFree ? seen.changedAt : seen.changedAt + seen.heldMs
}

function whyFree(config: CandidateConfig, { lease, heldMs }: Seen): Why<AcquiredBecause> {
  if (lease === null) return { code: 'deleted', reason: 'the Lease did not exist for a whole lease duration' }
  if (heldMs > 0) {
    const holder = holderOf(lease) || 'its holder'
    const who = holder === config.identity ? 'an earlier agent of this replica' : holder
    return { code: 'expired', reason: `${who} did not renew it in time` }
  }
  return lease.spec?.renewTime
    ? { code: 'released', reason: 'its holder released it' }
    : { code: 'never_held', reason: 'no replica had held it before' }
}

/** How long this replica leaves a free Lease to others. They may never come back, so the wait always ends. */
function precedence(config: CandidateConfig, state: Follower, { lease, heldMs }: Seen) {
  const none = { ms: 0, of: '' }
  if (lease !== null && isOwn(config, state, lease)) return none
  const successor = lease !== null && heldMs === 0 ? successorOf(lease) : null
  if (successor !== null && isOfPod(config.identity, successor)) return none
  const first = successor === null ? none : { ms: config.retryPeriodMs, of: successor }
  const after = (ms: number, of: string) => ({ ms: first.ms + ms, of: successor ?? of })
  if (failedStart(config, state) !== null) return after(config.leaseDurationMs, 'a revision that has served')
  if (!state.workload.prepared) return after(config.retryPeriodMs, 'a replica whose standby is prepared')
  // A prepared replica never waits more than a retry period (rule 11).
  if (successor !== null || !isUnproven(config, state)) return first
  return { ms: config.retryPeriodMs / 2, of: 'a revision that has served' }
}

/**
 * A write of this process succeeded after the process had given it up. Its workload is dead by now. A creation does not
 * count: it is no compare-and-swap, and another replica may have held the Lease since it was sent.
 */
function isOwn({ identity }: CandidateConfig, { written, created }: Follower, lease: Lease): boolean {
  const renewTime = lease.spec?.renewTime ?? ''
  return holderOf(lease) === identity && written.includes(renewTime) && !created.includes(renewTime)
}

/** If this process could not run for a while, it receives the events of that time before the answer to a read. */
function confirmsAbsence(input: Input, state: Follower): boolean {
  const { fact } = input
  return fact.type === 'lease' && fact.fresh && fact.lease === null && isTimely(input, state)
}

/** Time of the next read. An absent or emptied Lease is not renewed, so a silent watch proves nothing. */
function nextLook({ now }: Input, state: Follower): MonoMs {
  const { mustRead, watchUp, nextPollAt, nextAttemptAt, lastRead, seen, vacantNotBefore } = state
  if (mustRead) return nextAttemptAt
  const emptied = seen?.lease && looksNeverHeld(seen.lease) && now.mono < vacantNotBefore
  if (watchUp && seen?.lease !== null && !emptied) return NEVER
  // It also reads when the Lease becomes free: the replica that has waited longest has read the last epoch.
  const freed = seen?.lease === null && (lastRead?.sentAt.mono ?? 0) < vacantNotBefore
  return freed ? Math.min(nextPollAt, vacantNotBefore) : nextPollAt
}

/** Whether a restarted agent may take its grant back (rule 8). */
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
  const decision = 'resuming the term, whose grant the launcher still has'
  if (inFlight) return decide(state, decision, workload.killAt ?? now.mono)
  if (now.mono < nextAttemptAt) return decide(state, decision, nextAttemptAt)
  if (mustRead) return decide(sendRead(input, state), decision)
  return decide(sendWrite(input, state, 'resume', RESUMED), decision)
}

export function leave(input: Input, before: Ending): Ending {
  const state = reportHolder(before)
  const { pending, workload, ending } = state
  if (pending !== null) return decide(state, 'ending: waiting for the answer to the last write')
  if (workload.alive !== 'no')
    return decide(killAgain(input, state), 'ending: waiting until no LangFlow process is alive')
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

/** A launcher that has just connected has not received the earlier order. A tick brings no such news. */
function killAgain<S extends Free>({ fact }: Input, state: S): S {
  return fact.type === 'tick' ? state : kill(state)
}
