import type { AgentOptions } from '../config/options.ts'
import type { Effect as ElectionEffect, Fact, Remedy, Why, Workload } from '../election/state.ts'
import type { EndedBecause } from '../lease/reasons.ts'
import {
  type Digests,
  describeLoss,
  type Grant,
  NOTHING,
  type ToAgent,
  type ToLauncher,
  UNKNOWN_DIGESTS,
  type WorkloadState,
  type WorkloadView,
} from '../link/link-messages.ts'
import type { Hello } from '../link/link-server.ts'
import type { Log } from '../observe/log.ts'
import type { ProbedState } from './health-probe.ts'

/**
 * The agent's conclusion about the workload: the state that the launcher reports, or one of two that it cannot report.
 *
 * - `starting`: a start was ordered, and the launcher has not answered it yet. Its last report is older than the order.
 * - `orphaned`: the launcher is gone without a confirmed stop. Its processes count as alive until they are proved dead.
 */
export type WorkloadPhase = WorkloadState | 'starting' | 'orphaned'

/** The connected launcher, or the last one. */
export const NO_LAUNCHER = {
  /** `silent`: it is connected, and has answered none of the last heartbeats. */
  state: 'missing' as 'missing' | 'connected' | 'silent',
  /** It has searched for remains of an earlier launcher, so its `idle` is reliable. */
  met: false,
  /** It was asked to end, and starts nothing any more. */
  ending: false,
  /** It is alone in its PID namespace, which ends with it. */
  alone: false,
  /** The version of the LangFlow that it starts. `null`: unknown. */
  langflow: null as string | null,
  /** See `Workload`. */
  ended: null as string | null,
  /** Digests of the inputs of LangFlow's start. */
  digests: UNKNOWN_DIGESTS as Digests,
  /** Number of recent heartbeats that it has not answered. */
  unanswered: 0,
  /** Why it accepted no grant recently, in one sentence. `null`: it accepted the last one, or received no grant. */
  refusedGrant: null as string | null,
}
export type Launcher = Readonly<typeof NO_LAUNCHER>

/** The health of LangFlow. */
const NOT_STARTED = {
  /** It answered the last probe, and nothing since then casts doubt on it. */
  healthy: false,
  /** It served, and its last probes got no answer at all. */
  hangs: false,
  /** Monotonic ms of the order to start: the origin of the start's deadline. */
  orderedAt: 0,
  /** Monotonic ms of the first good answer since that start. `null`: no good answer yet. */
  servedSince: null as number | null,
  /** Monotonic ms at which the present phase of a takeover began. `null`: no takeover is in progress. */
  phaseBegan: null as number | null,
  /** Duration of the phase before: from the order to start until the process ran. */
  startMs: 0,
}
export type Health = Readonly<typeof NOT_STARTED>

const NOTHING_KNOWN = {
  phase: 'idle' as WorkloadPhase,
  /** The last report of a launcher. */
  view: NOTHING as WorkloadView,
  launcher: NO_LAUNCHER as Launcher,
  health: NOT_STARTED as Health,
  /** The last epoch in which LangFlow was healthy. */
  servedEpoch: null as number | null,

  // Orders that may be lost with the connection. They are sent again when the same launcher returns.
  granted: null as Grant | null,
  /** The last order, if it was to end the workload. */
  endOrder: null as Extract<ToLauncher, { type: 'stop' | 'kill' }> | null,

  /** A kill was ordered. Unless the launcher confirms it in time, the agent kills the launcher as well. */
  awaitsKill: false,
  /** Another replica leads and serves. */
  othersServe: false,
  effects: [] as readonly WorkloadEffect[],
}
/** The whole state of the supervisor. Only `step` creates a new one. */
export type WorkloadRecord = Readonly<typeof NOTHING_KNOWN>

export function initialRecord(now: number): WorkloadRecord {
  return { ...NOTHING_KNOWN, health: { ...NOT_STARTED, orderedAt: now } }
}

/**
 * The orders of the election. `drainDeadline`: monotonic ms. `open`: the remote addresses of open connections, or
 * `null` if unknown.
 */
export type Order =
  | Extract<ElectionEffect, { type: 'grant' | 'start' | 'kill' }>
  | { type: 'drain'; drainDeadline: number; graceMs: number }
  | { type: 'stop'; graceMs: number; drainMs: number; open: readonly string[] | null }
  | { type: 'leader_serves'; serves: boolean }

export type WorkloadEvent =
  | Order
  // Events of the link.
  | { type: 'connected'; hello: Hello; returning: boolean; ended: string | null }
  | { type: 'received'; message: Exclude<ToAgent, Hello> }
  | { type: 'gone'; byPeer: boolean }
  | { type: 'closed' }
  | { type: 'heartbeat' }
  // Events of the probe, and of a drain during which LangFlow may be sent SIGTERM.
  | { type: 'healthy' }
  | { type: 'unhealthy'; reason: string; hangs: boolean }
  | { type: 'endable'; leftMs: number }
  | { type: Deadline }
  // Results of a port check, and of killing the launcher.
  | { type: 'port_checked'; free: boolean }
  | { type: 'reclaimed' }
  // The second half of `received` and of `connected`: the election may have given orders in between.
  | { type: 'viewed' }
  | { type: 'returned' }

/**
 * Deadlines for LangFlow's start, for the launcher's confirmation of a kill, and for the kernel's end of a PID
 * namespace.
 */
export type Deadline = 'start_overdue' | 'kill_overdue' | 'namespace_due'

export type WorkloadEffect =
  | { type: 'send'; message: ToLauncher }
  | { type: 'tell'; fact: Fact }
  /** `servedMs` in place of a remedy: LangFlow itself failed, and its launcher could restart it. */
  | { type: 'fail'; why: Why<EndedBecause>; remedy: Remedy | { servedMs: number | null } }
  | { type: 'next'; event: WorkloadEvent }
  /** `report` passes the workload to the election and to the status, `changed` only to the status. */
  | { type: 'report' }
  | { type: 'changed' }
  | { type: 'probe'; from: ProbedState }
  | { type: 'stop_probe' }
  | { type: 'begin_drain'; drainDeadline: number; graceMs: number }
  /** Ends the wait for the drain and for the cut-off. */
  | { type: 'end_drain' }
  /** Connections that are still open after `ms` are cut off by another stop. */
  | { type: 'cut_off_after'; ms: number; graceMs: number }
  | { type: 'arm'; deadline: Deadline; ms: number }
  | { type: 'disarm'; deadline: Deadline }
  | { type: 'check_port' }
  | { type: 'reclaim'; reason: string }
  | { type: 'measured'; what: 'start' | 'healthy' | 'stopped'; ms: number }
  | { type: 'log'; level: 'info' | 'warn' | 'error'; text: string; detail?: Parameters<Log['info']>[1] }
  /** Why the launcher refuses grants. `null`: it accepts them again. */
  | { type: 'grant_refusal'; problem: string | null }

/** Whether the launcher runs a workload by its last report, or was ordered to start one since. */
export function mayLive({ phase, view }: WorkloadRecord): boolean {
  return phase === 'starting' || view.state !== 'idle'
}

/** LangFlow lost its worker: no process accepts connections any more. */
export function isUnserved({ view }: WorkloadRecord): boolean {
  return view.loss?.role === 'worker'
}

/** A launcher answers, runs nothing, has searched for remains of an earlier one, and was not asked to end. */
export function canRun(record: WorkloadRecord): boolean {
  const { state, met, ending } = record.launcher
  return state === 'connected' && met && !ending && !mayLive(record)
}

/** A frozen workload does not answer. After a thaw it is as healthy as before. */
export function isHealthy({ view, health }: WorkloadRecord): boolean {
  return view.state !== 'frozen' && health.healthy
}

export function workloadOf(wanted: AgentOptions['standby'], record: WorkloadRecord): Workload {
  const { phase, launcher, view } = record
  const { state, epoch, identity, killAt, loss, standby } = view
  const orphaned = phase === 'orphaned'
  const unproven = 'the launcher is gone, and its processes may still be alive'
  const unstopped = state === 'unstoppable' ? 'the workload could not be stopped' : null
  return {
    alive: orphaned ? 'maybe' : mayLive(record) ? 'yes' : 'no',
    canRun: canRun(record),
    prepared: standby.mode === wanted && (wanted === 'cold' || standby.state === 'ready'),
    ending: launcher.ending,
    langflow: launcher.langflow,
    inputs: launcher.digests.inputs ?? null,
    content: launcher.digests.content ?? null,
    epoch,
    identity,
    killAt,
    ended: launcher.ended,
    failed: loss === null ? null : describeLoss(loss),
    well: isHealthy(record) && launcher.state === 'connected' && loss === null,
    stopFailed: unstopped ?? (orphaned ? unproven : null),
  }
}

/** The inputs of a step beside the record and the event. */
export interface StepInput {
  readonly config: Pick<AgentOptions, 'startTimeoutMs' | 'stopTimeoutMs' | 'killMarginMs'> & {
    /**
     * Agent and launcher share one process tree (`run`): the agent can kill the launcher and all its remaining
     * processes.
     */
    readonly canReclaim: boolean
  }
  /** Monotonic ms. */
  readonly now: number
}

export function emit(record: WorkloadRecord, ...effects: readonly WorkloadEffect[]): WorkloadRecord {
  return { ...record, effects: [...record.effects, ...effects] }
}

export function send(record: WorkloadRecord, message: ToLauncher): WorkloadRecord {
  return emit(record, { type: 'send', message })
}

export function report(record: WorkloadRecord): WorkloadRecord {
  return emit(record, { type: 'report' })
}

export function fail(
  record: WorkloadRecord,
  why: Why<EndedBecause>,
  remedy: Remedy = 'handover',
): WorkloadRecord {
  return emit(record, { type: 'fail', why, remedy })
}

/** LangFlow itself failed. */
export function failItself(
  { now }: StepInput,
  record: WorkloadRecord,
  why: Why<EndedBecause>,
): WorkloadRecord {
  const { servedSince } = record.health
  const servedMs = servedSince === null ? null : now - servedSince
  return emit(record, { type: 'fail', why, remedy: { servedMs } })
}
