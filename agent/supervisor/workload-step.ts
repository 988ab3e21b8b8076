import { NEVER, type Remedy, type Why } from '../election/state.ts'
import type { EndedBecause } from '../lease/reasons.ts'
import type { ToAgent, ToLauncher, WorkloadCause } from '../link/link-messages.ts'
import { CUT_OFF_MS, describeExit, describeLoss, NOTHING } from '../link/link-messages.ts'
import type {
  Connections,
  EndingOrder,
  Health,
  LauncherRecord,
  Silence,
  WorkloadEffect,
  WorkloadEvent,
  WorkloadPhase,
  WorkloadRecord,
} from './workload-record.ts'
import { isUnserved, mayLive, mayServe, NO_LAUNCHER, NOT_STARTED, usedMs } from './workload-record.ts'

/** A launcher that left this many heartbeats unanswered is frozen or stuck. */
const SILENT_HEARTBEATS = 4
/** Time from SIGTERM to SIGKILL for a LangFlow that does not answer. */
const HUNG_GRACE_MS = 5_000
/** Interval between two reports of a start that takes too long. */
const START_OVERDUE_MS = 5_000
/** The kubelet notices a closed gate within a second, and every kube-proxy within another one. */
export const GATE_KNOWN_MS = 2_000
/** LangFlow (gunicorn) ends requests by itself 30 s after SIGTERM. With a longer drain, SIGTERM is sent later. */
const ENDS_WITHIN_MS = 25_000

/** A LangFlow that uses this share of a core works. */
const BUSY_SHARE = 0.1
/** CPU time has steps of 10 ms: a shorter row counts as this long. */
const LEAST_ROW_MS = 500

/** A report with one of these causes shows that the launcher has read the order to start, and has obeyed or refused it. */
const ANSWERS_TO_START = new Set<WorkloadCause['kind']>(['started', 'start_refused', 'stopped', 'killed'])

type Report = Extract<ToAgent, { type: 'workload' }>
type Event<Type extends WorkloadEvent['type']> = Extract<WorkloadEvent, { type: Type }>

/**
 * The agent's side of the workload: takes one event and returns the next record, with its effects. If a process may be
 * alive, it counts as alive. A pure function: the supervisor runs the effects.
 *
 * @param now monotonic ms
 */
export function step(before: WorkloadRecord, event: WorkloadEvent, now: number): WorkloadRecord {
  const record: WorkloadRecord = { ...before, now, effects: [] }
  switch (event.type) {
    case 'start':
      return start(record, event.epoch)
    case 'drain':
    case 'stop':
      return end(record, event)
    case 'kill':
      return kill(record)
    case 'leader_serves': {
      const { othersServe } = record
      const seen = { ...record, othersServe: event.serves }
      // The launcher receives this once, and again after each meeting.
      return event.serves && !othersServe ? send(seen, { type: 'prepare' }) : seen
    }
    case 'connected':
      return connected(record, event)
    case 'received':
      return received(record, event.message)
    case 'gone':
      return gone(record, event.byPeer)
    case 'heartbeat':
      return heartbeat(record)
    case 'healthy':
      return becameHealthy(record)
    case 'silence':
      return event.lasts ? fallSilent(record) : report(answerAgain(record))
    case 'unhealthy':
      return judge(record, event)
    case 'gate_closed':
      return record.closing === null ? record : obey({ ...record, closing: null }, record.closing, event.open)
    case 'looked':
      return looked(record, event.open)
    case 'proved_dead':
      return record.phase === 'orphaned' ? provedDead(record) : record
    case 'deadline':
      return overdue(record)
  }
}

// 1. The orders of the election.

/** A start is not repeated. A launcher that was disconnected is ordered to end a process that it may have started. */
function start(before: WorkloadRecord, epoch: number): WorkloadRecord {
  const { phase, now, config } = before
  const starting: WorkloadRecord = {
    ...rest(before),
    endOrder: null,
    // If there was nothing to kill, the launcher sends no confirmation.
    deadlines: { start: now + config.startTimeoutMs, busy: NEVER, kill: NEVER },
    health: { ...NOT_STARTED, orderedAt: now, phaseBegan: now },
    phase: phase === 'orphaned' ? phase : 'starting',
  }
  return report(send(starting, { type: 'start', epoch }))
}

/** A drain or a stop waits until the gate is closed, so that requests are held before LangFlow refuses them. */
function end(before: WorkloadRecord, order: EndingOrder): WorkloadRecord {
  const stopped = unwatch(rest(before))
  // The election may have ordered a start since, and would take a report from before it for the end of that start.
  const record = order.type === 'drain' && mayLive(stopped) ? report(stopped) : stopped
  if (!mayServe(record)) return obey(record, order, 0)
  return emit({ ...record, closing: order }, { type: 'close_gate' })
}

function obey(record: WorkloadRecord, order: EndingOrder, open: Connections): WorkloadRecord {
  if (order.type === 'stop') return stop(record, order, open)
  if (!mayServe(record)) return emit(record, { type: 'dispatch', fact: { type: 'drained' } })
  const { drainDeadline: deadline, graceMs } = order
  const endableAt = Math.max(record.now + graceMs + GATE_KNOWN_MS, deadline - ENDS_WITHIN_MS)
  const text = `draining: ${describeConnections(open)}, ${Math.max(0, Math.ceil((deadline - record.now) / 1000))} s left`
  const logged = open === 0 ? record : emit(record, { type: 'log', level: 'info', text })
  return looked({ ...logged, drain: { deadline, endableAt } }, open)
}

function stop(record: WorkloadRecord, order: Event<'stop'>, open: Connections): WorkloadRecord {
  // Without its workers, LangFlow has no requests to finish.
  if (isUnserved(record)) return sendStop(record, 0)
  const graceMs = graceOf(record, order.graceMs)
  if (open === 0) return sendStop(record, graceMs)
  const text = `closing open connections: ${describeConnections(open)}`
  return sendStop(emit(record, { type: 'log', level: 'warn', text }), Math.min(graceMs, CUT_OFF_MS))
}

/** The connections that a drain waits for. New requests arrive only over open ones once all routers see the closed gate. */
function looked(before: WorkloadRecord, open: Connections): WorkloadRecord {
  if (before.drain === null) return before
  if (isUnserved(before) || open === 0)
    return emit({ ...before, drain: null }, { type: 'dispatch', fact: { type: 'drained' } })
  const { now, config, drain } = before
  // The launcher would kill a frozen workload for this.
  if (now < drain.endableAt || before.view.state === 'frozen') return before
  const graceMs = drain.deadline - now + graceOf(before, config.stopTimeoutMs)
  return sendStop({ ...before, drain: { ...drain, endableAt: NEVER } }, graceMs)
}

function kill(before: WorkloadRecord): WorkloadRecord {
  const endOrder = { type: 'kill' } as const
  const { now, config } = before
  const record = send({ ...unwatch(rest(before)), endOrder }, endOrder)
  // A repeated order must not extend the time, which counts from the first order.
  if (!config.canReclaim || !mayLive(record) || record.deadlines.kill !== NEVER) return record
  // If the launcher is frozen, its deadman is too. The agent then has half the margin for the kill.
  return withDeadline(record, { kill: now + config.killMarginMs / 2 })
}

/** While LangFlow hangs, it finishes no request, and users wait for the next LangFlow. */
function graceOf({ health }: WorkloadRecord, ms: number): number {
  return health.hangs ? Math.min(ms, HUNG_GRACE_MS) : ms
}

function sendStop(record: WorkloadRecord, graceMs: number): WorkloadRecord {
  const endOrder = { type: 'stop', graceMs } as const
  return send({ ...record, endOrder }, endOrder)
}

function rest(record: WorkloadRecord): WorkloadRecord {
  return { ...record, closing: null, drain: null }
}

// 2. The launcher.

function connected(before: WorkloadRecord, event: Event<'connected'>): WorkloadRecord {
  const { hello, returning, ended } = event
  const { pid, alone, langflow = null, view } = hello
  const launcher = { ...NO_LAUNCHER, state: 'connected', met: returning, alone, langflow, ended } as const
  // A new launcher has not yet searched for remains of its predecessor.
  const phase = before.phase === 'orphaned' && !returning ? 'orphaned' : view.state
  const text = `launcher ${returning ? 're' : ''}connected`
  const detail = { launcherPid: pid, alone, langflow: hello.langflow }
  const met: WorkloadRecord = { ...before, phase, view, launcher, unanswered: 0 }
  const logged = emit(met, { type: 'log', level: 'info', text, detail })
  // The times that it kept from an earlier agent count.
  const orderedAt = view.orderedAt ?? before.now
  const servedSince = before.health.servedSince ?? view.servedSince
  const runs = view.state === 'running' || view.state === 'frozen'
  const record = conform(runs ? watch(withHealth(logged, { orderedAt, servedSince })) : logged)
  // An order that may have been lost with the connection.
  return returning && record.endOrder !== null ? send(record, record.endOrder) : record
}

function received(before: WorkloadRecord, message: Event<'received'>['message']): WorkloadRecord {
  switch (message.type) {
    case 'workload':
      return reported(before, message)
    case 'pong': {
      const record = withLauncher({ ...before, unanswered: 0 }, { state: 'connected' })
      return before.launcher.state === 'silent' ? report(record) : record
    }
    case 'measured': {
      const { silence, now: at } = before
      if (silence === null || message.cpuMs === null) return before
      const readings = [...silence.readings, { at, cpuMs: message.cpuMs }]
      return { ...before, silence: { ...silence, readings } }
    }
    case 'digests':
      return report(withLauncher(before, { digests: message.digests }))
    case 'terminating':
      return report(withLauncher(before, { ending: true }))
    case 'locked':
      return before
  }
}

function reported(before: WorkloadRecord, { view, cause }: Report): WorkloadRecord {
  let record: WorkloadRecord = { ...before, view, phase: phaseAfter(before, { view, cause }) }
  if (cause.kind === 'met') {
    record = withLauncher(record, { met: true })
    if (record.othersServe) record = send(record, { type: 'prepare' })
  }
  // The cause is processed before the state, because it is the reason for a handover, and the state is only its result.
  return conform(because(record, cause, before.phase === 'starting'))
}

function phaseAfter({ phase }: WorkloadRecord, { view, cause }: Omit<Report, 'type'>): WorkloadPhase {
  if (phase === 'orphaned' && cause.kind !== 'met') return phase
  if (phase === 'starting' && !ANSWERS_TO_START.has(cause.kind)) return phase
  return view.state
}

/** Probes and waits only while the reported state permits it. */
function conform(before: WorkloadRecord): WorkloadRecord {
  const { view, phase } = before
  const record = mayLive(before) ? before : rest(before)
  if (view.state === 'frozen') return report(pause(record))
  // A report from before the order to start does not concern that start.
  return report(view.state === 'running' || phase === 'starting' ? record : unwatch(record))
}

/** @param wasStarting a start was ordered, and this is the first answer to it */
function because(record: WorkloadRecord, cause: WorkloadCause, wasStarting: boolean): WorkloadRecord {
  const { now } = record
  const { healthy, phaseBegan } = record.health
  switch (cause.kind) {
    case 'started':
      return watch(withHealth(record, { startMs: now - (phaseBegan ?? now), phaseBegan: now }))
    case 'thawed':
      return watch(record)
    case 'start_refused':
      return fail(record, { code: 'start_refused', reason: `LangFlow was not started: ${cause.reason}` })
    case 'exited': {
      const why = { code: 'workload_exited', reason: describeExit(cause) } as const
      // Without its reaper, the launcher ends as well, and starts nothing any more.
      return cause.unreaped ? fail(record, why) : failItself(record, why)
    }
    case 'serving_lost': {
      // It does not count as healthy until it answers again.
      const doubted = healthy ? watch(withHealth(record, { healthy: false })) : record
      return failItself(doubted, { code: 'workload_lost', reason: describeLoss(cause.loss) })
    }
    case 'killed':
    case 'stopped':
      return ended(record, cause.durationMs, wasStarting)
    case 'stop_failed': {
      const text = `ALARM: ${cause.reason}; the leader keeps the Lease, because LangFlow processes may be alive`
      return emit(record, { type: 'log', level: 'error', text })
    }
    case 'grant_refused':
      return withLauncher(record, { refusedGrant: `the launcher refuses grants: ${cause.reason}` })
    case 'grant_accepted':
      return withLauncher(record, { refusedGrant: null })
    default:
      return record
  }
}

function ended(before: WorkloadRecord, ms: number, wasStarting: boolean): WorkloadRecord {
  const record = emit(withDeadline(before, { kill: NEVER }), { type: 'stopped', ms })
  if (record.endOrder !== null) return record
  // Nothing was ordered, so the launcher's deadman acted. A start that still waited for its standby is ordered again.
  const reason = wasStarting
    ? 'the launcher cancelled the start, because leadership was in doubt'
    : 'the launcher stopped LangFlow by its own clock'
  return fail(record, { code: 'deadman', reason }, wasStarting ? 'restart' : 'handover')
}

function heartbeat(before: WorkloadRecord): WorkloadRecord {
  const { unanswered: id } = before
  if (before.launcher.state === 'missing') return before
  const pinged = send({ ...before, unanswered: id + 1 }, { type: 'ping', id })
  const record = before.silence === null ? pinged : send(pinged, { type: 'measure' })
  if (record.unanswered !== SILENT_HEARTBEATS) return record
  const reason = 'the launcher does not answer'
  const silent = report(withLauncher(record, { state: 'silent' }))
  const failed = mayLive(silent) ? fail(silent, { code: 'launcher_silent', reason }) : silent
  return before.config.canReclaim ? emit(failed, { type: 'reclaim', reason }) : failed
}

function gone(before: WorkloadRecord, byPeer: boolean): WorkloadRecord {
  const reason = 'the launcher is gone'
  // A launcher that disconnected before its search for remains changes nothing.
  const phase = before.phase === 'orphaned' || mayLive(before) ? 'orphaned' : 'idle'
  const record = withLauncher({ ...unwatch(before), phase }, { state: 'missing' })
  // Even an idle launcher may have been ordered to start.
  const failed = fail(report(record), { code: 'launcher_gone', reason })
  if (phase !== 'orphaned') return failed
  if (before.config.canReclaim) return emit(failed, { type: 'reclaim', reason })
  // The launcher's end closed the connection, and a live launcher would have reconnected by now. It was the only child
  // of its namespace's init, so the kernel is ending every process in it. An out-of-memory kill of the whole container
  // looks like this.
  return record.launcher.alone && byPeer ? emit(failed, { type: 'await_death' }) : failed
}

/** No process is alive any more, although no launcher confirms it. */
function provedDead(before: WorkloadRecord): WorkloadRecord {
  const { state, pid, killAt, orderedAt, servedSince } = NOTHING
  const view = { ...before.view, state, pid, killAt, orderedAt, servedSince }
  return conform({ ...before, phase: 'idle', view })
}

// 3. The health of LangFlow.

/**
 * A LangFlow that served before is allowed as many failures as while it serves. One that starts is allowed the rest of
 * its start, which has one deadline: its launcher's preparation and a doubt are time without service too.
 */
function watch(before: WorkloadRecord): WorkloadRecord {
  const { healthy, servedSince, orderedAt } = before.health
  const record = answerAgain(before)
  if (servedSince !== null) return { ...record, probed: healthy ? 'healthy' : 'served' }
  const start = orderedAt + before.config.startTimeoutMs
  return withDeadline({ ...record, probed: 'starting' }, { start })
}

/** A frozen LangFlow cannot answer. After a thaw it is as healthy as before. */
function pause(before: WorkloadRecord): WorkloadRecord {
  return answerAgain(withDeadline({ ...before, probed: null }, { start: NEVER }))
}

function unwatch(before: WorkloadRecord): WorkloadRecord {
  return withHealth(pause(before), { healthy: false })
}

function becameHealthy(before: WorkloadRecord): WorkloadRecord {
  const { view, health, now } = before
  const { phaseBegan, startMs, servedSince } = health
  // If a restarted agent found LangFlow running, this takeover did not start it.
  const took = phaseBegan === null ? null : { startMs, healthyMs: now - phaseBegan }
  const healthy: WorkloadRecord = {
    ...answerAgain(withDeadline(before, { start: NEVER })),
    health: { ...health, healthy: true, hangs: false, servedSince: servedSince ?? now, phaseBegan: null },
    probed: 'healthy',
    servedEpoch: view.epoch,
    view: isUnserved(before) ? { ...view, loss: null } : view,
  }
  // Sent each time that LangFlow becomes healthy. The launcher keeps the first.
  const record = send(healthy, { type: 'healthy' })
  return report(emit(record, { type: 'dispatch', fact: { type: 'workload_healthy', took } }))
}

/** The launcher measures from now on: a busy LangFlow uses CPU time, and one that hangs does not. */
function fallSilent(before: WorkloadRecord): WorkloadRecord {
  const silence = before.silence ?? { since: before.now, rowSince: before.now, readings: [] }
  return send({ ...before, silence }, { type: 'measure' })
}

function answerAgain(before: WorkloadRecord): WorkloadRecord {
  return withDeadline({ ...before, silence: null }, { busy: NEVER })
}

/** A LangFlow that works is busy, and has not failed. */
function judge(before: WorkloadRecord, { reason, hangs, answeredAt }: Event<'unhealthy'>): WorkloadRecord {
  const { silence, now, config } = before
  if (!hangs || silence === null || !works(silence, answeredAt)) return becomeUnhealthy(before, reason, hangs)
  const record = { ...before, silence: { ...silence, rowSince: now } }
  return report(withDeadline(record, { busy: silence.since + config.busyTimeoutMs }))
}

/** Whether it worked in the present row, which begins with the last reading before it. Without two readings, it did not. */
function works({ rowSince, readings }: Silence, answeredAt: number): boolean {
  const row = readings.filter(({ at }, i) => (readings[i + 1]?.at ?? at) > rowSince)
  const ms = (row.at(-1)?.at ?? 0) - (row[0]?.at ?? 0)
  return answeredAt > rowSince || usedMs(row) >= BUSY_SHARE * Math.max(LEAST_ROW_MS, ms)
}

/** If it is left alone, as when the Lease is paused, only `/health_check` makes it healthy again. */
function becomeUnhealthy(before: WorkloadRecord, because: string, hangs: boolean): WorkloadRecord {
  const record = answerAgain({ ...before, probed: before.probed && 'served' })
  const why = { code: 'workload_unhealthy', reason: `LangFlow is unhealthy: ${because}` } as const
  return report(failItself(withHealth(record, { healthy: false, hangs }), why))
}

function overdue(before: WorkloadRecord): WorkloadRecord {
  const { now, config, deadlines } = before
  let record = before
  if (now >= deadlines.kill) {
    record = withDeadline(record, { kill: NEVER })
    // The launcher may be frozen or stuck, so the agent acts without it.
    const reason = 'the launcher did not confirm a kill'
    if (mayLive(record)) record = emit(record, { type: 'reclaim', reason })
  }
  const because = `it was busy for ${config.busyTimeoutMs / 1000} s (--busy-timeout)`
  if (now >= deadlines.busy) record = becomeUnhealthy(record, because, true)
  if (now < deadlines.start) return record
  // Reported repeatedly: a leader that is paused, or has taken its grant back since, may not have acted on it.
  record = withDeadline(record, { start: now + START_OVERDUE_MS })
  const reason = `LangFlow was not healthy within ${config.startTimeoutMs / 1000} s of its start`
  return report(failItself(record, { code: 'start_timeout', reason }))
}

function fail(record: WorkloadRecord, why: Why<EndedBecause>, remedy: Remedy = 'handover'): WorkloadRecord {
  return emit(record, { type: 'fail', why, remedy })
}

function failItself(record: WorkloadRecord, why: Why<EndedBecause>): WorkloadRecord {
  const { servedSince } = record.health
  const servedMs = servedSince === null ? null : record.now - servedSince
  return emit(record, { type: 'fail', why, remedy: { servedMs } })
}

// 4. Records.

function emit(record: WorkloadRecord, effect: WorkloadEffect): WorkloadRecord {
  return { ...record, effects: [...record.effects, effect] }
}

function send(record: WorkloadRecord, message: ToLauncher): WorkloadRecord {
  return emit(record, { type: 'send', message })
}

function report(record: WorkloadRecord): WorkloadRecord {
  return emit(record, { type: 'report' })
}

function withLauncher(record: WorkloadRecord, patch: Partial<LauncherRecord>): WorkloadRecord {
  return { ...record, launcher: { ...record.launcher, ...patch } }
}

function withHealth(record: WorkloadRecord, patch: Partial<Health>): WorkloadRecord {
  return { ...record, health: { ...record.health, ...patch } }
}

function withDeadline(record: WorkloadRecord, patch: Partial<WorkloadRecord['deadlines']>): WorkloadRecord {
  return { ...record, deadlines: { ...record.deadlines, ...patch } }
}

function describeConnections(open: Connections): string {
  return `${open ?? 'unknown'} connection${open === 1 ? '' : 's'}`
}
