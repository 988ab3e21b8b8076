import { describePause, type Pause } from '../lease/operation.ts'
import type { PauseChange, Shown } from './pause.ts'

/** What came of `pause`, for people: one sentence each line. */
export function describePaused({ before, after, leader, replicas }: PauseChange): string {
  const lines = [
    `${before === null ? '' : `was ${paused(before)}; now `}${after === null ? 'not paused' : paused(after)}`,
    leader === null
      ? 'nobody leads, and nobody takes over until then: nobody serves'
      : `${leader} stays the leader; LangFlow is left alone where it fails, and nobody takes over. Without the API server it still stops`,
  ]
  return [...lines, ...describeShown(replicas)].map((line) => `${line}\n`).join('')
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
