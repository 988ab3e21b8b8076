import { type Clock, pause as wait } from '../clock.ts'
import { holderOf, type Lease } from '../lease/lease.ts'
import { PAUSE_REASON, PAUSED, PAUSED_UNTIL, type Pause, pauseOf } from '../lease/operator-annotations.ts'
import type { ReplicaRow } from '../observe/agent-status.ts'
import { type Operable, swap } from './annotate-lease.ts'
import { holderRow } from './cluster.ts'
import { OperationError } from './exit-codes.ts'
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
  await swap(cluster, (lease) => {
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
  return changed(before, await settled(cluster, clock))
}

/** Ends a pause, also one that is over and still noted. Otherwise as `pause`. */
export async function resume(cluster: Operable, clock: Clock): Promise<PauseChange> {
  let before = null as Pause | null
  await swap(cluster, (lease) => {
    before = pauseOf(lease, 0)
    return removal(lease)
  })
  return changed(before, await settled(cluster, clock))
}

/** The annotations of a pause to remove; `null`: there are none. */
function removal({ metadata }: Lease): Record<string, null> | null {
  const noted = [PAUSED, PAUSED_UNTIL, PAUSE_REASON].filter(
    (key) => metadata.annotations?.[key] !== undefined,
  )
  return noted.length === 0 ? null : Object.fromEntries(noted.map((key) => [key, null]))
}

/** Replicas judge a pause by their own clocks: the leader's counts, not that of whoever pauses. Unix time in milliseconds. */
function replicasTime(leader: ReplicaRow | null, clock: Clock): number {
  const told = Date.parse(leader?.status?.now ?? '')
  return Number.isNaN(told) ? clock.now().wall : told
}

function leaderOf(lease: Lease, rows: readonly ReplicaRow[]): string | null {
  return holderOf(lease) === '' ? null : (holderRow(lease, rows)?.pod ?? holderOf(lease))
}

/** The Lease, and what the replicas say of it. */
interface Look {
  readonly lease: Lease
  readonly rows: readonly ReplicaRow[]
  readonly replicas: readonly Shown[]
}

function changed(before: Pause | null, { lease, rows, replicas }: Look): PauseChange {
  return { before, after: pauseOf(lease, 0), leader: leaderOf(lease, rows), replicas }
}

/** Looks until the leader and each other replica that answers show the pause of the Lease, or its absence; for 5 s at most. */
async function settled(cluster: Operable, clock: Clock): Promise<Look> {
  const end = clock.mono() + SHOWN_WITHIN_MS
  for (;;) {
    const look = await lookAt(cluster).catch((error: Error) => error)
    const late = clock.mono() >= end
    if (!(look instanceof Error)) {
      const { lease, rows, replicas } = look
      const leader = holderRow(lease, rows)
      if (pauseOf(lease, 0) !== null) await refuseIfHandingOver(cluster, leader)
      const isLeaderSilent = replicas.find(({ pod }) => pod === leader?.pod)?.shows === null
      if (late || (!isLeaderSilent && replicas.every(({ shows }) => shows !== false))) return look
    } else if (late) {
      throw new OperationError(
        'unreachable',
        `the Lease says so now, but what the replicas show is unknown: ${look.message}`,
      )
    }
    await wait(clock, LOOK_MS)
  }
}

/** The replicas first: what the Lease says afterwards is the newest. */
async function lookAt(cluster: Operable): Promise<Look> {
  const rows = await cluster.replicas()
  const lease = await cluster.lease()
  const after = pauseOf(lease, 0)
  const replicas = rows.map(({ pod, status, problem }) => {
    const pause = status?.pause
    const isShown = pause?.until === after?.until && pause?.reason === after?.reason
    return { pod, shows: status === null ? null : isShown, problem }
  })
  return { lease, rows, replicas }
}

/** No replica could follow a leader that hands over. It removes a later pause itself, but not one that it saw before. */
async function refuseIfHandingOver(cluster: Operable, leader: ReplicaRow | null): Promise<void> {
  if (!leader?.status || !isHandingOver(leader.status)) return
  await swap(cluster, removal)
  throw new OperationError(
    'switchover',
    `${leader.pod} hands over (${leader.status.leadership.steppingDown ?? 'to another one'}), so the pause is taken back: pause when it is over`,
  )
}
