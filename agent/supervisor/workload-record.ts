import type { AgentOptions } from '../config/options.ts'
import {
  type Fact,
  NEVER,
  type Remedy,
  type Why,
  type Workload,
  type WorkloadOrder,
} from '../election/state.ts'
import type { EndedBecause } from '../lease/reasons.ts'
import {
  type Digests,
  describeLoss,
  type Hello,
  NOTHING,
  type ToAgent,
  type ToLauncher,
  UNKNOWN_DIGESTS,
  type WorkloadState,
  type WorkloadView,
} from '../link/link-messages.ts'
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
  /** See `Workload`. */
  langflow: null as string | null,
  ended: null as string | null,
  /** Digests of the inputs of LangFlow's start. */
  digests: UNKNOWN_DIGESTS as Digests,
  /** Why it accepted no grant recently, in one sentence. */
  refusedGrant: null as string | null,
}
export type LauncherRecord = Readonly<typeof NO_LAUNCHER>

export const NOT_STARTED = {
  /** LangFlow answered the last probe, and nothing since then casts doubt on it. */
  healthy: false,
  /** It served, and its last probes got no answer at all. */
  hangs: false,
  /** Monotonic ms of the order to start: the origin of the start's deadline. */
  orderedAt: 0,
  /** Monotonic ms of the first good answer since that start. */
  servedSince: null as number | null,
  /** Monotonic ms at which the present phase of a takeover began. `null`: no takeover is in progress. */
  phaseBegan: null as number | null,
  /** Duration of the phase before: from the order to start until the process ran. */
  startMs: 0,
}
export type Health = Readonly<typeof NOT_STARTED>

/** A wait until no connection to LangFlow is open. */
export interface Drain {
  /** Monotonic ms at which the election ends the wait. */
  readonly deadline: number
  /** Monotonic ms from which LangFlow may be sent SIGTERM. `NEVER`: it was. */
  readonly endableAt: number
  /** The open connections as last seen, such as `1 connection`. */
  readonly waitsFor: string | null
}

const NOTHING_SEEN = {
  /** Monotonic ms of the present step. */
  now: 0,
  phase: 'idle' as WorkloadPhase,
  /** The last report of a launcher. */
  view: NOTHING as WorkloadView,
  launcher: NO_LAUNCHER as LauncherRecord,
  /** Number of heartbeats that the launcher has not answered since its last answer. */
  unanswered: 0,
  health: NOT_STARTED as Health,
  /** The state in which LangFlow is probed. `null`: it is not probed. */
  probed: null as ProbedState | null,
  /** The last epoch in which LangFlow was healthy. */
  servedEpoch: null as number | null,
  /** The last order, if it was to end the workload. It is sent again when the same launcher returns. */
  endOrder: null as Extract<ToLauncher, { type: 'stop' | 'kill' }> | null,
  /** The order that waits until the gate is closed. */
  closing: null as EndingOrder | null,
  drain: null as Drain | null,
  /** Monotonic ms by which LangFlow must be healthy, or the launcher must have confirmed a kill. */
  deadlines: { start: NEVER, kill: NEVER },
  /** Another replica leads and serves. */
  othersServe: false,
  effects: [] as readonly WorkloadEffect[],
}
/** The whole state of the supervisor. Only `step` creates a new one. */
export type WorkloadRecord = Readonly<typeof NOTHING_SEEN> & {
  readonly config: Pick<AgentOptions, 'standby' | 'startTimeoutMs' | 'stopTimeoutMs' | 'killMarginMs'> & {
    /** Agent and launcher share one process tree (`run`): the agent can kill the launcher and all its processes. */
    readonly canReclaim: boolean
  }
}

export function initialRecord(config: WorkloadRecord['config'], now: number): WorkloadRecord {
  return { ...NOTHING_SEEN, config, now, health: { ...NOT_STARTED, orderedAt: now } }
}

export type EndingOrder = Extract<WorkloadOrder, { type: 'drain' | 'stop' }>
/** The number of open connections. `null`: it cannot be determined. */
export type Connections = number | null

export type WorkloadEvent =
  // The election. A grant passes to the link without a decision here.
  | Exclude<WorkloadOrder, { type: 'grant' }>
  | { type: 'leader_serves'; serves: boolean }
  // The link.
  | { type: 'connected'; hello: Hello; returning: boolean; ended: string | null }
  | { type: 'received'; message: Exclude<ToAgent, Hello> }
  | { type: 'gone'; byPeer: boolean }
  // The probe.
  | { type: 'healthy' }
  | { type: 'unhealthy'; reason: string; hangs: boolean }
  // The machine.
  | { type: 'gate_closed' | 'looked'; open: Connections }
  /** No process of a launcher that is gone is alive. */
  | { type: 'proved_dead' }
  | { type: 'heartbeat' | 'deadline' }

export type WorkloadEffect =
  | { type: 'send'; message: ToLauncher }
  | { type: 'dispatch'; fact: Fact }
  /** `servedMs` in place of a remedy: LangFlow itself failed, and its launcher could restart it. */
  | { type: 'fail'; why: Why<EndedBecause>; remedy: Remedy | { servedMs: number | null } }
  /** Passes the workload to the election and to the status. */
  | { type: 'report' }
  | { type: 'close_gate' }
  /** The kernel is ending the launcher's PID namespace. */
  | { type: 'await_death' }
  /** Kills the launcher and all its processes. */
  | { type: 'reclaim'; reason: string }
  | { type: 'stopped'; ms: number }
  | { type: 'log'; level: 'info' | 'warn' | 'error'; text: string; detail?: Parameters<Log['info']>[1] }

/** Whether the launcher runs a workload by its last report, or was ordered to start one since. */
export function mayLive({ phase, view }: WorkloadRecord): boolean {
  return phase === 'starting' || view.state !== 'idle'
}

/** LangFlow lost its worker: no process accepts connections any more. */
export function isUnserved({ view }: WorkloadRecord): boolean {
  return view.loss?.role === 'worker'
}

/** Whether LangFlow may be answering requests. If it stops without an order, it has ended by itself. */
export function mayServe(record: WorkloadRecord): boolean {
  const { view, health, endOrder } = record
  if (health.servedSince === null || isUnserved(record)) return false
  return (
    view.state === 'running' || view.state === 'frozen' || (view.state === 'stopping' && endOrder !== null)
  )
}

/** A launcher answers, runs nothing, has searched for remains of an earlier one, and was not asked to end. */
function canRun(record: WorkloadRecord): boolean {
  const { state, met, ending } = record.launcher
  return state === 'connected' && met && !ending && !mayLive(record)
}

/** A frozen workload does not answer. After a thaw it is as healthy as before. */
function isHealthy({ view, health }: WorkloadRecord): boolean {
  return view.state !== 'frozen' && health.healthy
}

/** The workload, for the gate and for people. */
export function statusOf(record: WorkloadRecord) {
  const { view, launcher, health, drain, servedEpoch } = record
  const served = health.servedSince !== null || (servedEpoch !== null && servedEpoch === view.epoch)
  return {
    view,
    launcher: launcher.state,
    refusedGrant: launcher.refusedGrant,
    digests: launcher.digests,
    canRun: canRun(record),
    healthy: isHealthy(record),
    /** The connections that a planned stop waits for. */
    draining: drain?.waitsFor ?? null,
    /** Whether LangFlow was healthy in its present term. */
    served,
  }
}

export function workloadOf(record: WorkloadRecord): Workload {
  const { config, phase, launcher, view } = record
  const { state, epoch, identity, killAt, loss, standby } = view
  const orphaned = phase === 'orphaned'
  const unproven = 'the launcher is gone, and its processes may still be alive'
  const unstopped = state === 'unstoppable' ? 'the workload could not be stopped' : null
  return {
    alive: orphaned ? 'maybe' : mayLive(record) ? 'yes' : 'no',
    canRun: canRun(record),
    prepared: standby.mode === config.standby && (standby.mode === 'cold' || standby.state === 'ready'),
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

export function describeConnections(open: Connections): string {
  return `${open ?? 'unknown'} connection${open === 1 ? '' : 's'}`
}
