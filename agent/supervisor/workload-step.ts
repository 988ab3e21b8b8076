import {
  CUT_OFF_MS,
  describeExit,
  describeLoss,
  NOTHING,
  type ToAgent,
  type WorkloadCause,
  type WorkloadState,
} from '../link/link-messages.ts'
import { describeConnections } from './drain.ts'
import * as health from './workload-health.ts'
import {
  emit,
  fail,
  failItself,
  isUnserved,
  type Launcher,
  mayLive,
  NO_LAUNCHER,
  report,
  type StepInput,
  send,
  type WorkloadEvent,
  type WorkloadPhase,
  type WorkloadRecord,
} from './workload-phase.ts'

/** A launcher that left this many heartbeats unanswered is frozen or stuck. */
const SILENT_HEARTBEATS = 4
/** Time from SIGTERM to SIGKILL for a LangFlow that does not answer. */
const HUNG_GRACE_MS = 5_000
/** Time that the kernel has to end a PID namespace whose init has died. */
const NAMESPACE_END_MS = 500
const PORT_CHECK_MS = 50

/**
 * A report with one of these causes shows that the launcher has read the order to start, and has obeyed or refused it.
 */
const ANSWERS_TO_START: ReadonlySet<WorkloadCause['kind']> = new Set([
  'started',
  'start_refused',
  'stopped',
  'killed',
])

type Event<Type extends WorkloadEvent['type']> = Extract<WorkloadEvent, { type: Type }>

/**
 * The agent's side of the workload: takes one event and returns the next record, with its effects. If a process may be
 * alive, it counts as alive. A pure function: the supervisor runs the effects.
 *
 * @param now monotonic ms
 */
export function step(
  config: StepInput['config'],
  before: WorkloadRecord,
  event: WorkloadEvent,
  now: number,
): WorkloadRecord {
  const input = { config, now }
  const record: WorkloadRecord = { ...before, effects: [] }
  switch (event.type) {
    case 'grant':
      return send({ ...record, granted: event.grant }, event)
    case 'start':
      return start(input, record, event.epoch)
    case 'drain':
      return emit(report(health.unwatch(record)), { ...event, type: 'begin_drain' })
    case 'endable':
      return sendStop(record, event.leftMs + graceOf(record, config.stopTimeoutMs))
    case 'stop':
      return stop(record, event)
    case 'kill':
      return kill(input, record)
    case 'leader_serves':
      return leaderServes(record, event.serves)
    case 'connected':
      return connected(input, record, event)
    case 'received':
      return received(input, record, event.message)
    case 'gone':
      return gone(input, record, event.byPeer)
    case 'closed':
      return withLauncher(record, { state: 'missing' })
    case 'heartbeat':
      return heartbeat(input, record)
    case 'healthy':
      return health.becameHealthy(input, record)
    case 'unhealthy':
      return health.becameUnhealthy(input, record, event)
    case 'start_overdue':
      return health.startOverdue(input, record)
    case 'kill_overdue':
      return killOverdue(record)
    case 'namespace_due':
      return record.phase === 'orphaned' ? emit(record, { type: 'check_port' }) : record
    case 'port_checked':
      return portChecked(record, event.free)
    case 'reclaimed':
      return record.phase === 'orphaned' ? provedDead(record) : record
    case 'viewed':
      return viewed(record)
    case 'returned':
      return repeatOrders(record)
  }
}

/** A start is not repeated. A launcher that was disconnected is ordered to end a process that it may have started. */
function start(input: StepInput, before: WorkloadRecord, epoch: number): WorkloadRecord {
  const { phase } = before
  // If there was nothing to kill, the launcher sends no confirmation.
  const record = confirmedKill(rest(before))
  const starting = { ...record, endOrder: null, phase: phase === 'orphaned' ? phase : 'starting' } as const
  return report(send(health.ordered(input, starting), { type: 'start', epoch }))
}

/** Open connections have `drainMs` to end, and are then cut off. */
function stop(before: WorkloadRecord, { graceMs, drainMs, open }: Event<'stop'>): WorkloadRecord {
  const record = health.unwatch(rest(before))
  // Without its workers, LangFlow has no requests to finish.
  if (isUnserved(record)) return sendStop(record, 0)
  if (drainMs > 0) {
    const stopping = sendStop(record, Math.min(graceMs, drainMs + graceOf(record, graceMs)))
    return emit(stopping, { type: 'cut_off_after', ms: drainMs, graceMs })
  }
  if (open?.length === 0) return sendStop(record, graceOf(record, graceMs))
  const text = `closing open connections: ${describeConnections(open)}`
  const told = mayLive(record) ? emit(record, { type: 'log', level: 'warn', text }) : record
  return sendStop(told, Math.min(graceMs, CUT_OFF_MS))
}

function kill({ config }: StepInput, before: WorkloadRecord): WorkloadRecord {
  const endOrder = { type: 'kill' } as const
  const record = send({ ...health.unwatch(rest(before)), granted: null, endOrder }, endOrder)
  // A repeated order must not extend the time, which counts from the first order.
  if (!config.canReclaim || !mayLive(record) || record.awaitsKill) return record
  // If the launcher is frozen, its deadman is too. The agent then has half the margin for the kill.
  return emit(
    { ...record, awaitsKill: true },
    { type: 'arm', deadline: 'kill_overdue', ms: config.killMarginMs / 2 },
  )
}

/** While LangFlow hangs, it finishes no request, and users wait for the next LangFlow. */
function graceOf({ health }: WorkloadRecord, ms: number): number {
  return health.hangs ? Math.min(ms, HUNG_GRACE_MS) : ms
}

function sendStop(record: WorkloadRecord, graceMs: number): WorkloadRecord {
  const endOrder = { type: 'stop', graceMs } as const
  return send({ ...record, endOrder }, endOrder)
}

/** Ends all waits. */
function rest(record: WorkloadRecord): WorkloadRecord {
  return emit(record, { type: 'end_drain' })
}

function confirmedKill(record: WorkloadRecord): WorkloadRecord {
  return emit({ ...record, awaitsKill: false }, { type: 'disarm', deadline: 'kill_overdue' })
}

/** The launcher receives this once, and again after each meeting. */
function leaderServes(before: WorkloadRecord, serves: boolean): WorkloadRecord {
  const record = { ...before, othersServe: serves }
  return serves && !before.othersServe ? send(record, { type: 'prepare' }) : record
}

function connected(input: StepInput, before: WorkloadRecord, event: Event<'connected'>): WorkloadRecord {
  const { hello, returning, ended } = event
  const { pid, alone, langflow, view } = hello
  const its = { met: returning, alone, langflow: langflow ?? null, ended }
  const launcher: Launcher = { ...NO_LAUNCHER, state: 'connected', ...its }
  // A new launcher has not yet searched for remains of its predecessor.
  const phase = before.phase === 'orphaned' && !returning ? 'orphaned' : view.state
  const text = `launcher ${returning ? 're' : ''}connected`
  const detail = { launcherPid: pid, alone, langflow }
  const record = emit({ ...before, phase, view, launcher }, { type: 'log', level: 'info', text, detail })
  const runs = view.state === 'running' || view.state === 'frozen'
  const shown = viewed(runs ? health.found(input, record, view) : record)
  return returning ? emit(shown, { type: 'next', event: { type: 'returned' } }) : shown
}

/** The same launcher is back. Orders that may have been lost with the connection are sent again. */
function repeatOrders(before: WorkloadRecord): WorkloadRecord {
  const { granted, endOrder } = before
  const record = granted === null ? before : send(before, { type: 'grant', grant: granted })
  return endOrder === null ? record : send(record, endOrder)
}

function received(
  input: StepInput,
  before: WorkloadRecord,
  message: Event<'received'>['message'],
): WorkloadRecord {
  switch (message.type) {
    case 'workload':
      return workloadTold(input, before, message)
    case 'pong': {
      const record = withLauncher(before, { state: 'connected', unanswered: 0 })
      return before.launcher.state === 'silent' ? report(record) : record
    }
    case 'digests':
      return report(withLauncher(before, { digests: message.digests }))
    case 'terminating':
      return report(withLauncher(before, { ending: true }))
    case 'locked':
      return before
  }
}

/** The launcher has reported the state of the workload, and the cause. */
function workloadTold(
  input: StepInput,
  before: WorkloadRecord,
  { view, cause }: Extract<ToAgent, { type: 'workload' }>,
): WorkloadRecord {
  let record: WorkloadRecord = { ...before, view, phase: phaseAfter(before.phase, cause.kind, view.state) }
  if (cause.kind === 'met') {
    record = withLauncher(record, { met: true })
    if (record.othersServe) record = send(record, { type: 'prepare' })
  }
  // The cause is processed before the state, because it is the reason for a handover, and the state is only its result.
  const told = because(input, record, cause, before.phase === 'starting')
  return emit(told, { type: 'next', event: { type: 'viewed' } })
}

function phaseAfter(
  phase: WorkloadPhase,
  kind: WorkloadCause['kind'],
  reported: WorkloadState,
): WorkloadPhase {
  if (phase === 'orphaned' && kind !== 'met') return phase
  if (phase === 'starting' && !ANSWERS_TO_START.has(kind)) return phase
  return reported
}

function viewed(before: WorkloadRecord): WorkloadRecord {
  const { view, phase } = before
  const record = mayLive(before) ? before : rest(before)
  if (view.state === 'frozen') return report(health.pause(record))
  // A report from before the order to start does not concern that start.
  return report(view.state === 'running' || phase === 'starting' ? record : health.unwatch(record))
}

/** @param wasStarting a start was ordered, and this is the first answer to it */
function because(
  input: StepInput,
  record: WorkloadRecord,
  cause: WorkloadCause,
  wasStarting: boolean,
): WorkloadRecord {
  switch (cause.kind) {
    case 'started':
      return health.started(input, record)
    case 'thawed':
      return health.watch(input, record)
    case 'start_refused':
      return fail(record, { code: 'start_refused', reason: `LangFlow was not started: ${cause.reason}` })
    case 'exited': {
      const why = { code: 'workload_exited', reason: describeExit(cause) } as const
      // Without its reaper, the launcher ends as well, and starts nothing any more.
      return cause.unreaped ? fail(record, why) : failItself(input, record, why)
    }
    case 'bereft':
      return failItself(input, health.recheck(input, record), {
        code: 'workload_lost',
        reason: describeLoss(cause.loss),
      })
    case 'killed':
    case 'stopped':
      return ended(record, cause.durationMs, wasStarting)
    case 'stop_failed': {
      const text = `ALARM: ${cause.reason}; the leader keeps the Lease, because LangFlow processes may be alive`
      return emit(record, { type: 'log', level: 'error', text })
    }
    case 'grant_refused':
      return grantRefusal(record, `the launcher refuses grants: ${cause.reason}`)
    case 'grant_accepted':
      return grantRefusal(record, null)
    default:
      return record
  }
}

function ended(before: WorkloadRecord, durationMs: number, wasStarting: boolean): WorkloadRecord {
  const record = emit(confirmedKill(before), { type: 'measured', what: 'stopped', ms: durationMs })
  if (record.endOrder !== null) return record
  // The agent had ordered nothing, so the launcher's own deadman acted. A start that still waited for its standby is
  // ordered again.
  return wasStarting
    ? fail(
        record,
        { code: 'deadman', reason: 'the launcher cancelled the start, because leadership was in doubt' },
        'restart',
      )
    : fail(record, { code: 'deadman', reason: 'the launcher stopped LangFlow by its own clock' })
}

function grantRefusal(record: WorkloadRecord, problem: string | null): WorkloadRecord {
  return emit(withLauncher(record, { refusedGrant: problem }), { type: 'grant_refusal', problem })
}

function heartbeat({ config }: StepInput, before: WorkloadRecord): WorkloadRecord {
  const { state, unanswered: id } = before.launcher
  if (state === 'missing') return before
  const record = send(withLauncher(before, { unanswered: id + 1 }), { type: 'ping', id })
  if (record.launcher.unanswered !== SILENT_HEARTBEATS) return record
  const reason = 'the launcher does not answer'
  const silent = report(withLauncher(record, { state: 'silent' }))
  const failed = mayLive(silent) ? fail(silent, { code: 'launcher_silent', reason }) : silent
  return config.canReclaim ? emit(failed, { type: 'reclaim', reason }) : failed
}

function gone({ config }: StepInput, before: WorkloadRecord, byPeer: boolean): WorkloadRecord {
  const reason = 'the launcher is gone'
  // A launcher that disconnected before its search for remains changes nothing.
  const phase = before.phase === 'orphaned' || mayLive(before) ? 'orphaned' : 'idle'
  const record = withLauncher({ ...health.unwatch(before), phase }, { state: 'missing' })
  // Even an idle launcher may have been ordered to start.
  const failed = fail(report(record), { code: 'launcher_gone', reason })
  if (phase !== 'orphaned') return failed
  if (config.canReclaim) return emit(failed, { type: 'reclaim', reason })
  // The launcher's end closed the connection, and a live launcher would have reconnected by now. It was the only child
  // of its namespace's init, so the kernel is ending every process in it. An out-of-memory kill of the whole container
  // looks like this.
  return record.launcher.alone && byPeer
    ? emit(failed, { type: 'arm', deadline: 'namespace_due', ms: NAMESPACE_END_MS })
    : failed
}

/** The launcher may be frozen or stuck, so the agent acts without it. */
function killOverdue(before: WorkloadRecord): WorkloadRecord {
  const record = { ...before, awaitsKill: false }
  return mayLive(record)
    ? emit(record, { type: 'reclaim', reason: 'the launcher did not confirm a kill' })
    : record
}

function portChecked(record: WorkloadRecord, free: boolean): WorkloadRecord {
  if (record.phase !== 'orphaned') return record
  return free
    ? provedDead(record)
    : emit(record, { type: 'arm', deadline: 'namespace_due', ms: PORT_CHECK_MS })
}

/** No process is alive any more, although no launcher confirms it. */
function provedDead(before: WorkloadRecord): WorkloadRecord {
  const { epoch, identity, deadmanFirings, freezes, loss, standby } = before.view
  const view = { ...NOTHING, epoch, identity, deadmanFirings, freezes, loss, standby }
  return viewed({ ...before, phase: 'idle', view })
}

function withLauncher(record: WorkloadRecord, patch: Partial<Launcher>): WorkloadRecord {
  return { ...record, launcher: { ...record.launcher, ...patch } }
}
