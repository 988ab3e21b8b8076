import type { Instant } from '../clock.ts'
import { CUT_OFF_MS, type WorkloadCause } from '../link/link-messages.ts'
import {
  type EndingInOrder,
  type EndReason,
  emit,
  isEndingByForce,
  isIdle,
  type LauncherRecord,
  type Of,
  report,
  withFacts,
} from './launcher-phase.ts'

const STOP_CHECK_MS = 25
const KILL_AGAIN_MS = 1_000
/**
 * The longest wait of a standby for another replica's start, perhaps on the same node: that replica's clients wait, and
 * a preparation takes as much CPU as a start. The agent ends the wait when the leader serves.
 */
const STANDBY_AFTER_MS = 10_000

/**
 * SIGTERM to the workload, SIGKILL after `graceMs`. If it is called again, the deadline can only move earlier. Before
 * the deadline, LangFlow is ordered to cut off its requests. If it cannot be, a hurried stop has already had that time.
 */
export function endInOrder(
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

export function stopChecked(
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

export function cutOff(record: LauncherRecord, { supported }: Of<'cut off'>, now: Instant): LauncherRecord {
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
export function endByForce(
  record: LauncherRecord,
  reason: EndReason,
  now: Instant,
  cause: WorkloadCause = { kind: 'stopping' },
): LauncherRecord {
  if (isEndingByForce(record) || (isIdle(record) && reason !== 'remains')) return record
  const begun = { name: 'ending', manner: 'by force', reason, since: now.mono } as const
  const ending = { ...record, phase: { ...begun, unstoppable: false } }
  const reported = record.phase.name === 'ending' ? ending : report(ending, cause)
  return emit(abandonStart(reported, record), { type: 'kill', afterMs: 0 })
}

export function killed(record: LauncherRecord, { left }: Of<'killed'>, now: Instant): LauncherRecord {
  const { phase } = record
  if (phase.name !== 'ending' || phase.manner === 'in order') return record
  if (left === null) return rest(record, { kind: 'killed', durationMs: now.mono - phase.since })
  const unstoppable = { ...record, phase: { ...phase, unstoppable: true } }
  const reported = report(unstoppable, { kind: 'stop_failed', reason: left })
  return emit(reported, { type: 'kill', afterMs: KILL_AGAIN_MS })
}

/** For a start that still waits for its standby, which counts as the workload from the order to start. */
function abandonStart(record: LauncherRecord, { phase }: LauncherRecord): LauncherRecord {
  const waits = phase.name === 'preparing' || (phase.name === 'frozen' && phase.from === 'preparing')
  return waits ? emit(record, { type: 'discard standby' }) : record
}

export function rest(record: LauncherRecord, cause: WorkloadCause): LauncherRecord {
  const idle: LauncherRecord = { ...record, phase: { name: 'idle' } }
  const cleared = withFacts(idle, { loss: null, pid: null, orderedAt: null, servedSince: null })
  return exitIfIdle(report(prepareStandby(emit(cleared, { type: 'rest' })), cause))
}

export function prepareStandby(record: LauncherRecord): LauncherRecord {
  if (!isIdle(record) || record.leaving !== null) return record
  return emit(record, { type: 'prepare standby', afterMs: STANDBY_AFTER_MS })
}

export function leave(record: LauncherRecord, defect: string | null): LauncherRecord {
  if (record.leaving !== null) return record
  const leaving = defect === null ? 0 : 1
  return exitIfIdle(emit({ ...record, leaving }, { type: 'announce end', defect }))
}

export function exitIfIdle(record: LauncherRecord): LauncherRecord {
  const { leaving } = record
  return leaving === null || !isIdle(record) ? record : emit(record, { type: 'exit', code: leaving })
}
