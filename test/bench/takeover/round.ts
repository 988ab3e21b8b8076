import { setTimeout as sleep } from 'node:timers/promises'
import type { ControlPlane } from '../../e2e/control-plane.ts'
import type { Pod } from '../../support/pod.ts'
import { mono } from '../../support/stage.ts'
import { reasons, recoveryMs, restartMs, silenceMs, slowestMs, type Tally, tally } from './calls.ts'
import { Client } from './client.ts'
import { FAULT, type FaultName, survives } from './faults.ts'
import { type Pair, statusOf } from './pair.ts'
import { type Phases, phasesOf } from './phases.ts'
import { Routes } from './routes.ts'
import { MEND, STRIKE } from './strike.ts'
import { eventually } from './wait.ts'

/** Good answers in a row, more or less, before the fault and after it. */
const ENOUGH = 20
const CALM_WITHIN_MS = 60_000
/** A cold start on a machine that is busy with a standby as well. */
const RECOVERED_WITHIN_MS = 240_000

/** What one fault did. */
export interface Round {
  readonly calls: Tally
  /** From the fault to the first good answer of the next holder, or the longest time without a good answer. */
  readonly outageMs: number
  /** The longest time in which no agent said to be ready. */
  readonly closedMs: number
  readonly slowestMs: number
  readonly phases: Phases
  /** Of the failed requests, each with its number. */
  readonly reasons: readonly (readonly [why: string, times: number])[]
}

/** Throws where the fault did something else than it may. */
export async function playRound(pair: Pair, fault: FaultName, plane: ControlPlane): Promise<Round> {
  const { leader, standby } = await pair.settle()
  const routes = new Routes(pair.pods.map(placeOf))
  const client = new Client(routes, pair.apiKey)
  try {
    await eventually('the flow answers', CALM_WITHIN_MS, () => client.answered(0) >= ENOUGH)
    await sleep(Math.random() * pair.preset.retryMs)
    const before = await workOf(leader)
    const from = client.calls.length
    const faultAt = mono()
    const faultWall = Date.now()
    await STRIKE[fault]({ pair, leader, plane, routes })
    const next = nameOf(standby)
    const moves = FAULT[fault].moves && pair.mode !== 'spare'
    const since = moves ? faultAt : mono()
    await eventually(
      `answers after the fault`,
      RECOVERED_WITHIN_MS,
      () => client.answered(since, moves ? next : undefined) >= ENOUGH,
    )
    const closedMs = routes.closedMs(faultAt)
    await client.stop()
    if (pair.mode !== 'spare' && survives(fault, pair.preset)) await mustBeSame(leader, before)
    const calls = client.calls.slice(from)
    const outageMs = moves
      ? (recoveryMs(calls, faultAt, nameOf(leader)) as number)
      : pair.mode === 'spare'
        ? (restartMs(calls, faultAt) as number)
        : silenceMs(calls, faultAt)
    const times = { faultAt: faultWall, answeredAt: faultWall + outageMs }
    const round = {
      calls: tally(calls, faultAt),
      outageMs,
      closedMs,
      slowestMs: slowestMs(calls, faultAt),
      phases: moves ? phasesOf(times, linesOf(leader), linesOf(standby)) : {},
      reasons: reasons(calls),
    }
    await MEND[fault]?.(pair, leader)
    return round
  } finally {
    await client.stop()
    await routes.close()
  }
}

function placeOf(pod: Pod) {
  return { name: nameOf(pod), httpPort: pod.httpPort, port: pod.port }
}

function nameOf(pod: Pod): string {
  return pod.options.identity
}

function linesOf(pod: Pod) {
  return [...pod.agent.lines, ...pod.container.lines]
}

/** Which LangFlow it is, under which term. */
async function workOf(pod: Pod): Promise<string> {
  const { workload } = await statusOf(pod)
  return `process ${workload.pid} of epoch ${workload.epoch}`
}

async function mustBeSame(pod: Pod, before: string): Promise<void> {
  const now = await workOf(pod)
  if (now !== before) throw new Error(`${nameOf(pod)} ran ${before}, and now it runs ${now}`)
}
