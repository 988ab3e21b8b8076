import type { Clock } from '../clock.ts'
import type { Happening, Journal } from './journal.ts'
import type { ReplicaProcess } from './replica-process.ts'
import type { ReplicaView } from './replica-view.ts'
import type { SteadyClient } from './steady-client.ts'

export type Kind = 'crash' | 'stop' | 'hang'
export const KINDS: readonly Kind[] = ['crash', 'stop', 'hang']

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

/** What a takeover happens to, and who watches it. */
export interface Stage {
  readonly journal: Journal
  readonly client: SteadyClient
  readonly clock: Clock
  readonly replica: (name: string) => ReplicaProcess
  /** What was done to an agent, which its own log cannot tell. */
  readonly agentIs: (name: string, agent: ReplicaView['agent']) => void
  /** Awaits a first answer other than `undefined` and `null`; rejects after `withinMs`, naming `what`. */
  readonly until: <T>(what: string, withinMs: number, look: () => T | null | undefined) => Promise<T>
  /** How long the Lease, and then the workload, may need. */
  readonly acquireWithinMs: number
  readonly serveWithinMs: number
}

const STRIKES: Readonly<Record<Kind, (leader: ReplicaProcess) => Promise<void> | void>> = {
  crash: (leader) => leader.crash(),
  stop: (leader) => leader.stop(),
  hang: (leader) => leader.freezeAgent(),
}

const STRUCK = { crash: 'killed', stop: 'ending', hang: 'hanging' } as const

/** Does `kind` to the leader and measures what follows, until another replica has answered the client. */
export async function takeOver(kind: Kind, from: string, stage: Stage): Promise<Takeover> {
  const { journal, client, clock, until } = stage
  const mark = journal.entries.length
  const first = (event: Happening['event'], matches: (happening: Happening) => boolean) =>
    journal.find(mark, (one) => one.event === event && matches(one))
  const faultAt = clock.mono()
  stage.agentIs(from, STRUCK[kind])
  await STRIKES[kind](stage.replica(from))

  const acquired = await until('another replica to acquire the Lease', stage.acquireWithinMs, () =>
    first('acquired', ({ replica }) => replica !== from),
  )
  const { replica: to, epoch } = acquired
  const started = await until(`${to} to start its workload`, stage.serveWithinMs, () =>
    first('workload_started', ({ replica }) => replica === to),
  )
  const serving = await until(`${to} to serve`, stage.serveWithinMs, () =>
    first('serving', ({ replica }) => replica === to),
  )
  const gap = await until(`the client to be answered by ${to}`, stage.serveWithinMs, () =>
    client.gap(from, to, acquired.at),
  )

  const dead = first('workload_stopped', ({ replica }) => replica === from)
  const frozen = first('workload_frozen', ({ replica }) => replica === from)
  const released = first('released', ({ replica }) => replica === from)
  const since = (happening: Happening | undefined, start = faultAt) =>
    happening === undefined ? null : Math.round(happening.at - start)
  return {
    kind,
    from,
    to,
    epoch,
    detectMs: Math.round(acquired.at - faultAt),
    startMs: Math.round(started.at - acquired.at),
    healthyMs: Math.round(serving.at - started.at),
    gapMs: Math.round(gap.gapMs),
    failedRequests: gap.failed,
    oldDeadMs: since(dead),
    frozenMs: since(frozen),
    // Both learn of the same write, and the new holder may be the first to log it.
    handoverMs: released === undefined ? null : Math.max(0, Math.round(acquired.at - released.at)),
  }
}

/** Brings the third replica back, however it was lost. */
export async function recover({ kind, from }: Takeover, stage: Stage): Promise<void> {
  const replica = stage.replica(from)
  const mark = stage.journal.entries.length
  if (kind === 'hang') {
    replica.thawAgent()
    stage.agentIs(from, 'running')
  } else {
    await stage.until(`${from} to end`, stage.acquireWithinMs, endOf(replica))
    replica.start()
    stage.agentIs(from, 'starting')
  }
  await stage.until(`${from} to stand by again`, stage.acquireWithinMs, () =>
    stage.journal.find(mark, (one) => one.replica === from && one.event === 'standby_ready'),
  )
}

function endOf(replica: ReplicaProcess): () => true | null {
  let ended = false
  void replica.ended.then(() => {
    ended = true
  })
  return () => ended || null
}
