import { type Clock, systemClock } from '../clock.ts'
import type { Values } from '../config/setting.ts'
import { holderOf, type Lease } from '../lease/lease.ts'
import {
  describePause,
  PAUSE_REASON,
  PAUSED,
  PAUSED_UNTIL,
  type Pause,
  pauseOf,
} from '../lease/operator-annotations.ts'
import type { ReplicaRow } from '../status/agent-status.ts'
import { Cluster, holderRow, NO_SUCH_REPLICA, type Operable, updateAnnotations } from './cluster.ts'
import { EXIT_CODES, OperationError } from './exit-codes.ts'
import { underWay } from './operator-request.ts'
import { formatted, operating, write } from './output.ts'
import type { PAUSE_SETTINGS, RESUME_SETTINGS } from './request-command.ts'
import { repeat } from './request-progress.ts'

/** Whether a replica's status shows the pause as the Lease records it. */
interface Shown {
  readonly pod: string
  /** `null` if the replica does not answer. */
  readonly shows: boolean | null
  /** The reason why the replica does not answer; `null` if it answers. */
  readonly problem: string | null
}

export interface PauseChange {
  /** `null` if there was no pause. */
  readonly before: Pause | null
  readonly after: Pause | null
  readonly leader: string | null
  readonly replicas: readonly Shown[]
}

/** Deadline for the replicas to show the change, in milliseconds. */
const SHOWN_WITHIN_MS = 5_000

/** Resolves to the exit code. */
export function runPause({ output, ...options }: Values<typeof PAUSE_SETTINGS>): Promise<number> {
  return operating(output, async () => {
    using cluster = await Cluster.connect(options)
    const change = await pause(cluster, systemClock, options)
    await write(formatted(output, change, () => describePaused(change)))
    return isInForce(change) ? EXIT_CODES.fine : EXIT_CODES.failed
  })
}

/** Resolves to the exit code. */
export function runResume({ output, ...options }: Values<typeof RESUME_SETTINGS>): Promise<number> {
  return operating(output, async () => {
    using cluster = await Cluster.connect(options)
    const change = await resume(cluster, systemClock)
    await write(formatted(output, change, () => describeResumed(change)))
    return change.replicas.some(({ shows }) => shows === false) ? EXIT_CODES.failed : EXIT_CODES.fine
  })
}

/**
 * Starts a pause, or changes the end of the current pause. Resolves when every replica that answers shows the pause, or after 5 s.
 * After a rejection, which is an `OperationError`, there is no new pause.
 */
export async function pause(
  cluster: Operable,
  clock: Clock,
  { forMs, reason }: { readonly forMs: number | null; readonly reason: string | null },
): Promise<PauseChange> {
  const rows = await cluster.replicas()
  let before = null as Pause | null
  await updateAnnotations(cluster, (lease) => {
    const status = holderRow(lease, rows)?.status ?? null
    const leader = leaderOf(lease, rows)
    const busy = leader === null ? null : underWay(lease, leader, status)
    if (busy !== null) throw new OperationError('switchover', `${busy}: wait until it ends, then pause`)
    // The end of a pause refers to the leader's clock. The clock of this machine may be wrong.
    const wallMs = Date.parse(status?.now ?? '') || clock.now().wall
    before = pauseOf(lease, wallMs)
    return {
      [PAUSED]: 'true',
      [PAUSED_UNTIL]: forMs === null ? null : new Date(wallMs + forMs).toISOString(),
      [PAUSE_REASON]: reason ?? before?.reason ?? null,
    }
  })
  return { before, ...(await settled(cluster, clock)) }
}

/** Ends a pause, and removes the annotations of a pause that has expired. Resolves and rejects as `pause` does. */
export async function resume(cluster: Operable, clock: Clock): Promise<PauseChange> {
  await cluster.replicas()
  let before = null as Pause | null
  await updateAnnotations(cluster, (lease) => {
    before = pauseOf(lease, 0)
    return removal(lease)
  })
  return { before, ...(await settled(cluster, clock)) }
}

/** The annotations of a pause, to be removed; `null` if there are no such annotations. */
function removal({ metadata }: Lease): Record<string, null> | null {
  const noted = [PAUSED, PAUSED_UNTIL, PAUSE_REASON].filter(
    (key) => metadata.annotations?.[key] !== undefined,
  )
  return noted.length === 0 ? null : Object.fromEntries(noted.map((key) => [key, null]))
}

function leaderOf(lease: Lease, rows: readonly ReplicaRow[]): string | null {
  return holderOf(lease) === '' ? null : (holderRow(lease, rows)?.pod ?? holderOf(lease))
}

/** Waits until every replica that answers shows the pause as the Lease records it, for at most 5 s. */
async function settled(cluster: Operable, clock: Clock): Promise<Omit<PauseChange, 'before'>> {
  const limits = { timeoutMs: SHOWN_WITHIN_MS, signal: new AbortController().signal }
  const change = await repeat(clock, limits, async (isLast) => {
    // The Lease is read last, so that it is not older than the statuses.
    const read = async () => ({ rows: await cluster.replicas(), lease: await cluster.lease() })
    const { rows, lease } = await read().catch(({ message }: Error) => {
      throw new OperationError('unreachable', `the Lease was written, but cannot be read back: ${message}`)
    })
    const after = pauseOf(lease, 0)
    const replicas = rows.map((row) => shownBy(row, after))
    const isOver = isLast || replicas.every(({ shows }) => shows !== false)
    return isOver ? { after, leader: leaderOf(lease, rows), replicas } : null
  })
  return change as Omit<PauseChange, 'before'>
}

function shownBy({ pod, status, problem }: ReplicaRow, after: Pause | null): Shown {
  if (status === null) return { pod, shows: null, problem }
  const { pause } = status
  return { pod, shows: pause?.until === after?.until && pause?.reason === after?.reason, problem }
}

/** A replica leads, and all replicas that answer show the pause. */
export function isInForce({ after, leader, replicas }: PauseChange): boolean {
  const leads = replicas.some(({ pod, shows }) => pod === leader && shows)
  return after !== null && leads && replicas.every(({ shows }) => shows !== false)
}

/** The result of `pause` for people, one sentence a line. */
export function describePaused({ after, leader, replicas }: PauseChange): string {
  if (after === null) return 'not paused: the leader is handing over, or an operator resumed; pause again\n'
  const leads =
    leader === null
      ? 'no replica leads, and no takeover starts until you run langflow-leader resume'
      : replicas.every(({ pod }) => pod !== leader)
        ? `${leader} holds the Lease, but ${NO_SUCH_REPLICA}`
        : `${leader} stays the leader; a LangFlow that fails is not restarted until the pause ends, and LangFlow is still stopped if the Lease cannot be renewed`
  return `paused ${describePause(after)}\n${leads}\n${notShown(replicas)}`
}

/** The result of `resume` for people, one sentence a line. */
export function describeResumed({ before, replicas }: PauseChange): string {
  const resumed =
    before === null ? 'there was no pause' : `resumed; takeovers were paused ${describePause(before)}`
  return `${resumed}\n${notShown(replicas)}`
}

function notShown(replicas: readonly Shown[]): string {
  const missing = replicas.filter(({ shows }) => !shows)
  const why = (problem: string | null) => problem ?? 'it may not reach the API server'
  return missing.map(({ pod, problem }) => `${pod} does not show the change: ${why(problem)}\n`).join('')
}
