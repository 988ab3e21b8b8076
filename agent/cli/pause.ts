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
import type { ReplicaRow } from '../observe/agent-status.ts'
import { Cluster, holderRow, type Operable, swap } from './cluster.ts'
import { EXIT_CODES, OperationError } from './exit-codes.ts'
import { formatted, operating, write } from './output.ts'
import type { PauseOptions, ResumeOptions } from './pause-command.ts'
import { isHandingOver, underWay } from './switchover.ts'

/** Whether a replica shows in its status what the Lease says. */
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

/** How long the replicas have to show what the Lease says, and the time between two looks, in milliseconds. */
const SHOWN_WITHIN_MS = 5_000
const LOOK_MS = 250

/** Resolves to the exit code. */
export function runPause(options: PauseOptions): Promise<number> {
  return operating(options.output, async () => {
    using cluster = await Cluster.connect(options)
    const change = await pause(cluster, systemClock, options)
    await write(formatted(options.output, change, () => describePaused(change)))
    return isInForce(change) ? EXIT_CODES.fine : EXIT_CODES.failed
  })
}

/** Resolves to the exit code. */
export function runResume({ output, ...options }: ResumeOptions): Promise<number> {
  return operating(output, async () => {
    using cluster = await Cluster.connect(options)
    const change = await resume(cluster, systemClock)
    await write(formatted(output, change, () => describeResumed(change)))
    return change.replicas.some(({ shows }) => shows === false) ? EXIT_CODES.failed : EXIT_CODES.fine
  })
}

/**
 * Starts a pause, or gives one that there is another end. Resolves once each replica that answers shows it, or after 5 s. Rejects with
 * an `OperationError`; then nothing is paused.
 */
export async function pause(
  cluster: Operable,
  clock: Clock,
  { forMs, reason }: Pick<PauseOptions, 'forMs' | 'reason'>,
): Promise<PauseChange> {
  const rows = await cluster.replicas()
  const old = rows.filter(({ status }) => status !== null && status.pause === undefined)
  if (old.length > 0) {
    const pods = old.map(({ pod, status }) => `${pod} (${status?.version})`).join(', ')
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
    // The replicas judge a pause by the leader's clock: that of this machine may be wrong.
    const told = Date.parse(leader?.status?.now ?? '')
    const wallMs = Number.isNaN(told) ? clock.now().wall : told
    before = pauseOf(lease, wallMs)
    return {
      [PAUSED]: 'true',
      [PAUSED_UNTIL]: forMs === null ? null : new Date(wallMs + forMs).toISOString(),
      [PAUSE_REASON]: reason ?? before?.reason ?? null,
    }
  })
  return { before, ...(await settled(cluster, clock)) }
}

/** Ends a pause, also one that is over and still noted. Otherwise as `pause`. */
export async function resume(cluster: Operable, clock: Clock): Promise<PauseChange> {
  let before = null as Pause | null
  await swap(cluster, (lease) => {
    before = pauseOf(lease, 0)
    return removal(lease)
  })
  return { before, ...(await settled(cluster, clock)) }
}

/** The annotations of a pause to remove; `null`: there are none. */
function removal({ metadata }: Lease): Record<string, null> | null {
  const noted = [PAUSED, PAUSED_UNTIL, PAUSE_REASON].filter(
    (key) => metadata.annotations?.[key] !== undefined,
  )
  return noted.length === 0 ? null : Object.fromEntries(noted.map((key) => [key, null]))
}

function leaderOf(lease: Lease, rows: readonly ReplicaRow[]): string | null {
  return holderOf(lease) === '' ? null : (holderRow(lease, rows)?.pod ?? holderOf(lease))
}

/** Looks until the leader and each other replica that answers show what the Lease says; for 5 s at most. */
async function settled(cluster: Operable, clock: Clock): Promise<Omit<PauseChange, 'before'>> {
  const end = clock.mono() + SHOWN_WITHIN_MS
  for (;;) {
    const look = await lookAtPause(cluster).catch((error: Error) => error)
    const late = clock.mono() >= end
    if (!(look instanceof Error)) {
      const { row, ...change } = look
      if (change.after !== null) await refuseIfHandingOver(cluster, row)
      const isSilent = change.replicas.find(({ pod }) => pod === row?.pod)?.shows === null
      if (late || (!isSilent && change.replicas.every(({ shows }) => shows !== false))) return change
    } else if (late) {
      throw new OperationError(
        'unreachable',
        `the Lease says so now, but what the replicas show is unknown: ${look.message}`,
      )
    }
    await wait(clock, LOOK_MS)
  }
}

/** Reads the replicas first: what the Lease says afterwards is the newest. `row`: the leader's. */
async function lookAtPause(cluster: Operable) {
  const rows = await cluster.replicas()
  const lease = await cluster.lease()
  const after = pauseOf(lease, 0)
  const replicas = rows.map(({ pod, status, problem }): Shown => {
    const pause = status?.pause
    const isShown = pause?.until === after?.until && pause?.reason === after?.reason
    return { pod, shows: status === null ? null : isShown, problem }
  })
  return { after, leader: leaderOf(lease, rows), replicas, row: holderRow(lease, rows) }
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

/** A replica leads, and all replicas that answer show the pause. */
export function isInForce({ after, leader, replicas }: PauseChange): boolean {
  const leads = replicas.some(({ pod, shows }) => pod === leader && shows)
  return after !== null && leads && replicas.every(({ shows }) => shows !== false)
}

/** What came of `pause`, for people: one sentence each line. */
export function describePaused(change: PauseChange): string {
  const { before, after, leader, replicas } = change
  if (after === null) {
    const leads = leader === null ? 'no replica leads' : `${leader} holds the Lease`
    return lines(
      `not paused: the leader was handing over, or somebody resumed; ${leads}: pause again`,
      ...describeShown(replicas),
    )
  }
  const was = before === null ? '' : `was paused ${describePause(before)}; now `
  return lines(`${was}paused ${describePause(after)}`, describeLeader(change), ...describeShown(replicas))
}

function describeLeader({ leader, replicas }: PauseChange): string {
  if (leader === null)
    return 'no replica leads, and none takes over until then: langflow-leader resume lets one take over'
  const row = replicas.find(({ pod }) => pod === leader)
  if (row === undefined)
    return `${leader} holds the Lease, and there is no such pod here: see langflow-leader status`
  return row.shows
    ? `${leader} stays the leader; LangFlow is left alone where it fails, and nobody takes over. Without the API server it still stops`
    : `${leader} holds the Lease, and does not show the pause: see langflow-leader status`
}

/** What came of `resume`. */
export function describeResumed({ before, leader, replicas }: PauseChange): string {
  return lines(
    before === null ? 'nothing was paused' : `resumed; it was paused ${describePause(before)}`,
    leader === null
      ? 'nobody leads; whoever could take over does'
      : `${leader} leads; others take over again where it fails`,
    ...describeShown(replicas),
  )
}

function describeShown(replicas: readonly Shown[]): string[] {
  const pods = (wanted: boolean) =>
    replicas
      .filter(({ shows }) => shows === wanted)
      .map(({ pod }) => pod)
      .join(', ')
  const told = []
  if (pods(true)) told.push(`shown by ${pods(true)}`)
  if (pods(false))
    told.push(`NOT shown by ${pods(false)}: they may not see the Lease; see langflow-leader status`)
  for (const { pod, shows, problem } of replicas)
    if (shows === null) told.push(`${pod} does not answer, so that nobody knows: ${problem}`)
  return told
}

function lines(...sentences: string[]): string {
  return sentences.map((sentence) => `${sentence}\n`).join('')
}
