import { seconds } from '../config/values.ts'
import type { FrontView, ReplicaRow } from '../observe/status.ts'

/** What waits at the fronts of all replicas. */
export interface Held {
  readonly requests: number
  readonly longestMs: number
}

/** Of every replica that has a front and tells of it. */
function frontsOf(rows: readonly ReplicaRow[]): { identity: string; front: FrontView }[] {
  return rows.flatMap(({ status }) => {
    const front = status?.traffic.front ?? null
    return status === null || front === null ? [] : [{ identity: status.identity, front }]
  })
}

/** What was seen of the fronts, of all looks together. */
export class FrontsSeen {
  /** The most that waited at one look, and the longest wait of any; `null`: no front was seen. */
  held: Held | null = null
  /** Streams and websockets that were ended for a planned takeover, since the first look at each front. */
  streamsEnded = 0
  readonly #totals = new Map<string, number>()

  /** Whether any of these has a front. */
  saw(rows: readonly ReplicaRow[]): boolean {
    const fronts = frontsOf(rows)
    if (fronts.length === 0) return false
    this.held = mostOf(this.held, {
      requests: fronts.reduce((sum, { front }) => sum + front.held, 0),
      longestMs: Math.max(...fronts.map(({ front }) => front.oldestHeldMs)),
    })
    for (const { identity, front } of fronts) {
      const before = this.#totals.get(identity) ?? front.streamsEnded
      // One that was started again counts from 0.
      this.streamsEnded += front.streamsEnded < before ? front.streamsEnded : front.streamsEnded - before
      this.#totals.set(identity, front.streamsEnded)
    }
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
