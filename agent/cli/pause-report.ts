import { describePause, type Pause } from '../lease/operator-annotations.ts'
import type { PauseChange, Shown } from './pause.ts'

/** What came of `pause`, for people: one sentence each line. */
export function describePaused(change: PauseChange): string {
  const { before, after, leader, replicas } = change
  const leads = leader === null ? 'no replica leads' : `${leader} holds the Lease`
  const lines =
    after === null
      ? [`not paused: the leader was handing over, or somebody resumed; ${leads}: pause again`]
      : [`${before === null ? '' : `was ${paused(before)}; now `}${paused(after)}`, standing(change)]
  return [...lines, ...describeShown(replicas)].map((line) => `${line}\n`).join('')
}

function standing({ leader, replicas }: PauseChange): string {
  if (leader === null)
    return 'no replica leads, and none takes over until then: langflow-leader resume lets one take over'
  const row = replicas.find(({ pod }) => pod === leader)
  if (row === undefined)
    return `${leader} holds the Lease, and there is no such pod here: see langflow-leader status`
  return row.shows
    ? `${leader} stays the leader; LangFlow is left alone where it fails, and nobody takes over. Without the API server it still stops`
    : `${leader} holds the Lease, and does not show the pause: see langflow-leader status`
}

/** A replica leads, and all that answer go by the pause. */
export function isInForce({ after, leader, replicas }: PauseChange): boolean {
  const leads = replicas.some(({ pod, shows }) => pod === leader && shows)
  return after !== null && leads && isShownByAll(replicas)
}

/** What came of `resume`. */
export function describeResumed({ before, leader, replicas }: PauseChange): string {
  const lines = [
    before === null ? 'nothing was paused' : `resumed; it was ${paused(before)}`,
    leader === null
      ? 'nobody leads; whoever could take over does'
      : `${leader} leads; others take over again where it fails`,
  ]
  return [...lines, ...describeShown(replicas)].map((line) => `${line}\n`).join('')
}

function paused(pause: Pause): string {
  return `paused ${describePause(pause)}`
}

/** Whether every replica that answers goes by it. */
export function isShownByAll(replicas: readonly Shown[]): boolean {
  return replicas.every(({ shows }) => shows !== false)
}

function describeShown(replicas: readonly Shown[]): string[] {
  const those = (wanted: boolean | null) => replicas.filter(({ shows }) => shows === wanted)
  const names = (list: readonly Shown[]) => list.map(({ pod }) => pod).join(', ')
  const lines = []
  if (those(true).length > 0) lines.push(`shown by ${names(those(true))}`)
  if (those(false).length > 0)
    lines.push(`NOT shown by ${names(those(false))}: they may not see the Lease; see langflow-leader status`)
  for (const { pod, problem } of those(null))
    lines.push(`${pod} does not answer, so that nobody knows: ${problem}`)
  return lines
}
