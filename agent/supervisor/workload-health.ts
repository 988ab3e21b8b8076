import type { WorkloadView } from '../link/link-messages.ts'
import {
  emit,
  failItself,
  type Health,
  isUnserved,
  report,
  type StepInput,
  send,
  type WorkloadRecord,
} from './workload-phase.ts'

/** Interval between two reports of a start that takes too long. */
const START_OVERDUE_MS = 5_000

/** A start was ordered. Its time without service counts from now. */
export function ordered(input: StepInput, before: WorkloadRecord): WorkloadRecord {
  const { now } = input
  const ordered = { servedSince: null, hangs: false, orderedAt: now, phaseBegan: now }
  return limitStart(input, withHealth(before, ordered))
}

/** A launcher connected with a running LangFlow. The values that it kept from an earlier agent count. */
export function found(
  input: StepInput,
  before: WorkloadRecord,
  { orderedAt, servedSince }: WorkloadView,
): WorkloadRecord {
  const known = before.health.servedSince ?? servedSince
  return watch(input, withHealth(before, { orderedAt: orderedAt ?? input.now, servedSince: known }))
}

export function started(input: StepInput, before: WorkloadRecord): WorkloadRecord {
  const startMs = input.now - (before.health.phaseBegan ?? input.now)
  const record = withHealth(before, { startMs, phaseBegan: input.now })
  return watch(input, emit(record, { type: 'measured', what: 'start', ms: startMs }))
}

/**
 * A LangFlow that served before is allowed as many failures as while it serves. One that starts is allowed the rest of
 * its start.
 */
export function watch(input: StepInput, before: WorkloadRecord): WorkloadRecord {
  const { healthy, servedSince } = before.health
  const from = healthy ? 'healthy' : servedSince === null ? 'starting' : 'served'
  const record = servedSince === null ? limitStart(input, before) : before
  return emit(record, { type: 'probe', from })
}

/** LangFlow may have stopped serving. It does not count as healthy until it answers again. */
export function recheck(input: StepInput, before: WorkloadRecord): WorkloadRecord {
  return before.health.healthy ? watch(input, withHealth(before, { healthy: false })) : before
}

/** A frozen LangFlow cannot answer. After a thaw it is as healthy as before. */
export function pause(before: WorkloadRecord): WorkloadRecord {
  return emit(before, { type: 'stop_probe' }, { type: 'disarm', deadline: 'start_overdue' })
}

/** LangFlow is no longer probed, and does not count as healthy. */
export function unwatch(before: WorkloadRecord): WorkloadRecord {
  const record = pause(before)
  return record.health.healthy ? emit(withHealth(record, { healthy: false }), { type: 'changed' }) : record
}

export function becameHealthy({ now }: StepInput, before: WorkloadRecord): WorkloadRecord {
  const { phaseBegan, startMs, servedSince } = before.health
  // If a restarted agent found LangFlow running, this takeover did not start it.
  const took = phaseBegan === null ? null : { startMs, healthyMs: now - phaseBegan }
  const healthy = { healthy: true, hangs: false, servedSince: servedSince ?? now, phaseBegan: null }
  const { view } = before
  let record: WorkloadRecord = {
    ...withHealth(before, healthy),
    servedEpoch: view.epoch,
    view: isUnserved(before) ? { ...view, loss: null } : view,
  }
  record = emit(record, { type: 'disarm', deadline: 'start_overdue' })
  if (took !== null) record = emit(record, { type: 'measured', what: 'healthy', ms: took.healthyMs })
  // Sent each time that LangFlow becomes healthy. The launcher keeps the first.
  record = send(record, { type: 'healthy' })
  return report(emit(record, { type: 'tell', fact: { type: 'workload_healthy', took } }))
}

export function becameUnhealthy(
  input: StepInput,
  before: WorkloadRecord,
  { reason, hangs }: { readonly reason: string; readonly hangs: boolean },
): WorkloadRecord {
  const why = { code: 'workload_unhealthy', reason: `LangFlow is unhealthy: ${reason}` } as const
  return report(failItself(input, withHealth(before, { healthy: false, hangs }), why))
}

/** Reported repeatedly: a leader that is paused, or has taken its grant back since, may not have acted on it. */
export function startOverdue(input: StepInput, before: WorkloadRecord): WorkloadRecord {
  const seconds = input.config.startTimeoutMs / 1000
  const why = {
    code: 'start_timeout',
    reason: `LangFlow was not healthy within ${seconds} s of its start`,
  } as const
  return report(failItself(input, limitStart(input, before, START_OVERDUE_MS), why))
}

/**
 * One start has one deadline, which counts from its order: its launcher's preparation and a doubt are time without
 * service too.
 */
function limitStart({ config, now }: StepInput, before: WorkloadRecord, atLeastMs = 0): WorkloadRecord {
  const leftMs = before.health.orderedAt + config.startTimeoutMs - now
  return emit(before, { type: 'arm', deadline: 'start_overdue', ms: Math.max(leftMs, atLeastMs) })
}

function withHealth(record: WorkloadRecord, patch: Partial<Health>): WorkloadRecord {
  return { ...record, health: { ...record.health, ...patch } }
}
