import { type Clock, systemClock } from '../../clock.ts'
import type { Values } from '../../config/setting.ts'
import { holderOf, type Lease } from '../../lease/lease.ts'
import {
  describePause,
  PAUSE_REASON,
  PAUSED,
  PAUSED_UNTIL,
  type Pause,
  pauseOf,
} from '../../lease/operator-annotations.ts'
import type { ReplicaRow } from '../../status/agent-status.ts'
import { Cluster, holderRow, NO_SUCH_REPLICA, type Operable, updateAnnotations } from '../cluster.ts'
import { EXIT_CODES, OperationError } from '../exit-codes.ts'
import type { COMMON_SETTINGS, PAUSE_SETTINGS } from '../operate-command.ts'
import { formatted, write } from '../output.ts'
import { underWay } from './switchover-plan.ts'
import { repeat } from './switchover-progress.ts'

export type PauseChange = Awaited<ReturnType<typeof settled>>

type NewPause = Pick<Values<typeof PAUSE_SETTINGS>, 'forMs' | 'reason'>

const SHOWN_WITHIN_MS = 5_000

/** Resolves to the exit code. `next`: the pause to start, or to change; `null` ends a pause. */
export async function runPause(
  { output, ...options }: Values<typeof COMMON_SETTINGS>,
  next: NewPause | null,
): Promise<number> {
  using cluster = await Cluster.connect(options)
  const change = next === null ? await resume(cluster, systemClock) : await pause(cluster, systemClock, next)
  await write(formatted(output, change, () => describeChange(change, next !== null)))
  return isInForce(change, next !== null) ? EXIT_CODES.fine : EXIT_CODES.failed
}

/** Starts a pause, or changes the present one. After a rejection, which is an `OperationError`, there is no new pause. */
export async function pause(cluster: Operable, clock: Clock, { forMs, reason }: NewPause) {
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
  return settled(cluster, clock, before)
}

/** Ends a pause, and removes the annotations of a pause that has expired. */
export async function resume(cluster: Operable, clock: Clock) {
  await cluster.replicas()
  let before = null as Pause | null
  await updateAnnotations(cluster, (lease) => {
    before = pauseOf(lease, 0)
    const notes = lease.metadata.annotations ?? {}
    const noted = [PAUSED, PAUSED_UNTIL, PAUSE_REASON].filter((key) => notes[key] !== undefined)
    return noted.length === 0 ? null : Object.fromEntries(noted.map((key) => [key, null]))
  })
  return settled(cluster, clock, before)
}

function leaderOf(lease: Lease, rows: readonly ReplicaRow[]): string | null {
  return holderOf(lease) === '' ? null : (holderRow(lease, rows)?.pod ?? holderOf(lease))
}

/** Waits until every replica that answers shows the pause as the Lease records it, for at most 5 s. */
async function settled(cluster: Operable, clock: Clock, before: Pause | null) {
  const limits = { timeoutMs: SHOWN_WITHIN_MS, signal: new AbortController().signal }
  const change = await repeat(clock, limits, async (isLast) => {
    // The Lease is read last, so that it is not older than the statuses.
    const read = async () => ({ rows: await cluster.replicas(), lease: await cluster.lease() })
    const { rows, lease } = await read().catch(({ message }: Error) => {
      throw new OperationError('unreachable', `the Lease was written, but cannot be read back: ${message}`)
    })
    const after = pauseOf(lease, 0)
    const replicas = rows.map(({ pod, status, problem }) => {
      const { pause } = status ?? {}
      const shows = pause?.until === after?.until && pause?.reason === after?.reason
      // `null`: the replica does not answer.
      return { pod, shows: status === null ? null : shows, problem }
    })
    const isOver = isLast || replicas.every(({ shows }) => shows !== false)
    return isOver ? { before, after, leader: leaderOf(lease, rows), replicas } : null
  })
  // The last look has a result.
  return change as Exclude<typeof change, string>
}

export function isInForce({ after, leader, replicas }: PauseChange, isPause: boolean): boolean {
  const leads = after !== null && replicas.some(({ pod, shows }) => pod === leader && shows)
  return (leads || !isPause) && replicas.every(({ shows }) => shows !== false)
}

export function describeChange({ before, after, leader, replicas }: PauseChange, isPause: boolean): string[] {
  const why = (problem: string | null) => problem ?? 'it may not reach the API server'
  const others = replicas
    .filter(({ shows }) => !shows)
    .map(({ pod, problem }) => `${pod} does not show the change: ${why(problem)}`)
  const ended =
    before === null ? 'there was no pause' : `resumed; takeovers were paused ${describePause(before)}`
  if (!isPause) return [ended, ...others]
  if (after === null) return ['not paused: the leader is handing over, or an operator resumed; pause again']
  const leads =
    leader === null
      ? 'no replica leads, and no takeover starts until you run langflow-leader resume'
      : replicas.every(({ pod }) => pod !== leader)
        ? `${leader} holds the Lease, but ${NO_SUCH_REPLICA}`
        : `${leader} stays the leader; a LangFlow that fails is not restarted until the pause ends, and LangFlow is still stopped if the Lease cannot be renewed`
  return [`paused ${describePause(after)}`, leads, ...others]
}
