import { reached, untilReached } from '../clock.ts'
import { epochOf } from '../lease/lease.ts'
import { coolDownAfter } from './cool-down.ts'
import { doubtAt, killAt } from './deadlines.ts'
import type { StepDown, Term } from './state.ts'
import type { Turn } from './turn.ts'
import { looksNeverHeld } from './vacancy.ts'

/** Clock synchronisation slews small errors; a step of more than this is a jump. */
const WALL_JUMP_MS = 1_000

/** What the holder does: renew, doubt, lose, or step down in the planned order. */
export function hold(turn: Turn): void {
  const term = turn.state.term as Term
  const { config, now } = turn
  if (reached(now, killAt(config, term.renewedAt))) {
    turn.lose('no renewal was acknowledged in time')
    return
  }
  if (isUnproven(turn, term)) {
    turn.lose('the Lease is gone, and by the wall clock so is the time it was held for')
    return
  }
  if (!term.doubt && reached(now, doubtAt(config, term.renewedAt))) {
    turn.setTerm({ doubt: true })
    turn.set({ nextAttemptAt: Math.min(turn.state.nextAttemptAt, now.mono + config.retryPeriodMs / 4) })
    turn.event('doubt', turn.state.writeProblem ?? 'no renewal was acknowledged by the renew deadline')
  }
  noticeWallJump(turn)
  if (turn.state.workload.ending) beginStepDown(turn, 'the LangFlow container is ending', false)
  startWorkload(turn)
  advanceStepDown(turn)
  request(turn)
  plan(turn)
}

/**
 * A machine that was paused without its other clocks noticing may have lost the Lease long ago. A compare-and-swap on
 * one's own last write would tell; to write what was deleted or emptied, or made anew by a late creation of an earlier
 * term, tells nothing.
 */
function isUnproven({ state, config, now }: Turn, term: Term): boolean {
  const lease = state.seen?.lease ?? null
  if (lease !== null && !looksNeverHeld(lease) && epochOf(lease) === term.epoch) return false
  return now.wall >= killAt(config, term.renewedAt).wall
}

/** A clock set forward may mean that the machine was paused without its other clocks noticing: ask at once. */
function noticeWallJump(turn: Turn): void {
  const { attemptedAt } = turn.state
  if (attemptedAt === null) return
  const jump = turn.now.wall - attemptedAt.wall - (turn.now.mono - attemptedAt.mono)
  if (jump <= WALL_JUMP_MS) return
  // Once for each jump: an attempt that fails is repeated no sooner for it.
  turn.set({
    nextAttemptAt: turn.now.mono,
    attemptedAt: { ...attemptedAt, wall: attemptedAt.wall + jump },
  })
}

function startWorkload(turn: Turn): void {
  const { term, workload } = turn.state
  if (term === null || term.startOrdered || term.stepDown !== null || term.doubt || !workload.canRun) return
  turn.setTerm({ startOrdered: true })
  turn.emit({ type: 'start', epoch: term.epoch })
}

/** Rule 3: close the gate, drain while renewing, stop, have it confirmed, release. */
export function beginStepDown(
  turn: Turn,
  reason: string,
  failed: boolean,
  graceMs = turn.config.stopTimeoutMs,
): void {
  const { term } = turn.state
  if (term === null || term.stepDown !== null) return
  const since = turn.now.mono
  turn.setTerm({
    restarting: null,
    stepDown: { reason, failed, graceMs, stage: 'draining', since, drained: false },
  })
  turn.event('draining', reason)
  turn.emit({ type: 'drain', until: since + turn.config.drainTimeoutMs })
}

function advanceStepDown(turn: Turn): void {
  const step = turn.state.term?.stepDown
  if (!step) return
  const to = (stage: StepDown['stage']) =>
    turn.setTerm({ stepDown: { ...step, stage, since: turn.now.mono } })
  const { alive, spare } = turn.state.workload
  const gone = alive === 'no' && !spare
  if (step.stage === 'draining') {
    if (gone) {
      to('releasing')
    } else if (step.drained || turn.now.mono >= step.since + turn.config.drainTimeoutMs) {
      to('stopping')
      turn.emit({ type: 'stop', graceMs: step.graceMs })
    }
  } else if (step.stage === 'stopping' && gone) {
    to('releasing')
  }
}

function request(turn: Turn): void {
  const { state, now } = turn
  const term = state.term as Term
  const releasing = term.stepDown?.stage === 'releasing'
  if (state.inFlight) return
  // The release of a stopped workload need not wait for the next renewal; a failed one is retried like any write.
  const released = releasing && state.unresolved.some((write) => write.kind === 'release')
  const due = now.mono >= state.nextAttemptAt || (releasing && !released)
  if (!due) return
  if (state.mustRead) turn.read()
  else if (releasing) release(turn)
  else turn.write(state.seen?.lease ? 'renew' : 'recreate')
}

function release(turn: Turn): void {
  // Deleted or emptied meanwhile: there is nothing left to give back.
  if (!turn.state.seen?.heldMs) endTerm(turn)
  else turn.write('release')
}

/** The planned end: nothing lives, nothing is held. */
export function endTerm(turn: Turn): void {
  const step = turn.state.term?.stepDown
  if (!step) return
  turn.event('released', step.reason)
  turn.event('stepped_down', step.reason)
  if (step.failed) coolDownAfter(turn)
  turn.set({ term: null, reportedHolder: null })
  turn.decide(`stepped down: ${step.reason}`)
}

function plan(turn: Turn): void {
  const { state, config, now } = turn
  const { term } = state
  if (term === null) return
  const deadline = (term.doubt ? killAt : doubtAt)(config, term.renewedAt)
  turn.wake(now.mono + untilReached(now, deadline))
  if (!state.inFlight) turn.wake(state.nextAttemptAt)
  const step = term.stepDown
  if (step?.stage === 'draining') turn.wake(step.since + config.drainTimeoutMs)
  const left = Math.max(0, untilReached(now, killAt(config, term.renewedAt)))
  turn.decide(sentence(turn, term, left))
}

function sentence(turn: Turn, term: Term, leftMs: number): string {
  const { workload } = turn.state
  const left = `${(leftMs / 1000).toFixed(1)} s left`
  const waits = workload.stopFailed === null ? '' : `; ALARM: ${workload.stopFailed}, so the Lease is kept`
  if (term.stepDown !== null) {
    return `stepping down (${term.stepDown.stage}): ${term.stepDown.reason}${waits}`
  }
  if (term.doubt) return `leadership is in doubt, the workload is stopped or frozen, ${left}`
  if (term.restarting !== null) return `restarting the workload in place: ${term.restarting}${waits}`
  return `holding the Lease in epoch ${term.epoch}, ${left}`
}
