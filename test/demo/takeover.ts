import type { EventName } from '../../agent/observe/log.ts'
import type { Client } from '../harness/client.ts'
import type { Line } from '../harness/logged-process.ts'
import { mono, until } from '../harness/wait.ts'
import type { DemoReplica } from './replica.ts'

/** The faults, as printed for the user. */
export const FAULTS = {
  crash: 'SIGKILL to agent, launcher, front and workload',
  stop: 'SIGTERM to the agent, a planned handover',
  hang: 'SIGSTOP to the agent, so that the launcher is alone',
} as const
export type Kind = keyof typeof FAULTS

/** The fields of the workload's answer that the demo reads. */
export interface Answer {
  readonly replica: string
  readonly epoch: number
}

/** The measurements of one takeover; times in milliseconds. */
export interface Takeover {
  readonly kind: Kind
  readonly from: string
  readonly to: string
  /** The epoch of the new leader. */
  readonly epoch: number
  /** When the fault was caused, by CLOCK_MONOTONIC. */
  readonly faultAt: number
  /** From the fault to the next leader's `acquired`. */
  readonly detectMs: number
  /** From `acquired` to `workload_started`. */
  readonly startMs: number
  /** From `workload_started` to `serving`. */
  readonly healthyMs: number
  /** From the old leader's last answer to the new leader's first one, as the client saw it. */
  readonly pauseMs: number
  /** From the fault to the old workload's end, as its launcher confirmed it. `null`: the launcher was killed as well. */
  readonly oldDeadMs: number | null
  /** Only for `hang`: from the fault to `workload_frozen`. */
  readonly frozenMs: number | null
  /** Only for `stop`: from `released` to the next leader's `acquired`. */
  readonly handoverMs: number | null
}

/** Causes the fault on the leader, and measures until another replica has answered the client. */
export async function takeOver(
  kind: Kind,
  leader: DemoReplica,
  replicas: readonly DemoReplica[],
  client: Client<Answer>,
): Promise<Takeover> {
  const others = replicas.filter((one) => one !== leader)
  const logs = new Map(replicas.map((one) => [one, { log: one.log, from: one.log.lines.length }]))
  const next = async (replica: DemoReplica, event: EventName) => {
    const { log, from } = logs.get(replica)!
    return await log.event(event, from)
  }
  const [faultAt, wall] = [mono(), Date.now()]
  await leader[kind]()

  const acquiredBy = others.map(async (one) => ({ successor: one, acquired: await next(one, 'acquired') }))
  const { successor, acquired } = await Promise.any(acquiredBy)
  const started = await next(successor, 'workload_started')
  const serving = await next(successor, 'serving')
  const answersOf = (name: string) =>
    client.calls.filter(
      ({ answer, endedAt }) => answer?.replica === name && (name === leader.name || endedAt > faultAt),
    )
  await until(`an answer of ${successor.name}`, () => answersOf(successor.name).length > 0)
  // The launcher confirms the end without its agent. On a busy machine, that can be after the next leader serves.
  const ended = kind === 'crash' ? undefined : await next(leader, 'workload_stopped')
  const { log, from } = logs.get(leader)!
  const logged = (name: EventName) => log.lines.slice(from).find(({ event }) => event === name)
  const between = (a: Line | undefined, b: Line | undefined) =>
    a && b ? Math.max(0, Date.parse(b.time) - Date.parse(a.time)) : null
  const sinceFault = (line: Line | undefined) => (line ? Math.max(0, Date.parse(line.time) - wall) : null)
  return {
    kind,
    from: leader.name,
    to: successor.name,
    epoch: Number(acquired.epoch),
    faultAt,
    detectMs: sinceFault(acquired)!,
    startMs: between(acquired, started)!,
    healthyMs: between(started, serving)!,
    pauseMs: Math.round(
      answersOf(successor.name)[0]!.endedAt - (answersOf(leader.name).at(-1)?.endedAt ?? faultAt),
    ),
    oldDeadMs: sinceFault(ended),
    frozenMs: sinceFault(logged('workload_frozen')),
    handoverMs: between(logged('released'), acquired),
  }
}

/** Brings the replica back after the fault, and waits until it could take over. */
export async function recover(kind: Kind, replica: DemoReplica): Promise<void> {
  const { log } = replica
  const from = log.lines.length
  if (kind === 'hang') {
    replica.thaw()
    await log.event('standby_ready', from)
    return
  }
  await log.exited
  replica.start()
  await replica.log.event('standby_ready')
}
