import { systemClock } from '../../agent/clock.ts'
import type { EventName } from '../../agent/observe/log.ts'
import type { Demo } from './demo.ts'
import type { Replica, ReplicaEvent } from './replica.ts'

/** What is done to the leader, for people. */
export const FAULTS = {
  crash: 'SIGKILL to agent, launcher and workload',
  stop: 'SIGTERM to the agent, a planned handover',
  hang: 'SIGSTOP to the agent, the launcher is alone',
} as const
export type Kind = keyof typeof FAULTS
export const KINDS = Object.keys(FAULTS) as Kind[]

/** One takeover as it was measured; times in milliseconds. */
export interface Takeover {
  readonly kind: Kind
  readonly from: string
  readonly to: string
  /** The new holder's. */
  readonly epoch: number
  /** Fault to the next holder's `acquired`. */
  readonly detectMs: number
  /** `acquired` to `workload_started`. */
  readonly startMs: number
  /** `workload_started` to `serving`. */
  readonly healthyMs: number
  /** The client's last good answer of the old holder to the first of the new one. */
  readonly gapMs: number
  readonly failedRequests: number
  /** Fault to the old workload's end, as the old launcher confirmed it; `null`: nobody was left to say so. */
  readonly oldDeadMs: number | null
  /** hang: fault to `workload_frozen`. */
  readonly frozenMs: number | null
  /** stop: `released` to the next holder's `acquired`. */
  readonly handoverMs: number | null
}

/** Does `kind` to the leader and measures what follows, until another replica has answered the client. */
export async function takeOver(kind: Kind, leader: Replica, demo: Demo): Promise<Takeover> {
  const { events, client, acquireWithinMs, serveWithinMs } = demo
  const from = leader.name
  const mark = events.length
  const find = (name: EventName, by: string) =>
    events.slice(mark).find(({ event, replica }) => event === name && replica === by)
  const faultAt = systemClock.mono()
  await leader[kind]()

  const acquired = await demo.until('another replica to acquire the Lease', acquireWithinMs, () =>
    events.slice(mark).find(({ event, replica }) => event === 'acquired' && replica !== from),
  )
  const { replica: to, epoch } = acquired
  const started = await demo.until(`${to} to start its workload`, serveWithinMs, () =>
    find('workload_started', to),
  )
  const serving = await demo.until(`${to} to serve`, serveWithinMs, () => find('serving', to))
  const { gapMs, failed } = await demo.until(`the client to be answered by ${to}`, serveWithinMs, () =>
    client.gap(from, to, acquired.at),
  )

  // Its launcher confirms the end on its own time: on a busy machine after the next one serves.
  if (kind === 'hang') {
    await demo.until(`${from}'s launcher to confirm the end`, serveWithinMs, () =>
      find('workload_stopped', from),
    )
  }
  const sinceFault = (event: ReplicaEvent | undefined) => (event ? Math.round(event.at - faultAt) : null)
  const released = find('released', from)
  return {
    kind,
    from,
    to,
    epoch,
    detectMs: Math.round(acquired.at - faultAt),
    startMs: Math.round(started.at - acquired.at),
    healthyMs: Math.round(serving.at - started.at),
    gapMs: Math.round(gapMs),
    failedRequests: failed,
    oldDeadMs: sinceFault(find('workload_stopped', from)),
    frozenMs: sinceFault(find('workload_frozen', from)),
    // Both learn of the same write, and the new holder may be the first to log it.
    handoverMs: released ? Math.max(0, Math.round(acquired.at - released.at)) : null,
  }
}

/** Brings the third replica back, however it was lost. */
export async function recover({ kind, from }: Takeover, replica: Replica, demo: Demo): Promise<void> {
  const mark = demo.events.length
  if (kind === 'hang') {
    replica.thaw()
  } else {
    await demo.until(`${from} to end`, demo.acquireWithinMs, () => replica.hasEnded)
    replica.start()
  }
  await demo.until(`${from} to stand by again`, demo.acquireWithinMs, () =>
    demo.events.slice(mark).find(({ replica, event }) => replica === from && event === 'standby_ready'),
  )
}
