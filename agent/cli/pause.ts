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
import { Cluster, holderRow, type Operable, updateAnnotations } from './cluster.ts'
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
  let before = null as Pause | null
  await updateAnnotations(cluster, (lease) => {
    const leader = holderRow(lease, rows)
    const name = leaderOf(lease, rows)
    const busy = name === null ? null : underWay(lease, name, leader?.status ?? null)
    if (busy !== null) throw new OperationError('switchover', `${busy}: pause when it is over`)
    // The replicas judge a pause by the leader's clock: that of this machine may be wrong.
    const wallMs = Date.parse(leader?.status?.now ?? '') || clock.now().wall
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
  await updateAnnotations(cluster, (lease) => {
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

/** Looks until each replica that answers shows what the Lease says; for 5 s at most. */
async function settled(cluster: Operable, clock: Clock): Promise<Omit<PauseChange, 'before'>> {
  const end = clock.mono() + SHOWN_WITHIN_MS
  // The Lease is read last: what it says then is the newest.
  const read = async () => ({ rows: await cluster.replicas(), lease: await cluster.lease() })
  for (;;) {
    const { rows, lease } = await read().catch(({ message }: Error) => {
      throw new OperationError('unreachable', `the Lease is written, but cannot be read back: ${message}`)
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

/** No replica could follow a leader that hands over. It removes a later pause itself, but not one that it saw before. */
async function refuseIfHandingOver(cluster: Operable, leader: ReplicaRow | null): Promise<void> {
  if (!leader?.status || !isHandingOver(leader.status)) return
  await updateAnnotations(cluster, removal)
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
export function describePaused({ after, leader, replicas }: PauseChange): string {
  if (after === null) return lines('not paused: the leader hands over, or an operator resumed: pause again')
  return lines(`paused ${describePause(after)}`, leads(leader, replicas), ...notShown(replicas))
}

function leads(leader: string | null, replicas: readonly Shown[]): string {
  if (leader === null) return 'no replica leads, and none takes over until langflow-leader resume'
  if (replicas.every(({ pod }) => pod !== leader))
    return `${leader} holds the Lease, and this cluster has no such pod`
  return `${leader} stays the leader, and LangFlow is left alone if it fails; without the API server it still stops`
}

/** What came of `resume`. */
export function describeResumed({ before, replicas }: PauseChange): string {
  const resumed = before === null ? 'nothing was paused' : `resumed; it was paused ${describePause(before)}`
  return lines(resumed, ...notShown(replicas))
}

function notShown(replicas: readonly Shown[]): string[] {
  return replicas
    .filter(({ shows }) => !shows)
    .map(({ pod, problem }) => `${pod} does not show it: ${problem ?? 'it may not see the Lease'}`)
}

function lines(...sentences: string[]): string {
  return sentences.map((sentence) => `${sentence}\n`).join('')
}
