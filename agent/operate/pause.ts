import { type Clock, pause as wait } from '../clock.ts'
import { holderOf, type Lease } from '../lease/lease.ts'
import { PAUSE_REASON, PAUSED, PAUSED_UNTIL, type Pause, pauseOf } from '../lease/operation.ts'
import type { AgentStatus, ReplicaRow } from '../observe/status.ts'
import { holderRow } from './cluster.ts'
import { OperationError } from './exit-codes.ts'
import { type Operable, swap } from './swap.ts'
import { isHandingOver, underWay } from './switchover.ts'

/** Whether a replica goes by what the Lease says now. */
export interface Shown {
  readonly pod: string
  /** `null`: it does not answer. */
  readonly shows: boolean | null
  /** Why it does not answer; `null`: it does. */
  readonly problem: string | null
}

export interface PauseChange {
  /** `null`: nothing is paused. */
  readonly before: Pause | null
  readonly after: Pause | null
  readonly leader: string | null
  readonly replicas: readonly Shown[]
}

/** How long the replicas have for what the Lease says to reach them, and the time between two looks, in milliseconds. */
const SHOWN_WITHIN_MS = 5_000
const LOOK_MS = 250

export interface PauseRequest {
  /** Milliseconds from now; `null`: until somebody resumes. */
  readonly forMs: number | null
  /** `null`: the one that there is, or none. */
  readonly reason: string | null
}

/**
 * Has no takeover start and LangFlow left alone. One that there is gets another end. Resolves once each replica that answers
 * shows it, or has not within 5 s. Rejects with an `OperationError`; nothing is paused then.
 */
export async function pause(
  cluster: Operable,
  clock: Clock,
  { forMs, reason }: PauseRequest,
): Promise<PauseChange> {
  const rows = await cluster.replicas()
  const ignorant = rows.filter(({ status }) => status !== null && status.pause === undefined)
  if (ignorant.length > 0) {
    const pods = ignorant.map(({ pod, status }) => `${pod} (${status?.version})`).join(', ')
    throw new OperationError(
      'too_old',
      `a langflow-leader that knows no pause would not keep it: update ${pods} first`,
    )
  }
  let before = null as Pause | null
  const lease = await swap(cluster, (lease) => {
    const leader = holderRow(lease, rows)
    const name = leaderOf(lease, rows)
    const busy = name === null ? null : underWay(lease, name, leader?.status ?? null)
    if (busy !== null) throw new OperationError('switchover', `${busy}: pause when it is over`)
    const wallMs = replicasTime(leader, clock)
    before = pauseOf(lease, wallMs)
    return {
      [PAUSED]: 'true',
      [PAUSED_UNTIL]: forMs === null ? null : new Date(wallMs + forMs).toISOString(),
      [PAUSE_REASON]: reason ?? before?.reason ?? null,
    }
  })
  await refuseIfHandingOver(cluster, lease, rows)
  const after = pauseOf(lease, 0)
  const isShown = ({ pause }: AgentStatus) => pause?.until === after?.until && pause?.reason === after?.reason
  return { before, after, leader: leaderOf(lease, rows), replicas: await shown(cluster, clock, isShown) }
}

/** Ends a pause, also one that is over and still noted. Otherwise as `pause`. */
export async function resume(cluster: Operable, clock: Clock): Promise<PauseChange> {
  const rows = await cluster.replicas()
  let before = null as Pause | null
  const lease = await swap(cluster, (lease) => {
    before = pauseOf(lease, 0)
    const noted = [PAUSED, PAUSED_UNTIL, PAUSE_REASON].filter(
      (key) => lease.metadata.annotations?.[key] !== undefined,
    )
    return noted.length === 0 ? null : Object.fromEntries(noted.map((key) => [key, null]))
  })
  // One of an earlier version knows no pause.
  const isShown = ({ pause }: AgentStatus) => (pause ?? null) === null
  return {
    before,
    after: null,
    leader: leaderOf(lease, rows),
    replicas: await shown(cluster, clock, isShown),
  }
}

/** A leader that began to hand over before it heard of the pause goes on with it, and nobody could follow. */
async function refuseIfHandingOver(
  cluster: Operable,
  lease: Lease,
  rows: readonly ReplicaRow[],
): Promise<void> {
  const pod = holderRow(lease, rows)?.pod ?? null
  const status = pod === null ? null : await cluster.status(pod).catch(() => null)
  if (status === null || !isHandingOver(status)) return
  await swap(cluster, () => ({ [PAUSED]: null, [PAUSED_UNTIL]: null, [PAUSE_REASON]: null }))
  throw new OperationError(
    'switchover',
    `${pod} hands over (${status.leadership.steppingDown ?? 'to another one'}), so the pause is taken back: pause when it is over`,
  )
}

/** Replicas judge a pause by their own clocks: the leader's counts, not that of whoever pauses. Unix time in milliseconds. */
function replicasTime(leader: ReplicaRow | null, clock: Clock): number {
  const told = Date.parse(leader?.status?.now ?? '')
  return Number.isNaN(told) ? clock.now().wall : told
}

function leaderOf(lease: Lease, rows: readonly ReplicaRow[]): string | null {
  return holderOf(lease) === '' ? null : (holderRow(lease, rows)?.pod ?? holderOf(lease))
}

/** Asks all replicas until each that answers shows it, for 5 s at most. */
async function shown(
  cluster: Operable,
  clock: Clock,
  isShown: (status: AgentStatus) => boolean,
): Promise<Shown[]> {
  const end = clock.mono() + SHOWN_WITHIN_MS
  for (;;) {
    const rows = await cluster.replicas().catch((error: Error) => error)
    const late = clock.mono() >= end
    if (!(rows instanceof Error)) {
      const replicas = rows.map(({ pod, status, problem }) => ({
        pod,
        shows: status === null ? null : isShown(status),
        problem,
      }))
      if (late || replicas.every(({ shows }) => shows !== false)) return replicas
    } else if (late) {
      const { message } = rows
      throw new OperationError(
        'unreachable',
        `the Lease says so now, but what the replicas show is unknown: ${message}`,
      )
    }
    await wait(clock, LOOK_MS)
  }
}
