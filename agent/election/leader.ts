import { type Instant, reached, untilReached } from '../clock.ts'
import { epochOf, holderOf, type Lease, looksNeverHeld } from '../lease/lease.ts'
import type { StartPhases } from '../lease/lease-history.ts'
import {
  ANY_POD,
  describeAsked,
  pauseOf,
  RESTART,
  requestOf,
  targetFault,
} from '../lease/operator-annotations.ts'
import type { EndedBecause } from '../lease/reasons.ts'
import { served } from '../lease/written-lease.ts'
import type { Grant } from '../link/link-messages.ts'
import {
  acknowledgedMembers,
  beginRound,
  describeConsent,
  leadsByConsent,
  NO_CONSENT,
  roundDueAt,
} from './consent.ts'
import { contentChange } from './content-change.ts'
import { sendRead, sendWrite } from './lease-requests.ts'
import { isBefore, isStillDue, mayWait } from './quiet-moment.ts'
import { failedTrial, trialEnds } from './revision-trial.ts'
import type {
  CandidateConfig,
  CandidateState,
  Failure,
  Free,
  Held,
  Input,
  Leading,
  MonoMs,
  Refusal,
  StepDown,
  StepDownReason,
  SteppingDown,
  Term,
  Why,
  Write,
} from './state.ts'
import { decide, doubtAt, emit, endingOf, event, kill, killAt, NEVER, openRequest } from './state.ts'

/** Clock synchronisation slews small errors. A step of more than this is a jump. */
const WALL_JUMP_MS = 1_000
/** After a term of this many lease durations, a failure does not count as a repetition of an earlier one. */
const GOOD_TERM_LEASES = 4
const LONGEST_COOL_DOWN_MS = 60_000
const FAILOVER_GRACE_MS = 2_000
export const USED_BY_ANOTHER = {
  code: 'identity_taken',
  reason:
    'another process acquired the Lease with this replica’s identity: give each replica its own --identity',
} as const

/** The holder: renew, doubt, lose, or step down in the planned order. */
export function lead(input: Input, before: Held): CandidateState {
  const { config, now } = input
  const over = lostByTime(input, before)
  if (over !== null) return lose(input, before, over)

  // From the renew deadline on, leadership is in doubt and renewing is urgent.
  let state: Held = before
  if (!state.term.doubt && reached(now, doubtAt(config, state.term.renewedAt))) {
    const nextAttemptAt = Math.min(state.nextAttemptAt, now.mono + config.retryPeriodMs / 4)
    const reason =
      state.writeProblem ?? state.readProblem ?? 'no renewal was acknowledged by the renew deadline'
    const why = { code: 'no_renewal', reason } as const
    state = event(withTerm({ ...state, nextAttemptAt }, { doubt: true }), 'doubt', why)
  }

  // If the wall clock jumped forward, the machine may have been paused, and its other clocks may not show it. Send a
  // request immediately, but only once for each jump, so that failed attempts keep their pauses.
  const { attemptedAt } = state
  const jumpMs = attemptedAt === null ? 0 : now.wall - attemptedAt.wall - (now.mono - attemptedAt.mono)
  if (attemptedAt !== null && jumpMs > WALL_JUMP_MS) {
    const noticed = { ...attemptedAt, wall: attemptedAt.wall + jumpMs }
    state = { ...state, nextAttemptAt: now.mono, attemptedAt: noticed }
  }

  if (state.phase === 'leading' && state.workload.ending) state = whenQuiet(input, state, CONTAINER_ENDING)
  if (state.phase === 'leading') state = awaitQuiet(input, state)
  if (state.phase === 'leading') {
    const { term, workload } = state
    if (now.mono >= trialEnd(state)) {
      const seconds = Math.round((now.mono - term.startedAt) / 1000)
      const reason = `LangFlow was not healthy ${seconds} s after its replica took the Lease`
      state = blame(input, state, { code: 'start_timeout', reason })
    } else if (!term.startOrdered && !term.doubt && workload.canRun)
      state = orderStart(withTerm(state, { startOrdered: true }))
    else state = obey(input, state)
  }

  if (state.phase === 'stepping down') state = advance(input, state)
  if (state.phase === 'stepping down') state = close(input, state)

  if (now.mono >= roundDueAt(input, state)) state = beginRound(input, state)
  const next = request(input, state)
  return next.term === null ? next : plan(input, next)
}

/**
 * Obeys an operator's request, or starts LangFlow again for changed files. A failover and a restart depend on
 * the Lease only, so they also work if this replica's HTTP server and LangFlow hang. `peers/` decides switchovers.
 */
function obey(input: Input, state: Leading): Held {
  const { config, now } = input
  const { term, paused } = state
  const request = openRequest(state)
  const isRestart = request?.what === 'restart'
  const waits = term.doubt || (isRestart && (term.restartAnswered || !term.startOrdered))
  if (request === null || request.what === 'switchover' || waits) {
    const change = contentChange(config, state)
    return change !== null && now.mono >= change.dueAt ? whenQuiet(input, state, change) : state
  }
  const { what, to } = request
  const fault = isRestart ? null : targetFault(config.identity, to)
  const refused = paused ? 'the Lease is paused: resume it first' : fault
  if (refused !== null) return refuse(input, state, { ...request, reason: refused })
  const why = { code: what, reason: describeAsked(request) }
  if (isRestart) return whenQuiet(input, state, { ...why, inPlace: true, now: request.now })
  const target = to === ANY_POD ? null : to
  return beginStepDown(input, state, { ...why, to: target, drainMs: 0, graceMs: FAILOVER_GRACE_MS })
}

export function refuse({ now }: Input, state: Leading, request: Refusal): Leading {
  const { refusal, planned } = state.term
  const isAnswered =
    refusal?.what === request.what && refusal.to === request.to && refusal.reason === request.reason
  // Another program restores the request. Writing faster than renewals would not end that.
  if (refusal?.open && isAnswered) return state
  const refused = {
    planned: planned?.why.code === request.what ? null : planned,
    refusal: { ...request, open: true },
  }
  return withTerm({ ...state, nextAttemptAt: now.mono }, refused)
}

export function noteAnswers(state: Held, lease: Lease): Held {
  const { refusal, restartAnswered } = state.term
  const asked = requestOf(lease)
  const isIt = refusal?.open && asked?.what === refusal.what && asked.to === refusal.to
  const answered = refusal && { ...refusal, open: false }
  return withTerm(state, {
    refusal: asked === null ? answered : isIt ? refusal : null,
    restartAnswered: restartAnswered && lease.metadata.annotations?.[RESTART] !== undefined,
  })
}

function lostByTime({ config, now }: Input, { seen, term }: Held): Why<EndedBecause> | null {
  const deadline = killAt(config, term.renewedAt)
  if (reached(now, deadline)) return { code: 'no_renewal', reason: 'no renewal was acknowledged in time' }
  // After a pause that only the wall clock shows, the Lease may be lost. A compare-and-swap detects that,
  // except if the Lease was deleted, emptied, or re-created by a late creation of an earlier term.
  const lease = seen?.lease ?? null
  const proven = lease !== null && !looksNeverHeld(lease) && epochOf(lease) === term.epoch
  if (proven || now.wall < deadline.wall) return null
  return {
    code: 'lease_gone',
    reason: 'the Lease does not exist, and its duration has passed by the wall clock',
  }
}

export function lostTo({ config }: Input, { term, written }: Held, lease: Lease): Why<EndedBecause> | null {
  const holder = holderOf(lease)
  const other = (reason: string) => ({ code: 'held_by_other', reason }) as const
  if (holder !== config.identity && holder !== '') return other(`the Lease is held by ${holder}`)
  const { renewTime, acquireTime } = lease.spec ?? {}
  if (epochOf(lease) === term.epoch) {
    // An acquisition. A re-created Lease counts epochs from the beginning, so it may have the epoch of this term.
    const acquired = holder !== '' && acquireTime === renewTime && acquireTime !== term.acquireTime
    return acquired && !written.includes(renewTime ?? '') ? USED_BY_ANOTHER : null
  }
  if (holder === '')
    return looksNeverHeld(lease) ? null : other('another replica held the Lease in the meantime')
  // This replica's own creation of an earlier term may arrive late, after a deletion.
  const edited = epochOf(lease) < term.epoch || acquireTime === term.acquireTime
  return edited && written.includes(renewTime ?? '') ? null : USED_BY_ANOTHER
}

/** Ends leadership without consent: kill first, and never release (rule 3). */
export function lose({ now }: Input, state: Held, why: Why<EndedBecause>): Free {
  return { ...withoutTerm(event(kill(state), 'lost', why)), nextAttemptAt: now.mono }
}

export function beginTerm(input: Input, before: Free, write: Write, lease: Lease): CandidateState {
  const { config, now } = input
  if (reached(now, killAt(config, write.sentAt))) return before
  const resumed = write.kind === 'resume'
  const { ending } = before
  const acquireMs = now.mono - write.sentAt.mono
  const epoch = epochOf(lease)
  const noted = before.noted.history.find((term) => term.epoch === epoch)
  const open = noted && { ...noted, ended: null, endedBecause: null, stopMs: null }
  const acquiredRecord = open && { ...open, phases: { ...open.phases, acquireMs } }
  const leading: Leading = {
    ...before,
    phase: 'leading',
    ending: null,
    coolDown: null,
    strangers: 0,
    successor: { identity: null, content: 'none', newer: false },
    reportedHolder: config.identity,
    // An acquisition has removed all requests, so another program restores those that are there.
    requestsStay: before.requestsStay || (!resumed && requestOf(lease) !== null),
    term: {
      epoch,
      acquireTime: lease.spec?.acquireTime ?? write.lease.spec?.renewTime ?? '',
      record: (resumed ? open : acquiredRecord) ?? null,
      writtenAt: write.sentAt,
      renewedAt: write.sentAt,
      consent: NO_CONSENT,
      startedAt: now.mono,
      doubt: false,
      startOrdered: resumed,
      trialUntil: trialEnds(input, before),
      stepDown: null,
      planned: null,
      setAside: null,
      refusal: null,
      restartAnswered: false,
    },
  }
  const acquired = event(leading, 'acquired', write.because ?? {}, {
    acquireMs: Math.round(acquireMs),
    unchangedMs: Math.round(write.unchangedMs),
  })
  const state = emit(acquired, { type: 'grant', grant: grantOf(config, acquired.term) })
  const { canRun, alive, failed } = state.workload
  if (ending !== null)
    return beginStepDown(input, state, { code: 'terminated', reason: ending.reason, ending })
  if (!resumed && !canRun) return beginStepDown(input, state, LAUNCHER_GONE)
  const ended = { code: 'workload_exited', reason: 'LangFlow ended while no agent was connected' } as const
  if (resumed && alive === 'no') return blame(input, state, ended)
  return failed === null ? state : blame(input, state, { code: 'workload_lost', reason: failed })
}

const CONTAINER_ENDING = { code: 'container_ending', reason: 'the LangFlow container is ending' } as const
const LAUNCHER_GONE = { code: 'launcher_gone', reason: 'no launcher is ready to start LangFlow' } as const

function blame(input: Input, state: Leading, why: Why<EndedBecause>): Held {
  return remedyFailure(input, state, { ...why, remedy: 'handover' })
}

function trialEnd({ term, paused }: Held): MonoMs {
  return term.stepDown !== null || paused ? NEVER : (term.trialUntil ?? NEVER)
}

function grantOf(config: CandidateConfig, term: Term): Grant {
  return {
    epoch: term.epoch,
    identity: config.identity,
    doubtAt: doubtAt(config, term.renewedAt),
    killAt: killAt(config, term.renewedAt),
    onDoubt: config.onDoubt,
  }
}

/** A renewal was acknowledged: by compare-and-swap, no other replica has held the Lease since the last one. */
export function renewed(input: Input, before: Held, write: Write): Held {
  const { writtenAt, record: noted } = before.term
  if (write.sentAt.mono <= writtenAt.mono) return before
  const consentMs = (noted?.consentMs ?? 0) + write.sentAt.mono - writtenAt.mono
  const record = leadsByConsent(before.term) && noted ? { ...noted, consentMs } : noted
  const state = withTerm(before, { writtenAt: write.sentAt, record })
  return extend(input, acknowledgedMembers(state, write), write.sentAt)
}

/** No other replica can have taken the Lease before `sentAt`. This may end a doubt. */
export function extend({ config, now }: Input, before: Held, sentAt: Instant): Held {
  if (sentAt.mono <= before.term.renewedAt.mono) return before
  const state = withTerm(before, { renewedAt: sentAt })
  const { renewedAt, doubt } = state.term
  if (reached(now, killAt(config, renewedAt))) return state
  const extended = withTerm(state, { doubt: doubt && reached(now, doubtAt(config, renewedAt)) })
  return emit(extended, { type: 'grant', grant: grantOf(config, extended.term) })
}

/** Before a restart, the workload is stopped, not killed, because a kill ends the grant permanently. */
export function remedyFailure(input: Input, state: Leading, failure: Failure): Held {
  const { remedy, ...why } = failure
  // If the launcher gave up a start during a doubt, that start is still in progress.
  const goesOn = failure.code === 'deadman' && remedy === 'restart'
  if (state.paused && !goesOn) return withTerm(state, { setAside: failure })
  // A leader by consent cannot release the Lease, so no other replica could follow.
  if (remedy === 'handover' && !leadsByConsent(state.term))
    return beginStepDown(input, state, { ...failedTrial(input.config, state, why), failed: true })
  return beginStepDown(input, state, { ...why, failed: true, inPlace: true })
}

export function notePause(input: Input, before: CandidateState): CandidateState {
  const paused = pauseOf(before.seen?.lease ?? null, input.now.wall) !== null
  if (paused === before.paused) return before
  const state = { ...before, paused, resumedAt: paused ? before.resumedAt : input.now.mono }
  if (!paused && state.phase === 'stepping down')
    return withTerm(state, { stepDown: { ...state.term.stepDown, paused } })
  if (paused || state.phase !== 'leading') return state
  const { setAside } = state.term
  const resumed = withTerm(state, { setAside: null })
  const remedied = setAside === null ? resumed : remedyFailure(input, resumed, setAside)
  return remedied.phase === 'leading' ? noticeFailure(input, remedied) : remedied
}

/** The first time in a term, this ends the takeover. */
export function noteHealth({ now }: Input, before: Held, took: StartPhases | null): Held {
  const state = withTerm(before, { trialUntil: null })
  const { record, acquireTime } = state.term
  if (record === null || record.phases.healthyMs !== null) return state
  // If an earlier agent of this pod ordered the start, the start has taken the whole term so far.
  const wholeMs = Math.max(0, now.wall - Date.parse(acquireTime) - record.phases.acquireMs)
  const phases = took ?? { startMs: null, healthyMs: wholeMs }
  return withTerm(state, { record: served(record, phases, state.noted.history) })
}

/** The launcher may have had no agent to report to when the workload ended or stopped serving. */
export function noticeFailure(input: Input, reported: Leading): Held {
  // If the workload has recovered by itself, there is no reason to act.
  const before = reported.workload.well ? withTerm(reported, { setAside: null }) : reported
  const { term, workload, paused } = before
  const { alive, canRun, failed } = workload
  if (paused) return before
  if (alive === 'no' && !term.startOrdered)
    return canRun ? before : beginStepDown(input, before, LAUNCHER_GONE)
  if (alive === 'no' && canRun)
    return blame(input, before, { code: 'workload_exited', reason: 'LangFlow does not run any longer' })
  return failed === null ? before : blame(input, before, { code: 'workload_lost', reason: failed })
}

/** A planned end. The leader serves all requests until no request is in flight, or until the quiet timeout. */
export function whenQuiet(input: Input, before: Leading, why: StepDownReason): Held {
  if (!mayWait(input, before, why)) return beginStepDown(input, before, why)
  const { planned } = before.term
  if (planned !== null && isBefore(why.code, planned.why.code)) return before
  const until = planned?.until ?? input.now.mono + input.config.quietTimeoutMs
  return withTerm(before, { planned: { why, until } })
}

function awaitQuiet(input: Input, state: Leading): Held {
  const { planned } = state.term
  if (planned === null) return state
  const { why, until } = planned
  if (!isStillDue(input, state, why)) return withTerm(state, { planned: null })
  const isTime = input.fact.type === 'quiet' || input.now.mono >= until || !mayWait(input, state, why)
  return isTime ? beginStepDown(input, state, why) : state
}

/** The workload counts as alive from the order on: an end of the term may follow before the supervisor's report. */
function orderStart(state: Leading): Leading {
  const ordered: Leading = { ...state, workload: { ...state.workload, alive: 'yes' } }
  return emit(ordered, { type: 'start', epoch: state.term.epoch })
}

/** Rule 3: close the gate, drain while renewing, stop, confirm the stop, release. */
function beginStepDown(input: Input, before: Leading, why: StepDownReason): SteppingDown {
  const { config, fact, now } = input
  const { code, reason, failed = false, blames = null, to = null, inPlace = false } = why
  const { graceMs = config.stopTimeoutMs, drainMs = config.drainTimeoutMs, ending = endingOf(before) } = why
  const closedAt = now.mono
  const drainDeadline = closedAt + drainMs
  const served = before.workload.well && !failed && fact.type !== 'quiet'
  const begun = { stage: 'draining', closedAt, drainDeadline, served, closingWrite: null } as const
  const stepDown = { code, reason, failed, blames, graceMs, to, paused: before.paused, inPlace, ...begun }
  // The next write removes the request for a restart.
  const restartAnswered = before.term.restartAnswered || code === 'restart'
  const nextAttemptAt = code === 'restart' ? closedAt : before.nextAttemptAt
  const term = { ...before.term, planned: null, setAside: null, stepDown, restartAnswered }
  const state: SteppingDown = { ...before, phase: 'stepping down', term, ending, nextAttemptAt }
  const begins = event(state, 'draining', { code, reason })
  const restarts = inPlace ? emit(begins, { type: 'restart', code, reason }) : begins
  const streamGraceMs = config.front === null ? 0 : config.streamGraceMs
  return emit(restarts, { type: 'drain', drainDeadline, graceMs: streamGraceMs })
}

function advance({ fact, now }: Input, state: SteppingDown): Held {
  const { stepDown, doubt } = state.term
  const to = (stage: StepDown['stage']) => withTerm(state, { stepDown: { ...stepDown, stage } })
  const gone = state.workload.alive === 'no'
  // After a release, another replica may lead already, also if its answer is late or lost.
  const isReleasing = [state.pending, ...state.unresolved].some((write) => write?.kind === 'release')
  if (gone && stepDown.inPlace && !isReleasing && state.workload.canRun && state.ending === null) {
    // A request that came during the stop is met by the same start.
    const restartAnswered = state.seen?.lease?.metadata.annotations?.[RESTART] !== undefined
    const term = { ...state.term, stepDown: null, startOrdered: !doubt, restartAnswered }
    const again: Leading = { ...state, phase: 'leading', ending: null, term }
    return doubt ? again : orderStart(again)
  }
  if (gone && stepDown.inPlace && leadsByConsent(state.term)) return state
  if (gone && stepDown.stage !== 'releasing') return to('releasing')
  const drained = fact.type === 'drained' || now.mono >= stepDown.drainDeadline
  if (stepDown.stage !== 'draining' || !drained) return state
  return emit(to('stopping'), { type: 'stop', graceMs: stepDown.graceMs })
}

/** After the streams' grace, or when LangFlow is being stopped, all fronts must hold. */
function close({ config, now }: Input, state: SteppingDown): SteppingDown {
  const { stepDown } = state.term
  const holds = stepDown.stage !== 'draining' || now.mono >= graceEnds(config, stepDown)
  if (!holds || stepDown.closingWrite !== null) return state
  return withTerm(state, { stepDown: { ...stepDown, closingWrite: state.nextWriteId } })
}

function graceEnds({ streamGraceMs }: CandidateConfig, { closedAt, served }: StepDown): number {
  return closedAt + (served ? streamGraceMs : 0)
}

/** If the workload failed here, this replica waits longer after each failure, so that another one gets its chance. */
export function endTerm({ config, now }: Input, state: SteppingDown): Free {
  const { stepDown, startedAt } = state.term
  const { code, reason } = stepDown
  const ended = event(event(state, 'released', { code, reason }), 'stepped_down', { code, reason })
  const free = { ...withoutTerm(ended), reportedHolder: null }
  if (code === 'switchover' || code === 'failover') {
    // This replica observes its own release before the others do.
    const until = now.mono + 2 * config.retryPeriodMs
    return { ...free, coolDown: { until, after: 'after it handed over' } }
  }
  if (!stepDown.failed) return free
  const good = now.mono - startedAt > GOOD_TERM_LEASES * config.leaseDurationMs
  const failures = good ? 1 : state.failures + 1
  const ms = Math.min(config.retryPeriodMs * 2 ** Math.min(failures, 10), LONGEST_COOL_DOWN_MS)
  return { ...free, failures, coolDown: { until: now.mono + ms, after: 'after LangFlow failed here' } }
}

function request(input: Input, state: Held): CandidateState {
  const { inFlight, unresolved, nextAttemptAt, mustRead, readProblem, seen } = state
  const releasing = state.phase === 'stepping down' && state.term.stepDown.stage === 'releasing'
  // The release of a stopped workload need not wait for the next renewal. A failed one is retried like any write.
  const tried = unresolved.some((write) => write.kind === 'release') || (mustRead && readProblem !== null)
  const due = input.now.mono >= nextAttemptAt || (releasing && !tried) || isClosingUnwritten(input, state)
  if (inFlight || !due) return state
  if (mustRead) return sendRead(input, state)
  if (!releasing) return sendWrite(input, state, 'renew')
  // The Lease was deleted or emptied, so there is nothing to release.
  return seen?.heldMs ? sendWrite(input, state, 'release') : endTerm(input, state)
}

/** Until then, the other fronts send requests, which this front would refuse. */
function isClosingUnwritten({ config }: Input, { mustRead, nextWriteId, term: { stepDown } }: Held): boolean {
  return config.front !== null && !mustRead && stepDown?.closingWrite === nextWriteId
}

function plan(input: Input, state: Held): Held {
  const { config, now } = input
  const { term, inFlight, nextAttemptAt, workload } = state
  const { stepDown, planned, doubt, epoch, renewedAt } = term
  const deadline = (doubt ? killAt : doubtAt)(config, renewedAt)
  const wakeAt = Math.min(
    now.mono + untilReached(now, deadline),
    inFlight ? NEVER : nextAttemptAt,
    roundDueAt(input, state),
    trialEnd(state),
    term.planned?.until ?? contentChange(config, state)?.dueAt ?? NEVER,
    stepDown?.stage === 'draining' ? stepDown.drainDeadline : NEVER,
    stepDown?.closingWrite === null ? graceEnds(config, stepDown) : NEVER,
  )
  const leftMs = Math.max(0, untilReached(now, killAt(config, renewedAt)))
  const left = `${(leftMs / 1000).toFixed(1)} s until LangFlow is killed`
  const waits = workload.stopFailed === null ? '' : `; ALARM: ${workload.stopFailed}, so the Lease is kept`
  const what = stepDown?.inPlace ? 'restarting LangFlow in place' : 'stepping down'
  if (stepDown !== null)
    return decide(state, `${what} (${stepDown.stage}): ${stepDown.reason}${waits}`, wakeAt)
  if (doubt)
    return decide(
      state,
      `leadership is in doubt${term.consent.problem}, LangFlow is frozen or stopped, ${left}`,
      wakeAt,
    )
  const waiting =
    planned &&
    `; waiting for a quiet moment, at most ${((planned.until - now.mono) / 1000).toFixed(1)} s: ${planned.why.reason}`
  const consent = describeConsent(config, now, term)
  const holding = consent ?? `holding the Lease in epoch ${epoch}`
  return decide(state, `${holding}, ${left}${waiting ?? ''}`, wakeAt)
}

function withTerm<S extends Held>(state: S, patch: Partial<S['term']>): S {
  return { ...state, term: { ...state.term, ...patch } }
}

function withoutTerm(state: Held): Free {
  const ending = endingOf(state)
  const free = { ...state, term: null }
  return ending === null
    ? { ...free, phase: 'follower', ending }
    : { ...free, phase: 'ending', ending, exited: false }
}
