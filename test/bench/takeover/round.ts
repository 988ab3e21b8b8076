import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from '../../harness/client.ts'
import type { ControlPlane } from '../../harness/control-plane.ts'
import { ECHO_PATH, flowRequest } from '../../harness/langflow.ts'
import type { Pod } from '../../harness/pod.ts'
import { mono, until } from '../../harness/wait.ts'
import { reasons, recoveryMs, restartMs, silenceMs, slowestMs, type Tally, tally } from './calls.ts'
import type { Pair } from './pair.ts'
import { type Phases, phasesOf } from './phases.ts'

import { Routes } from './routes.ts'
import { API_FREEZE_MS, FAULT, type FaultName, survives } from './settings.ts'

/** The client runs the echo flow ten times a second, with whoever is ready. */
const EVERY_MS = 100
const ANSWER_WITHIN_MS = 30_000
const TEXT = 'is anybody there?'
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
  const client = new Client({
    everyMs: EVERY_MS,
    withinMs: ANSWER_WITHIN_MS,
    target: () =>
      routes.route && { to: routes.route.name, url: `http://127.0.0.1:${routes.route.port}${ECHO_PATH}` },
    asked: flowRequest(TEXT),
    read(text) {
      if (!text.includes(TEXT)) throw new Error('another answer than the flow gives')
      return text
    },
  })
  try {
    await until('the flow answers', () => client.answered(0) >= ENOUGH, CALM_WITHIN_MS)
    await sleep(Math.random() * pair.preset.retryMs)
    const before = await workOf(leader)
    const from = client.calls.length
    const faultAt = mono()
    const faultWall = Date.now()
    await INJECT[fault]({ pair, leader, plane, routes })
    const next = nameOf(standby)
    const moves = FAULT[fault].moves && pair.mode !== 'spare'
    const since = moves ? faultAt : mono()
    await until(
      `answers after the fault`,
      () => client.answered(since, moves ? next : undefined) >= ENOUGH,
      RECOVERED_WITHIN_MS,
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
  const { workload } = await pod.status()
  return `process ${workload.pid} of epoch ${workload.epoch}`
}

async function mustBeSame(pod: Pod, before: string): Promise<void> {
  const now = await workOf(pod)
  if (now !== before) throw new Error(`${nameOf(pod)} ran ${before}, and now it runs ${now}`)
}

interface Target {
  readonly pair: Pair
  readonly leader: Pod
  readonly plane: ControlPlane
  readonly routes: Routes
}

/** Brings a fault of the leader about. Resolves once the fault itself is over. */
const INJECT: Readonly<Record<FaultName, (target: Target) => Promise<void>>> = {
  async worker({ leader }) {
    process.kill(workerOf(leader), 'SIGKILL')
  },
  async replica({ leader }) {
    leader.kill()
  },
  async switchover({ leader }) {
    leader.agent.signal('SIGTERM')
  },
  async agent({ pair, leader }) {
    leader.agent.signal('SIGKILL')
    await leader.agent.exited
    pair.restartAgent(leader)
  },
  async api({ leader, plane, routes }) {
    // One retry period later 12 s would be as long as the grant.
    await renewal(leader)
    routes.hold()
    plane.pause()
    try {
      await sleep(API_FREEZE_MS)
    } finally {
      plane.resume()
      routes.release()
    }
  },
}

/** Brings back what a fault has taken away. */
const MEND: Readonly<Partial<Record<FaultName, (pair: Pair, hit: Pod) => Promise<void>>>> = {
  replica: (pair, hit) => pair.replace(hit),
  async switchover(pair, hit) {
    const { code } = await hit.agent.exited
    if (code !== 0) throw new Error(`the agent that was told to end ended with exit code ${code}`)
    pair.restartAgent(hit)
  },
}

/** Resolves soon after the leader's next renewal was acknowledged. */
async function renewal(leader: Pod): Promise<void> {
  let left = Number.POSITIVE_INFINITY
  await until('a renewal', async () => {
    const before = left
    left = (await leader.status()).leadership.killInMs ?? 0
    return left > before
  })
}

/** LangFlow's worker, as its launcher has found it. */
function workerOf(pod: Pod): number {
  const said = pod.container.lines.findLast(({ msg }) => /is served by pid/.test(msg ?? ''))
  const pid = /served by pid (\d+)/.exec(said?.msg ?? '')?.[1]
  if (pid === undefined) throw new Error(`${pod.options.identity} has no worker`)
  return pod.hostPid(Number(pid))
}
