import { type Clock, systemClock, pause as wait } from '../clock.ts'
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
import { formatted, operating, write } from './output.ts'
import type { PauseOptions, ResumeOptions } from './pause-command.ts'
import { isHandingOver, underWay } from './switchover.ts'

/** Whether a replica's status shows the pause as the Lease records it. */
export interface Shown {
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
  /** Set if nothing was written. */
  readonly dryRun?: true
}

/** Deadline for the replicas to show the change, and the time between two reads, in milliseconds. */
const SHOWN_WITHIN_MS = 5_000
const LOOK_MS = 250

/** Resolves to the exit code. */
export function runPause(options: PauseOptions): Promise<number> {
  return operating(options.output, async () => {
    using cluster = await Cluster.connect(options)
    const change = await pause(cluster, systemClock, options)
    await write(formatted(options.output, change, () => describePaused(change)))
    return change.dryRun || isInForce(change) ? EXIT_CODES.fine : EXIT_CODES.failed
  })
}

/** Resolves to the exit code. */
export function runResume(options: ResumeOptions): Promise<number> {
  const { output } = options
  return operating(output, async () => {
    using cluster = await Cluster.connect(options)
    const change = await resume(cluster, systemClock, options)
    await write(formatted(output, change, () => describeResumed(change)))
    return change.replicas.some(({ shows }) => shows === false) ? EXIT_CODES.failed : EXIT_CODES.fine
  })
}

/**
 * Starts a pause, or changes the end of the current pause. Resolves when every replica that answers shows the pause, or after 5 s; in
 * a dry run immediately, without replicas. After a rejection, which is an `OperationError`, there is no new pause.
 */
export async function pause(
  cluster: Operable,
  clock: Clock,
  { forMs, reason, dryRun }: Pick<PauseOptions, 'forMs' | 'reason'> & { readonly dryRun?: boolean },
): Promise<PauseChange> {
  const rows = await cluster.replicas()
  let before = null as Pause | null
  const written = await updateAnnotations(cluster, (lease) => {
    const leader = holderRow(lease, rows)
    const name = leaderOf(lease, rows)
    const busy = name === null ? null : underWay(lease, name, leader?.status ?? null)
    if (busy !== null) throw new OperationError('switchover', `${busy}: wait until it ends, then pause`)
    // The end of a pause refers to the leader's clock. The clock of this machine may be wrong.
    const wallMs = Date.parse(leader?.status?.now ?? '') || clock.now().wall
    before = pauseOf(lease, wallMs)
    return {
      [PAUSED]: 'true',
      [PAUSED_UNTIL]: forMs === null ? null : new Date(wallMs + forMs).toISOString(),
      [PAUSE_REASON]: reason ?? before?.reason ?? null,
    }
  })
  const after = pauseOf(written, 0)
  if (dryRun) return { before, after, leader: leaderOf(written, rows), replicas: [], dryRun }
  return { before, ...(await settled(cluster, clock)) }
}

/**
 * Ends a pause, and removes the annotations of a pause that has expired. Resolves and rejects as `pause` does: if the replicas cannot be
 * read, nothing is written.
 */
export async function resume(
  cluster: Operable,
  clock: Clock,
  { dryRun }: { readonly dryRun?: boolean } = {},
): Promise<PauseChange> {
  const rows = await cluster.replicas()
  let before = null as Pause | null
  const written = await updateAnnotations(cluster, (lease) => {
    before = pauseOf(lease, 0)
    return removal(lease)
  })
  if (dryRun) return { before, after: null, leader: leaderOf(written, rows), replicas: [], dryRun }
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
  const end = clock.mono() + SHOWN_WITHIN_MS
  // The Lease is read last, so that it is not older than the statuses.
  const read = async () => ({ rows: await cluster.replicas(), lease: await cluster.lease() })
  for (;;) {
    const { rows, lease } = await read().catch(({ message }: Error) => {
      throw new OperationError('unreachable', `the Lease was written, but cannot be read back: ${message}`)
    })
    const after = pauseOf(lease, 0)
    if (after !== null) await refuseIfHandingOver(cluster, holderRow(lease, rows))
    const replicas = rows.map((row) => shownBy(row, after))
    if (replicas.every(({ shows }) => shows !== false) || clock.mono() >= end)
      return { after, leader: leaderOf(lease, rows), replicas }
    await wait(clock, LOOK_MS)
  }
}

function shownBy({ pod, status, problem }: ReplicaRow, after: Pause | null): Shown {
  if (status === null) return { pod, shows: null, problem }
  const { pause } = status
  return { pod, shows: pause?.until === after?.until && pause?.reason === after?.reason, problem }
}

/**
 * Withdraws a pause if the leader is handing over: no replica could take over from it. The leader itself removes only a pause that it
 * read after the start of the handover.
 */
async function refuseIfHandingOver(cluster: Operable, leader: ReplicaRow | null): Promise<void> {
  if (!leader?.status || !isHandingOver(leader.status)) return
  await updateAnnotations(cluster, removal)
  throw new OperationError(
    'switchover',
    `${leader.pod} is handing over (${leader.status.leadership.steppingDown ?? 'to another replica'}), so the pause was withdrawn: wait until the handover ends, then pause`,
  )
}

/** A replica leads, and all replicas that answer show the pause. */
export function isInForce({ after, leader, replicas }: PauseChange): boolean {
  const leads = replicas.some(({ pod, shows }) => pod === leader && shows)
  return after !== null && leads && replicas.every(({ shows }) => shows !== false)
}

/** The result of `pause` for people, one sentence a line. */
export function describePaused({ after, leader, replicas, dryRun }: PauseChange): string {
  if (dryRun && after !== null) return lines(`would pause ${describePause(after)} (server dry run)`)
  if (after === null)
    return lines('not paused: the leader is handing over, or an operator resumed; pause again')
  return lines(`paused ${describePause(after)}`, leads(leader, replicas), ...notShown(replicas))
}

function leads(leader: string | null, replicas: readonly Shown[]): string {
  if (leader === null) return 'no replica leads, and no takeover starts until you run langflow-leader resume'
  if (replicas.every(({ pod }) => pod !== leader)) return `${leader} holds the Lease, but ${NO_SUCH_REPLICA}`
  return `${leader} stays the leader; a LangFlow that fails is not restarted until the pause ends, and LangFlow is still stopped if the Lease cannot be renewed`
}

/** The result of `resume` for people, one sentence a line. */
export function describeResumed({ before, replicas, dryRun }: PauseChange): string {
  if (dryRun && before !== null)
    return lines(`would resume; takeovers are paused ${describePause(before)} (server dry run)`)
  const resumed =
    before === null ? 'there was no pause' : `resumed; takeovers were paused ${describePause(before)}`
  return lines(resumed, ...notShown(replicas))
}

function notShown(replicas: readonly Shown[]): string[] {
  return replicas
    .filter(({ shows }) => !shows)
    .map(
      ({ pod, problem }) =>
        `${pod} does not show the change: ${problem ?? 'it may not reach the API server'}`,
    )
}

function lines(...sentences: string[]): string {
  return sentences.map((sentence) => `${sentence}\n`).join('')
}
