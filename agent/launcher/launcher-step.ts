import { type Instant, reached, untilReached } from '../clock.ts'
import { CUT_OFF_MS, type Grant, type WorkloadCause } from '../link/link-messages.ts'
import type { EndingInOrder, EndReason, LauncherEvent, LauncherRecord, Of } from './launcher-phase.ts'
import { emit, isEndingByForce, isIdle, report, withFacts } from './launcher-phase.ts'

/** While a workload lives. */
const CLOCK_CHECK_MS = 100
/** Time from the first SIGSTOP after which every process has stopped, and none is being forked any more. */
const FREEZE_SETTLES_MS = 1_000
/** The number of checks in a row that may find a process awake after that. */
const AWAKE_LOOKS = 2
const STOP_CHECK_MS = 25
const KILL_AGAIN_MS = 1_000
/**
 * The longest wait of a standby for another replica's start, perhaps on the same node: that replica's clients wait, and
 * a preparation takes as much CPU as a start. The agent ends the wait when the leader serves.
 */
const STANDBY_AFTER_MS = 10_000

type Step<Type extends LauncherEvent['type']> = (
  record: LauncherRecord,
  event: Of<Type>,
  now: Instant,
  /** Time from SIGTERM to SIGKILL if no agent decides. */
  stopTimeoutMs: number,
) => LauncherRecord

/**
 * Decides whether the workload may run. Takes one event in and returns the next record, with the effects to carry out.
 * A pure function: the launcher runs its effects, and the simulation runs it under a virtual clock.
 *
 * The right to run depends on the agent, but its end does not: the deadman freezes and kills by the clocks alone.
 */
export function step(
  { stopTimeoutMs }: { readonly stopTimeoutMs: number },
  before: LauncherRecord,
  event: LauncherEvent,
  now: Instant,
): LauncherRecord {
  const decide = STEPS[event.type] as Step<LauncherEvent['type']>
  return decide({ ...before, effects: [] }, event, now, stopTimeoutMs)
}

const STEPS: { readonly [Type in LauncherEvent['type']]: Step<Type> } = {
  // 1. Messages of the agent.
  met: meet,
  grant: accept,
  start,
  healthy: serve,
  prepare: (record) => (isIdle(record) ? emit(record, { type: 'prepare standby', afterMs: 0 }) : record),
  stop,
  kill,

  // 2. The deadman.
  clock: (record, _, now) => watchClocks(record, now),
  frozen: foundAwake,
  'signal failed': (record, { reason }, now) => giveUp(record, reason, now),

  // 3. The workload, from the order to start until its last process has ended.
  prepared,
  launched,
  'launch failed': launchFailed,
  lost,
  exited,
  'stop checked': stopChecked,
  'cut off': cutOff,
  killed,

  // 4. The end of the launcher itself.
  leave: (record, { defect }) => leave(record, defect),
  orphaned(record, _, now) {
    return exitIfIdle(kill({ ...record, leaving: record.leaving ?? 0 }, { type: 'kill' }, now))
  },
  'link down'(record, _, now, stopTimeoutMs) {
    // Without an agent, nothing can drain and hand over. The deadman would have the same result later.
    if (record.leaving === null || isIdle(record)) return record
    return stop(record, { graceMs: stopTimeoutMs }, now)
  },
}

// 1. Messages of the agent.

/** Remains of an earlier launcher are killed before this one counts as idle. This one leaves none itself. */
function meet(before: LauncherRecord, { remains }: Of<'met'>, now: Instant): LauncherRecord {
  const met = { ...before, met: true }
  const record = remains ? endByForce(met, 'remains', now) : prepareStandby(met)
  // The standby comes first: until it is put off, it would count as prepared.
  return report(record, { kind: 'met' })
}

function accept(before: LauncherRecord, { grant }: Of<'grant'>, now: Instant): LauncherRecord {
  const { grant: held, refusing, phase } = before
  // A grant that is repeated after the link was down changes nothing.
  const isInForce = grant.epoch === held?.epoch && grant.killAt.mono === held.killAt.mono
  const refused = isInForce ? null : refusalOf(before, grant, now)
  if (refused !== null)
    return report({ ...before, refusing: true }, { kind: 'grant_refused', reason: refused })
  const granted = { ...before, refusing: false, grant: isInForce ? held : grant }
  const record = refusing ? report(granted, { kind: 'grant_accepted' }) : granted
  if (phase.name !== 'frozen' || !mayExecute(record, now)) return watchClocks(record, now)
  const thawed = emit({ ...record, phase: { name: phase.from } }, { type: 'thaw' })
  return watchClocks(report(thawed, { kind: 'thawed' }), now)
}

/** Why a grant cannot replace the one in force. */
function refusalOf(record: LauncherRecord, grant: Grant, now: Instant): string | null {
  const { grant: held, closedEpoch, facts } = record
  if (grant.epoch <= closedEpoch || (held !== null && grant.epoch < held.epoch))
    return `epoch ${grant.epoch} is over`
  if (held !== null && grant.epoch === held.epoch && grant.killAt.mono < held.killAt.mono)
    return 'it is older than the present grant'
  if (reached(now, grant.killAt)) return 'it has expired'
  // The epoch of an earlier launcher's remains is unknown.
  if (isIdle(record) || facts.epoch === null || facts.epoch === grant.epoch) return null
  return `processes of epoch ${facts.epoch} are still alive`
}

function start(record: LauncherRecord, { epoch }: Of<'start'>, now: Instant): LauncherRecord {
  const { grant, leaving } = record
  if (leaving !== null) return report(record, { kind: 'start_refused', reason: 'the launcher is ending' })
  if (grant?.epoch !== epoch || !mayExecute(record, now) || !isIdle(record))
    return report(record, { kind: 'start_refused', reason: `no grant of epoch ${epoch} is in force` })
  const facts = { ...record.facts, epoch, identity: grant.identity, orderedAt: now.mono }
  const begun: LauncherRecord = { ...record, phase: { name: 'preparing' }, start: record.start + 1, facts }
  return emit(begun, { type: 'prepare', start: begun.start })
}

function serve(record: LauncherRecord, _: Of<'healthy'>, now: Instant): LauncherRecord {
  const { orderedAt, servedSince, loss } = record.facts
  return withFacts(record, {
    servedSince: orderedAt === null ? servedSince : (servedSince ?? now.mono),
    // LangFlow's master has created another worker. No process creates another master.
    loss: loss?.role === 'worker' ? null : loss,
  })
}

/** A repeated stop can only be earlier. A workload that is frozen or in doubt must not execute, so it is killed. */
function stop(record: LauncherRecord, { graceMs }: Omit<Of<'stop'>, 'type'>, now: Instant): LauncherRecord {
  if (isIdle(record)) return report(record, { kind: 'nothing' })
  if (record.phase.name === 'frozen' || !mayExecute(record, now)) return endByForce(record, 'order', now)
  return endInOrder(record, 'order', graceMs, now)
}

function kill(record: LauncherRecord, _: Of<'kill'>, now: Instant): LauncherRecord {
  const closedEpoch = Math.max(record.closedEpoch, record.grant?.epoch ?? record.closedEpoch)
  return endByForce({ ...record, closedEpoch, grant: null }, 'order', now)
}

// 2. The deadman.

/** Not without a grant, not in doubt, and not after the grant's end by the wall clock alone. */
function mayExecute({ grant }: LauncherRecord, now: Instant): boolean {
  return grant !== null && !reached(now, grant.doubtAt) && now.wall < grant.killAt.wall
}

/** Runs at each deadline of the grant and in between: when a suspended machine wakes up, its timers have not fired. */
function watchClocks(before: LauncherRecord, now: Instant): LauncherRecord {
  const { grant, phase } = before
  if (grant === null || isIdle(before)) return before
  if (reached(now, grant.killAt)) return fire(before, now)
  const doubt = reached(now, grant.doubtAt)
  const left = untilReached(now, doubt ? grant.killAt : grant.doubtAt)
  const afterMs = Math.min(CLOCK_CHECK_MS, Math.max(0, left))
  const record = emit(before, { type: 'check clocks', afterMs })
  // The wall clock alone may be wrong, so it only freezes the workload until the agent has renewed.
  if (doubt || now.wall >= grant.killAt.wall) return suspend(record, grant, doubt, now)
  // If the serving processes are gone, the agent decides the next step: it closes the gate first.
  return phase.name === 'running' ? emit(record, { type: 'check serving' }) : record
}

function fire(record: LauncherRecord, now: Instant): LauncherRecord {
  // A newer grant of the same epoch may follow.
  const over = { ...record, grant: null }
  if (isEndingByForce(over)) return over
  return endByForce(report(over, { kind: 'deadman', reason: 'the grant is over' }), 'grant over', now)
}

function suspend(record: LauncherRecord, grant: Grant, doubt: boolean, now: Instant): LauncherRecord {
  const { phase } = record
  if (phase.name === 'idle') return record
  if (phase.name === 'ending') {
    // A frozen workload could not end, and continuing would be execution. This holds by either clock.
    const over = now.wall >= grant.killAt.wall
    if (phase.reason === 'doubt' && !over) return record
    return giveUp(record, 'leadership is in doubt while stopping', now)
  }
  // Freeze again: a process forked during the first freeze may have been missed.
  if (phase.name === 'frozen') return emit(record, { type: 'freeze', at: now.mono })
  if (grant.onDoubt === 'freeze' || !doubt) return freeze(record, phase.name, now)
  const reported = report(record, { kind: 'deadman', reason: 'leadership is in doubt' })
  return endInOrder(reported, 'doubt', grant.killAt.mono - now.mono, now)
}

function freeze(record: LauncherRecord, from: 'preparing' | 'running', now: Instant): LauncherRecord {
  const phase = { name: 'frozen', from, since: now.mono, awakeLooks: 0 } as const
  return report(emit({ ...record, phase }, { type: 'freeze', at: now.mono }), { kind: 'frozen' })
}

function foundAwake(record: LauncherRecord, { at, awake }: Of<'frozen'>, now: Instant): LauncherRecord {
  const { phase } = record
  if (phase.name !== 'frozen') return record
  const isSettled = at - phase.since >= FREEZE_SETTLES_MS
  const awakeLooks = isSettled && awake > 0 ? phase.awakeLooks + 1 : 0
  const next = { ...record, phase: { ...phase, awakeLooks } }
  return awakeLooks < AWAKE_LOOKS ? next : giveUp(next, 'the workload does not stay frozen', now)
}

function giveUp(record: LauncherRecord, reason: string, now: Instant): LauncherRecord {
  if (isEndingByForce(record) || isIdle(record)) return record
  return endByForce(report(record, { kind: 'deadman', reason }), 'doubt', now)
}

// 3. The workload, from the order to start until its last process has ended.

function prepared(record: LauncherRecord, { start, holder }: Of<'prepared'>, now: Instant): LauncherRecord {
  const { grant, phase } = record
  if (!isUnderWay(record, start)) return record
  if (holder !== null) return refuse(record, holder, now)
  if (grant === null || phase.name === 'frozen' || !mayExecute(record, now))
    return refuse(record, 'the grant ended before the start', now)
  return emit(record, { type: 'launch', start, grant })
}

function launched(before: LauncherRecord, { start, pid }: Of<'launched'>, now: Instant): LauncherRecord {
  if (start !== before.start || isIdle(before)) return before
  const record = withFacts(before, { pid })
  // The workload has already ended, or must end.
  if (isEndingByForce(record)) return record
  const { phase } = record
  const begun = emit(
    phase.name === 'ending'
      ? emit(record, { type: 'terminate' }) // the order to end could not reach the process before
      : { ...record, phase: phase.name === 'frozen' ? { ...phase, from: 'running' } : { name: 'running' } },
    { type: 'watch serving', pid },
  )
  return watchClocks(report(begun, { kind: 'started' }), now)
}

function launchFailed(record: LauncherRecord, failed: Of<'launch failed'>, now: Instant): LauncherRecord {
  const { reason } = failed
  if (!isUnderWay(record, failed.start)) return record
  if (failed.gone || record.phase.name === 'frozen') return refuse(record, reason, now)
  // The start failed after the process existed, for example because no file descriptor was left to examine it.
  return endByForce(record, 'failed start', now, { kind: 'start_refused', reason })
}

function refuse(record: LauncherRecord, reason: string, now: Instant): LauncherRecord {
  // If its standby is stopped now, it would never resume.
  if (record.phase.name === 'frozen') return endByForce(record, 'failed start', now)
  return rest(record, { kind: 'start_refused', reason })
}

function lost(record: LauncherRecord, { loss }: Of<'lost'>): LauncherRecord {
  return record.phase.name === 'running'
    ? report(withFacts(record, { loss }), { kind: 'serving_lost', loss })
    : record
}

function exited(record: LauncherRecord, { start, exit }: Of<'exited'>, now: Instant): LauncherRecord {
  if (start !== record.start || isIdle(record) || isEndingByForce(record)) return record
  // The first process can no longer pass the signal on to the others.
  if (record.phase.name === 'ending') return emit(record, { type: 'terminate' })
  const ended = endByForce(record, 'exit', now, { kind: 'exited', ...exit })
  return exit.unreaped
    ? leave(ended, 'tini was killed, so ended processes of LangFlow are no longer reaped')
    : ended
}

/** Whether this start is the last one, and is neither over nor ending, which is reported separately. */
function isUnderWay({ phase, start }: LauncherRecord, of: number): boolean {
  return start === of && phase.name !== 'idle' && phase.name !== 'ending'
}

// 4. The end of the workload, and of the launcher itself.

/**
 * SIGTERM to the workload, SIGKILL after `graceMs`. If it is called again, the deadline can only move earlier. Before
 * the deadline, LangFlow is ordered to cut off its requests. If it cannot be, a hurried stop has already had that time.
 */
function endInOrder(
  record: LauncherRecord,
  reason: EndReason,
  graceMs: number,
  now: Instant,
): LauncherRecord {
  const { phase } = record
  const stopDeadline = now.mono + graceMs
  if (phase.name === 'ending') {
    if (phase.manner === 'by force') return record
    const hurried = phase.hurried || graceMs <= CUT_OFF_MS
    const earlier = Math.min(phase.stopDeadline, stopDeadline)
    return { ...record, phase: { ...phase, stopDeadline: earlier, hurried } }
  }
  const begun = { name: 'ending', manner: 'in order', reason, since: now.mono } as const
  const ending: EndingInOrder = { ...begun, stopDeadline, hurried: false, cutOff: false }
  const reported = abandonStart(report({ ...record, phase: ending }, { kind: 'stopping' }), record)
  return emit(emit(reported, { type: 'terminate' }), { type: 'check stop', start: record.start, afterMs: 0 })
}

function stopChecked(
  record: LauncherRecord,
  { start, gone }: Of<'stop checked'>,
  now: Instant,
): LauncherRecord {
  const { phase } = record
  if (start !== record.start || phase.name !== 'ending' || phase.manner === 'by force') return record
  if (gone) return rest(record, { kind: 'stopped', durationMs: now.mono - phase.since })
  if (phase.cutOff || now.mono < phase.stopDeadline - CUT_OFF_MS) return checkStopAgain(record, phase, now)
  return emit({ ...record, phase: { ...phase, cutOff: true } }, { type: 'cut off' })
}

function cutOff(record: LauncherRecord, { supported }: Of<'cut off'>, now: Instant): LauncherRecord {
  const { phase } = record
  if (phase.name !== 'ending' || phase.manner === 'by force') return record
  if (supported || !phase.hurried) return checkStopAgain(record, phase, now)
  const stopDeadline = Math.min(phase.stopDeadline, phase.since + CUT_OFF_MS)
  return checkStopAgain(record, { ...phase, stopDeadline }, now)
}

function checkStopAgain(before: LauncherRecord, phase: EndingInOrder, now: Instant): LauncherRecord {
  const record = { ...before, phase }
  const left = phase.stopDeadline - now.mono
  if (left <= 0) return endByForce(record, phase.reason, now)
  const afterMs = Math.min(STOP_CHECK_MS, left)
  return emit(record, { type: 'check stop', start: record.start, afterMs })
}

/** Repeats SIGKILL until no process is alive and the port is free. An alarm lasts while that fails. */
function endByForce(
  record: LauncherRecord,
  reason: EndReason,
  now: Instant,
  cause: WorkloadCause = { kind: 'stopping' },
): LauncherRecord {
  if (isEndingByForce(record) || (isIdle(record) && reason !== 'remains')) return record
  const begun = { name: 'ending', manner: 'by force', reason, since: now.mono } as const
  const ending = { ...record, phase: { ...begun, unstoppable: false } }
  const reported = record.phase.name === 'ending' ? ending : report(ending, cause)
  return emit(abandonStart(reported, record), {
    type: 'kill',
    afterMs: 0,
    isUrgent: !mayExecute(record, now),
  })
}

function killed(record: LauncherRecord, { left }: Of<'killed'>, now: Instant): LauncherRecord {
  const { phase } = record
  if (phase.name !== 'ending' || phase.manner === 'in order') return record
  if (left === null) return rest(record, { kind: 'killed', durationMs: now.mono - phase.since })
  const unstoppable = { ...record, phase: { ...phase, unstoppable: true } }
  const reported = report(unstoppable, { kind: 'stop_failed', reason: left })
  return emit(reported, { type: 'kill', afterMs: KILL_AGAIN_MS, isUrgent: true })
}

/** For a start that still waits for its standby, which counts as the workload from the order to start. */
function abandonStart(record: LauncherRecord, { phase }: LauncherRecord): LauncherRecord {
  const waits = phase.name === 'preparing' || (phase.name === 'frozen' && phase.from === 'preparing')
  return waits ? emit(record, { type: 'discard standby' }) : record
}

function rest(record: LauncherRecord, cause: WorkloadCause): LauncherRecord {
  const idle: LauncherRecord = { ...record, phase: { name: 'idle' } }
  const cleared = withFacts(idle, { loss: null, pid: null, orderedAt: null, servedSince: null })
  return exitIfIdle(report(prepareStandby(emit(cleared, { type: 'rest' })), cause))
}

function prepareStandby(record: LauncherRecord): LauncherRecord {
  if (!isIdle(record) || record.leaving !== null) return record
  return emit(record, { type: 'prepare standby', afterMs: STANDBY_AFTER_MS })
}

function leave(record: LauncherRecord, defect: string | null): LauncherRecord {
  if (record.leaving !== null) return record
  const leaving = defect === null ? 0 : 1
  return exitIfIdle(emit({ ...record, leaving }, { type: 'announce end', defect }))
}

function exitIfIdle(record: LauncherRecord): LauncherRecord {
  const { leaving } = record
  return leaving === null || !isIdle(record) ? record : emit(record, { type: 'exit', code: leaving })
}
