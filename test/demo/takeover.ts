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

export interface Takeover {
  readonly kind: Kind
  readonly from: string
  readonly to: string
  /** The epoch of the new leader, and the code of its beginning. */
  readonly epoch: number
  readonly code: string
  /** When the fault was caused, by CLOCK_MONOTONIC. */
  readonly faultAt: number
  readonly detectMs: number
  readonly startMs: number
  readonly healthyMs: number
  /** From the old leader's last answer to the new leader's first one, as the client saw it. */
  readonly pauseMs: number
}

/** Causes the fault on the leader, and measures until another replica has answered the client. */
export async function takeOver(
  kind: Kind,
  leader: DemoReplica,
  replicas: readonly DemoReplica[],
  client: Client<Answer>,
): Promise<Takeover> {
  const from = new Map(replicas.map(({ log }) => [log, log.lines.length]))
  const next = ({ log }: DemoReplica, event: EventName) => log.event(event, from.get(log))
  const [faultAt, wall] = [mono(), Date.now()]
  await leader[kind]()

  const others = replicas.filter((one) => one !== leader)
  const acquiredBy = others.map(async (one) => ({ successor: one, acquired: await next(one, 'acquired') }))
  const { successor, acquired } = await Promise.any(acquiredBy)
  const started = await next(successor, 'workload_started')
  const serving = await next(successor, 'serving')
  const answersOf = (name: string) =>
    client.calls.filter(
      ({ answer, endedAt }) => answer?.replica === name && (name === leader.name || endedAt > faultAt),
    )
  await until(`an answer of ${successor.name}`, () => answersOf(successor.name).length > 0)
  // On a busy machine, the launcher of a stopped agent may confirm the end after the next leader serves.
  if (kind === 'hang') await next(leader, 'workload_stopped')
  const between = (a: Line, b: Line) => Math.max(0, Date.parse(b.time) - Date.parse(a.time))
  const [first, last] = [answersOf(successor.name)[0], answersOf(leader.name).at(-1)]
  return {
    kind,
    from: leader.name,
    to: successor.name,
    epoch: Number(acquired.epoch),
    code: String(acquired.code),
    faultAt,
    detectMs: Math.max(0, Date.parse(acquired.time) - wall),
    startMs: between(acquired, started),
    healthyMs: between(started, serving),
    pauseMs: Math.round((first?.endedAt ?? faultAt) - (last?.endedAt ?? faultAt)),
  }
}

export async function recover(kind: Kind, replica: DemoReplica): Promise<void> {
  const from = replica.log.lines.length
  if (kind === 'hang') {
    replica.thaw()
    await replica.log.event('standby_ready', from)
    return
  }
  await replica.log.exited
  replica.start()
  await replica.log.event('standby_ready')
}
