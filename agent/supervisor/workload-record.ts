import type { AgentOptions } from '../config/options.ts'
import type { Fact, Remedy, Why, Workload, WorkloadOrder } from '../election/state.ts'
import { NEVER } from '../election/state.ts'
import type { EndedBecause } from '../lease/reasons.ts'
import type {
  Digests,
  Hello,
  ToAgent,
  ToLauncher,
  WorkloadState,
  WorkloadView,
} from '../link/link-messages.ts'
import { describeLoss, NOTHING, UNKNOWN_DIGESTS } from '../link/link-messages.ts'
import type { Log } from '../observe/log.ts'
import type { ProbedState } from './health-probe.ts'

/**
 * The agent's conclusion about the workload: the state that the launcher reports, or one of two that it cannot report.
 *
 * - `starting`: a start was ordered, and the launcher has not answered it yet. Its last report is older than the order.
 * - `orphaned`: the launcher is gone without a confirmed stop. Its processes count as alive until they are proved dead.
 */
export type WorkloadPhase = WorkloadState | 'starting' | 'orphaned'

export const NO_LAUNCHER = {
  /** `silent`: it is connected, and has answered none of the last heartbeats. */
  state: 'missing' as 'missing' | 'connected' | 'silent',
  /** It has searched for remains of an earlier launcher, so its `idle` is reliable. */
  met: false,
  /** It was asked to end, and starts nothing any more. */
  ending: false,
  /** It is alone in its PID namespace, which ends with it. */
  alone: false,
  langflow: null as string | null,
  ended: null as string | null,
  digests: UNKNOWN_DIGESTS as Digests,
  refusedGrant: null as string | null,
}
export type LauncherRecord = Readonly<typeof NO_LAUNCHER>

/** Times are monotonic ms. */
export const NOT_STARTED = {
  /** LangFlow answered the last probe, and nothing since then casts doubt on it. */
  healthy: false,
  hangs: false,
  /** The origin of the start's deadline. */
  orderedAt: 0,
  servedSince: null as number | null,
  /** When the present phase of a takeover began. `null`: no takeover is in progress. */
  phaseBegan: null as number | null,
  startMs: 0,
}
export type Health = Readonly<typeof NOT_STARTED>

/** `/health` is not answered in time. All times are monotonic ms. */
export interface Silence {
  /** When the first unanswered probe was given up. */
  readonly since: number
  /** The begin of the present row of `--health-failures` probes. Each row is judged by itself. */
  readonly rowSince: number
  readonly readings: readonly { readonly at: number; readonly cpuMs: number }[]
}

const NOTHING_SEEN = {
  now: 0,
  phase: 'idle' as WorkloadPhase,
  view: NOTHING as WorkloadView,
  launcher: NO_LAUNCHER as LauncherRecord,
  unanswered: 0,
  health: NOT_STARTED as Health,
  probed: null as ProbedState | null,
  silence: null as Silence | null,
  servedEpoch: null as number | null,
  /** The last order, if it was to end the workload. It is sent again when the same launcher returns. */
  endOrder: null as Extract<ToLauncher, { type: 'stop' | 'kill' }> | null,
  closing: null as EndingOrder | null,
  /** A wait until no connection to LangFlow is open. From `endableAt` on, it may get SIGTERM; `NEVER`: it has. */
  drain: null as Readonly<{ deadline: number; endableAt: number }> | null,
  /** When LangFlow must be healthy, no longer busy, or the launcher must have confirmed a kill. Monotonic ms. */
  deadlines: { start: NEVER, busy: NEVER, kill: NEVER },
  othersServe: false,
  effects: [] as readonly WorkloadEffect[],
}
export type AgentFlags = Pick<
  AgentOptions,
  'standby' | 'killMarginMs' | `${'start' | 'stop' | 'busy'}TimeoutMs`
>
export type WorkloadRecord = Readonly<typeof NOTHING_SEEN> & {
  readonly config: AgentFlags & {
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
  | WorkloadOrder
  | { type: 'leader_serves'; serves: boolean }
  | { type: 'connected'; hello: Hello; returning: boolean; ended: string | null }
  | { type: 'received'; message: Exclude<ToAgent, Hello> }
  | { type: 'gone'; byPeer: boolean }
  | { type: 'healthy' }
  | { type: 'silence'; lasts: boolean }
  /** `answeredAt`: see `SupervisorOptions`. */
  | { type: 'unhealthy'; reason: string; hangs: boolean; answeredAt: number }
  | { type: 'gate_closed' | 'looked'; open: Connections }
  /** No process of a launcher that is gone is alive. */
  | { type: 'proved_dead' }
  | { type: 'heartbeat' | 'deadline' }

export type WorkloadEffect =
  | { type: 'send'; message: ToLauncher }
  | { type: 'dispatch'; fact: Fact }
  /** `servedMs` in place of a remedy: LangFlow itself failed, and its launcher could restart it. */
  | { type: 'fail'; why: Why<EndedBecause>; remedy: Remedy | { servedMs: number | null } }
  | { type: 'report' }
  | { type: 'close_gate' }
  /** The kernel is ending the launcher's PID namespace. */
  | { type: 'await_death' }
  | { type: 'reclaim'; reason: string }
  | { type: 'stopped'; ms: number }
  | { type: 'log'; level: 'info' | 'warn' | 'error'; text: string; detail?: Parameters<Log['info']>[1] }

export function mayLive({ phase, view }: WorkloadRecord): boolean {
  return phase === 'starting' || view.state !== 'idle'
}

/** LangFlow lost its worker: no process accepts connections any more. */
export function isUnserved({ view }: WorkloadRecord): boolean {
  return view.loss?.role === 'worker'
}

/** Whether LangFlow may be answering requests. If it stops without an order, it has ended by itself. */
export function mayServe(record: WorkloadRecord): boolean {
  const { health, endOrder } = record
  const { state } = record.view
  if (health.servedSince === null || isUnserved(record)) return false
  return state === 'running' || state === 'frozen' || (state === 'stopping' && endOrder !== null)
}

function canRun(record: WorkloadRecord): boolean {
  const { state, met, ending } = record.launcher
  return state === 'connected' && met && !ending && !mayLive(record)
}

function isHealthy({ view, health }: WorkloadRecord): boolean {
  return view.state !== 'frozen' && health.healthy
}

export function statusOf(record: WorkloadRecord) {
  const { view, launcher, health, servedEpoch, deadlines } = record
  const busy = deadlines.busy === NEVER ? null : record.silence
  const served = health.servedSince !== null || (servedEpoch !== null && servedEpoch === view.epoch)
  return {
    view,
    launcher: launcher.state,
    refusedGrant: launcher.refusedGrant,
    digests: launcher.digests,
    canRun: canRun(record),
    healthy: isHealthy(record),
    served,
    busy: busy && { ms: record.now - busy.since, cpuMs: usedMs(busy.readings) },
  }
}

export function usedMs(readings: Silence['readings']): number {
  return (readings.at(-1)?.cpuMs ?? 0) - (readings[0]?.cpuMs ?? 0)
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
