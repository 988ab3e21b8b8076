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
 * What the agent concludes about the workload: the state that the launcher reports, or one of two that it can't report.
 *
 * - `starting`: a start was ordered, and the launcher hasn't answered it yet. Its last report is older than the order.
 * - `orphaned`: the launcher is gone without a confirmed stop. Its processes count as alive until they are proved dead.
 */
export type WorkloadPhase = WorkloadState | 'starting' | 'orphaned'

/** The launcher that is connected, or was last. */
export const NO_LAUNCHER = {
  /** `silent`: it is connected, and has answered none of the last heartbeats. */
  state: 'missing' as 'missing' | 'connected' | 'silent',
  /** It has looked for what an earlier launcher left, so that its `idle` can be believed. */
  met: false,
  /** It was asked to end, and starts nothing any more. */
  ending: false,
  /** It is alone in its PID namespace, which ends with it. */
  alone: false,
  /** The version of the LangFlow that it starts; `null`: unknown. */
  langflow: null as string | null,
  /** See `Workload`. */
  ended: null as string | null,
  /** Of what it starts LangFlow from. */
  digests: UNKNOWN_DIGESTS as Digests,
  /** How many of the last heartbeats it has not answered. */
  unanswered: 0,
  /** Why it accepted no grant lately, in one sentence; `null`: it did, or there was none. */
  refusedGrant: null as string | null,
}
export type Launcher = Readonly<typeof NO_LAUNCHER>

/** Whether LangFlow does its work. */
const NOT_STARTED = {
  /** It answered the last probe, and nothing since then casts doubt on it. */
  healthy: false,
  /** It served, and its last probes got no answer at all. */
  hangs: false,
  /** Monotonic ms, when its start was ordered: the origin of the start's deadline. */
  orderedAt: 0,
  /** Monotonic ms of the first good answer since that start; `null`: there was none. */
  servedSince: null as number | null,
  /** Monotonic ms, when the present phase of a takeover began; `null`: no takeover is under way. */
  phaseBegan: null as number | null,
  /** How long the phase before took: from the order to start until the process ran. */
  startMs: 0,
}
export type Health = Readonly<typeof NOT_STARTED>

const NOTHING_KNOWN = {
  phase: 'idle' as WorkloadPhase,
  /** What a launcher reported last. */
  view: NOTHING as WorkloadView,
  launcher: NO_LAUNCHER as Launcher,
  health: NOT_STARTED as Health,
  /** The epoch in which LangFlow was healthy last. */
  servedEpoch: null as number | null,

  // Orders that may be lost with the connection: they are sent again when the same launcher returns.
  granted: null as Grant | null,
  /** The last order, if it was to end the workload. */
  endOrder: null as Extract<ToLauncher, { type: 'stop' | 'kill' }> | null,

  /** A kill was ordered, and the agent kills the launcher as well unless it confirms in time. */
  awaitsKill: false,
  /** Another replica leads and serves. */
  othersServe: false,
  effects: [] as readonly WorkloadEffect[],
}
/** Everything the supervisor knows. Only `step` makes a new one. */
export type WorkloadRecord = Readonly<typeof NOTHING_KNOWN>

export function initialRecord(now: number): WorkloadRecord {
  return { ...NOTHING_KNOWN, health: { ...NOT_STARTED, orderedAt: now } }
}

/** What the election orders. `drainDeadline`: monotonic ms; `open`: from where connections are open, `null`: unknown. */
export type Order =
  | Extract<ElectionEffect, { type: 'grant' | 'start' | 'kill' }>
  | { type: 'drain'; drainDeadline: number; graceMs: number }
  | { type: 'stop'; graceMs: number; drainMs: number; open: readonly string[] | null }
  | { type: 'leader_serves'; serves: boolean }

export type WorkloadEvent =
  | Order
  // The link.
  | { type: 'connected'; hello: Hello; returning: boolean; ended: string | null }
  | { type: 'received'; message: Exclude<ToAgent, Hello> }
  | { type: 'gone'; byPeer: boolean }
  | { type: 'closed' }
  | { type: 'heartbeat' }
  // The probe, and a drain in which LangFlow can be told to end.
  | { type: 'healthy' }
  | { type: 'unhealthy'; reason: string; hangs: boolean }
  | { type: 'endable'; leftMs: number }
  | { type: Deadline }
  // What came of a look at the port, and of killing the launcher.
  | { type: 'port_checked'; free: boolean }
  | { type: 'reclaimed' }
  // The second half of `received`, and of `connected`: the election may have given orders in between.
  | { type: 'viewed' }
  | { type: 'returned' }

/** What is over then: LangFlow's start, the launcher's time to confirm a kill, the kernel's time to end a PID namespace. */
export type Deadline = 'start_overdue' | 'kill_overdue' | 'namespace_due'

export type WorkloadEffect =
  | { type: 'send'; message: ToLauncher }
  | { type: 'tell'; fact: Fact }
  /** `servedMs` in place of a remedy: LangFlow itself failed, and its launcher could start it again. */
  | { type: 'fail'; why: Why<EndedBecause>; remedy: Remedy | { servedMs: number | null } }
  | { type: 'next'; event: WorkloadEvent }
  /** The workload is told to the election, and to those that show it; `changed`: to the latter alone. */
  | { type: 'report' }
  | { type: 'changed' }
  | { type: 'probe'; from: ProbedState }
  | { type: 'stop_probe' }
  | { type: 'begin_drain'; drainDeadline: number; graceMs: number }
  /** Nothing is waited for any more: neither the drain nor the cut-off. */
  | { type: 'end_drain' }
  /** What is open by then is cut off, by another stop. */
  | { type: 'cut_off_after'; ms: number; graceMs: number }
  | { type: 'arm'; deadline: Deadline; ms: number }
  | { type: 'disarm'; deadline: Deadline }
  | { type: 'check_port' }
  | { type: 'reclaim'; reason: string }
  | { type: 'measured'; what: 'start' | 'healthy' | 'stopped'; ms: number }
  | { type: 'log'; level: 'info' | 'warn' | 'error'; text: string; detail?: Parameters<Log['info']>[1] }
  /** Why the launcher refuses grants; `null`: it accepts them again. */
  | { type: 'grant_refusal'; problem: string | null }

/** Whether the launcher runs something, by its last report, or was told since to start it. */
export function mayLive({ phase, view }: WorkloadRecord): boolean {
  return phase === 'starting' || view.state !== 'idle'
}

/** LangFlow lost its worker: no process accepts connections any more. */
export function isUnserved({ view }: WorkloadRecord): boolean {
  return view.loss?.role === 'worker'
}

/** A launcher answers, runs nothing, has looked for what an earlier one left, and was not asked to end. */
export function canRun(record: WorkloadRecord): boolean {
  const { state, met, ending } = record.launcher
  return state === 'connected' && met && !ending && !mayLive(record)
}

/** A frozen workload answers nothing; once it is thawed it is as healthy as before. */
export function isHealthy({ view, health }: WorkloadRecord): boolean {
  return view.state !== 'frozen' && health.healthy
}

/** The workload as far as the election is concerned. */
export function workloadOf(wanted: AgentOptions['standby'], record: WorkloadRecord): Workload {
  const { phase, launcher, view } = record
  const { state, epoch, identity, killAt, loss, standby } = view
  const orphaned = phase === 'orphaned'
  const unproven = 'the launcher is gone, and nothing proves yet that its processes are dead'
  const unstopped = state === 'unstoppable' ? 'the workload could not be stopped' : null
  return {
    alive: orphaned ? 'maybe' : mayLive(record) ? 'yes' : 'no',
    canRun: canRun(record),
    prepared: standby.mode === wanted && (wanted === 'cold' || standby.state === 'ready'),
    ending: launcher.ending,
    langflow: launcher.langflow,
    inputs: launcher.digests.inputs ?? null,
    epoch,
    identity,
    killAt,
    ended: launcher.ended,
    failed: loss === null ? null : describeLoss(loss),
    well: isHealthy(record) && launcher.state === 'connected' && loss === null,
    stopFailed: unstopped ?? (orphaned ? unproven : null),
  }
}

/** What a step has beside the record and the event. */
export interface StepInput {
  readonly config: Pick<AgentOptions, 'startTimeoutMs' | 'stopTimeoutMs' | 'killMarginMs'> & {
    /** Agent and launcher share one process tree (`run`): the agent can kill the launcher and everything it left. */
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
