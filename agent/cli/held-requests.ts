import { seconds } from '../config/values.ts'
import type { ReplicaRow } from '../observe/agent-status.ts'

/** What waits at the fronts of all replicas. */
export interface Held {
  readonly requests: number
  readonly longestMs: number
}

/** What was seen of the fronts, of all looks together. */
export class FrontsSeen {
  /** The most that waited at one look, and the longest wait of any; `null`: no front was seen. */
  held: Held | null = null

  /** Whether any of these has a front. */
  saw(rows: readonly ReplicaRow[]): boolean {
    const fronts = rows.flatMap(({ status }) => status?.traffic.front ?? [])
    if (fronts.length === 0) return false
    this.held = mostOf(this.held, {
      requests: fronts.reduce((sum, { held }) => sum + held, 0),
      longestMs: Math.max(...fronts.map(({ oldestHeldMs }) => oldestHeldMs)),
    })
    return true
  }
}

export function mostOf(a: Held | null, b: Held): Held {
  if (a === null) return b
  return { requests: Math.max(a.requests, b.requests), longestMs: Math.max(a.longestMs, b.longestMs) }
}

/** `held: 12, longest 0.8 s`; '': nothing waits. */
export function describeHeld(held: Held | null): string {
  return held === null || held.requests === 0
    ? ''
    : `held: ${held.requests}, longest ${seconds(held.longestMs)}`
}

/** What was seen, as a sentence without its full stop. */
export function describeWaits({ requests, longestMs }: Held): string {
  if (requests === 0) return 'no request was seen to wait at the fronts'
  const longest = seconds(longestMs)
  return requests === 1
    ? `1 request was seen to wait at the fronts, for ${longest}`
    : `up to ${requests} requests at a time were seen to wait at the fronts, the longest for ${longest}`
}
