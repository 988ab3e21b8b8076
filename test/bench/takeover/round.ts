import { setTimeout as sleep } from 'node:timers/promises'
import type { EventName } from '../../../agent/observe/log.ts'
import { Client } from '../../harness/client.ts'
import { ECHO_PATH, flowRequest } from '../../harness/langflow.ts'
import type { Line } from '../../harness/logged-process.ts'
import type { Pod } from '../../harness/pod.ts'
import { mono, until } from '../../harness/wait.ts'
import { type Fate, fateOf } from './calls.ts'
import type { Fault } from './faults.ts'
import type { Pair } from './pair.ts'
import { Routes } from './routes.ts'

/** The client runs the echo flow five times a second on a replica that is ready: half of what LangFlow answers on two cores. */
const EVERY_MS = 200
const ANSWER_WITHIN_MS = 30_000
const TEXT = 'is anybody there?'
/** Number of good answers before the fault, and after it. */
const ENOUGH = 20
const CALM_WITHIN_MS = 60_000
/** Enough for a cold start on a machine that also prepares a standby. */
const RECOVERED_WITHIN_MS = 240_000

/** The phases of a takeover, in ms, from the replicas' own logs. Each counts from the end of the one before. */
export const PHASES = {
  detect: 'detect: fault → the old leader drains or loses the Lease, or the Lease expires',
  stop: 'stop: → LangFlow stopped, Lease released',
  acquire: 'acquire: → the next holder has the Lease',
  start: 'start: → LangFlow’s process runs',
  healthy: 'healthy: → LangFlow serves',
  answer: 'answer: → its first good answer',
} as const
export type Phases = Readonly<Partial<Record<keyof typeof PHASES, number>>>

/** The effects of one fault. */
export interface Round extends Fate {
  /** From the fault to the first good answer of the next holder, or the longest time without a good answer. */
  readonly outageMs: number
  /** The longest time in which no agent reported to be ready. */
  readonly closedMs: number
  readonly phases: Phases
}

/** Causes one fault. Throws if its effects are not those of the fault. */
export async function playRound(pair: Pair, fault: Fault): Promise<Round> {
  const { isFast } = pair.options
  const { leader, standby } = await pair.settle()
  const old = leader.options.identity
  const routes = new Routes(pair.pods)
  const client = new Client({
    everyMs: EVERY_MS,
    withinMs: ANSWER_WITHIN_MS,
    target: () => {
      const to = routes.route
      return to && { to: to.options.identity, url: `http://127.0.0.1:${to.port}${ECHO_PATH}` }
    },
    asked: flowRequest(TEXT),
    read(text) {
      if (!text.includes(TEXT)) throw new Error('the answer is not the output of the flow')
      return text
    },
  })
  try {
    await until('the flow answers', () => client.answered(0) >= ENOUGH, CALM_WITHIN_MS)
    // Up to one retry period, so that the fault comes at any point between two renewals.
    await sleep(Math.random() * (isFast ? 1_000 : 2_000))
    const before = await workOf(leader)
    const seen = client.calls.length
    const [faultAt, faultWall] = [mono(), Date.now()]
    await fault.inject({ pair, leader, routes })
    const { moves } = fault
    const [since, by] = moves ? [faultAt, standby.options.identity] : [mono(), undefined]
    const recovered = () => client.answered(since, by) >= ENOUGH
    await until('good answers after the fault', recovered, RECOVERED_WITHIN_MS)
    const closedMs = routes.closedMs(faultAt)
    await client.stop()
    const now = await workOf(leader).catch(() => 'no workload')
    if (fault.survives && now !== before)
      throw new Error(`${old} ran ${before} before the fault, and runs ${now} after it`)
    const fate = fateOf(client.calls.slice(seen), faultAt, old)
    const outageMs = moves ? fate.nextMs : fate.silenceMs
    const phases = moves ? phasesOf(faultWall, faultWall + outageMs, linesOf(leader), linesOf(standby)) : {}
    await fault.mend?.(pair, leader)
    return { ...fate, outageMs, closedMs, phases }
  } finally {
    await client.stop()
    await routes.close()
  }
}

function linesOf(pod: Pod): Line[] {
  return [...pod.agent.lines, ...pod.container.lines]
}

/** The LangFlow process and its term. */
async function workOf(pod: Pod): Promise<string> {
  const { workload } = await pod.status()
  return `process ${workload.pid} of epoch ${workload.epoch}`
}

/** `faultAt` and `answeredAt` are ms of the wall clock, as in the logs. */
function phasesOf(faultAt: number, answeredAt: number, old: Line[], next: Line[]): Phases {
  const first = (lines: Line[], from: number, ...events: EventName[]) => {
    const is = ({ event, time }: Line) => event && events.includes(event) && Date.parse(time) >= from
    const line = lines.find(is)
    return line && { at: Date.parse(line.time), line }
  }
  const gaveWay = first(old, faultAt, 'draining', 'lost')
  const released = first(old, gaveWay?.at ?? faultAt, 'released')
  const acquired = first(next, faultAt, 'acquired')
  if (acquired === undefined) return {}
  const acquire = Number(acquired.line.acquireMs ?? 0)
  const started = first(next, acquired.at, 'workload_started')
  const serving = first(next, acquired.at, 'serving')
  return {
    ...(gaveWay && released
      ? {
          detect: gaveWay.at - faultAt,
          stop: released.at - gaveWay.at,
          acquire: acquired.at - released.at,
        }
      : { detect: acquired.at - acquire - faultAt, acquire }),
    ...(started && { start: started.at - acquired.at }),
    ...(started && serving && { healthy: serving.at - started.at }),
    ...(serving && { answer: answeredAt - serving.at }),
  }
}
