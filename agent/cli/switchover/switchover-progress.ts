import { addAbortListener } from 'node:events'
import { type Clock, pause, systemClock } from '../../clock.ts'
import type { Values } from '../../config/setting.ts'
import { formatDuration, shortDuration } from '../../config/values.ts'
import { epochOf, holderOf, type Lease } from '../../lease/lease.ts'
import { historyOf, holderServes } from '../../lease/lease-history.ts'
import type { OperatorRequest } from '../../lease/operator-annotations.ts'
import { ANY_POD, describeRequest, describeTarget, podOf } from '../../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../../status/agent-status.ts'
import { Cluster, holderRow, type Operable } from '../cluster.ts'
import { EXIT_CODES, OperationError } from '../exit-codes.ts'
import type { REQUEST_SETTINGS } from '../operate-command.ts'
import { formatted, note, printLines, write } from '../output.ts'
import { isHandingOver, serves, waitOf } from '../overview.ts'
import { isAnswered, isFor, type Plan, replicasFor, withdraw, writeRequest } from './switchover-plan.ts'

export interface Progress {
  /** `afterMs` of the first read in which the leader obeyed; `null`: the request can be withdrawn. */
  readonly begunMs: number | null
  /** `waiting for a quiet moment: …`; `null` if the leader does not wait. */
  readonly waiting: string | null
  readonly refusal: string | null
  readonly outcome: Outcome | null
}

export type Outcome = ReturnType<typeof outcomeOf>

export const REQUESTED: Progress = { begunMs: null, waiting: null, refusal: null, outcome: null }
const RESULTS = { switchover: 'switched', failover: 'failed_over', restart: 'restarted' } as const

/** @param afterMs from the write of the request to this read of the Lease, and then of its replicas */
export function step(
  plan: Plan,
  before: Progress,
  { lease, rows, afterMs }: { lease: Lease; rows: readonly ReplicaRow[]; afterMs: number },
): Progress {
  const status = holderRow(lease, rows)?.status ?? null
  const isSameTerm = isFor(lease, plan)
  const isNew =
    plan.what === 'restart' && isSameTerm && status !== null && status.workload.orderedAt !== plan.orderedAt
  const isObeyed = !isSameTerm || isNew || (status !== null && isHandingOver(status))
  const begunMs = before.begunMs ?? (isObeyed ? afterMs : null)
  // The new leader records the time without a server shortly after it serves.
  const isRecorded = !isSameTerm && holderServes(lease, historyOf(lease))
  const isDone = plan.what === 'restart' ? isNew && serves(status) : isRecorded
  const refusal = refusalOf(plan, lease, status, begunMs !== null)
  const outcome = isDone ? outcomeOf(plan, lease, afterMs - (begunMs ?? afterMs)) : null
  return { begunMs, waiting: waitOf(status), refusal, outcome }
}

/** Why the leader does not obey; `null` if it may still obey, or has begun. */
function refusalOf(plan: Plan, lease: Lease, status: AgentStatus | null, begun: boolean): string | null {
  if (plan.what === 'restart' && !isFor(lease, plan)) return 'it no longer leads: see langflow-leader history'
  if (begun || !isAnswered(lease, plan)) return null
  const { what, state, reason } = status?.switchover ?? {}
  if (state === 'refused' && what === plan.what && reason) return reason
  // A restart removes its request when it begins. A leader that obeys a failover may not answer, and removes it with its release.
  const mayObey = plan.what === 'restart' || (plan.what === 'switchover' && !status?.lease.self)
  return mayObey ? null : 'it refused, or another operator withdrew the request'
}

function outcomeOf({ what, from, to: asked }: Plan, lease: Lease, shownMs: number) {
  const isRestart = what === 'restart'
  const [to, epoch] = [isRestart ? from : podOf(holderOf(lease)), epochOf(lease)]
  const isElsewhere = !isRestart && (to === from || (asked !== ANY_POD && to !== asked))
  // The new leader records the time without a server. A restart has no such record.
  const recordedMs = historyOf(lease).find((term) => term.epoch === epoch)?.gapMs ?? null
  const result = isElsewhere ? 'elsewhere' : RESULTS[what]
  return { result, asked, from, to, epoch, gapMs: isRestart ? shownMs : recordedMs } as const
}

/** Aborts on Ctrl-C, SIGTERM or a closed terminal. A second signal ends the process immediately. */
export function interruption(): AbortSignal {
  const controller = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => controller.abort())
  return controller.signal
}

export interface Limits {
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

const LOOK_MS = 250

/** Looks until a look has a result, and once more when the time is over. Resolves to the result, or to the cause of the end. */
export async function repeat<T extends object>(
  clock: Clock,
  { timeoutMs, signal }: Limits,
  look: (isLast: boolean) => Promise<T | null>,
): Promise<T | 'timed_out' | 'interrupted'> {
  const over = Promise.withResolvers<void>()
  let ended: 'timed_out' | 'interrupted' | null = null
  const end = (cause: 'timed_out' | 'interrupted') => {
    ended ??= cause
    over.resolve()
  }
  const timer = clock.after(timeoutMs, () => end('timed_out'))
  using _ = addAbortListener(signal, () => end('interrupted'))
  try {
    for (;;) {
      const cause = ended
      const result = await look(cause !== null)
      if (result !== null) return result
      if (cause !== null) return cause
      await pause(clock, LOOK_MS, over.promise)
    }
  } finally {
    timer.cancel()
  }
}

/** Rejects with an `OperationError` if the leader refuses, after the time-out, and after Ctrl-C. */
export async function followRequest(
  cluster: Operable,
  clock: Clock,
  plan: Plan,
  { report, ...limits }: Limits & { readonly report: (line: string) => void },
): Promise<Outcome> {
  const since = clock.mono()
  let progress = REQUESTED
  let problem = ''
  const show = (afterMs: number, line: string) => report(`${shortDuration(afterMs).padStart(8)}  ${line}`)
  show(0, `${plan.from} is asked for a ${describeRequest(plan)}`)
  const look = async () => {
    // After a failed read, such as during a restart of the API server, the next read may succeed.
    const lease = await cluster.lease().catch((error: Error) => error)
    const rows = await replicasFor(cluster, plan).catch((error: Error) => error)
    const failure = [lease, rows].find((seen) => seen instanceof Error)
    problem = failure === undefined ? '' : `: ${failure.message}`
    if (lease instanceof Error || rows instanceof Error) return null
    const [before, afterMs] = [progress, Math.round(clock.mono() - since)]
    progress = step(plan, before, { lease, rows, afterMs })
    if (before.waiting === null && progress.waiting !== null) show(afterMs, progress.waiting)
    if (progress.refusal !== null)
      throw new OperationError('refused', `${plan.from} did not obey the ${plan.what}: ${progress.refusal}`)
    if (before.begunMs === null && progress.begunMs !== null) show(afterMs, `${plan.from} has begun`)
    return progress.outcome
  }
  const end = await repeat(clock, limits, look)
  if (typeof end === 'object') return end
  const late = `LangFlow does not serve again after ${formatDuration(limits.timeoutMs)}${problem}`
  const fate = await giveUp(cluster, plan, progress.begunMs !== null)
  throw new OperationError(end, `${end === 'timed_out' ? late : 'interrupted'}: ${fate}`)
}

async function giveUp(cluster: Operable, plan: Plan, begun: boolean): Promise<string> {
  const { what, from } = plan
  const lease = await withdraw(cluster, plan).catch((error: Error) => error)
  if (lease instanceof Error) return lease.message
  if (!isFor(lease, plan)) return `the term of ${from} has ended; see langflow-leader history`
  if (begun) return `${from} has already started the ${what}, which continues; see langflow-leader status`
  const last = `if ${from} still renews the Lease, end it with kubectl delete pod ${from} --namespace=${cluster.namespace}`
  const advice = what === 'failover' ? last : 'see langflow-leader status'
  return `the request was withdrawn unless ${from} has just begun; ${advice}`
}

export function describeOutcome({ result, asked, from, to, gapMs }: Outcome): string[] {
  const how = result === 'restarted' ? 'with a new LangFlow' : to === from ? 'again' : `instead of ${from}`
  const gap =
    gapMs === null
      ? ''
      : `; no replica served for ${result === 'restarted' ? 'about ' : ''}${shortDuration(gapMs)}`
  const missed = `${describeTarget(asked)} did not become the leader: see langflow-leader history`
  return [`${to} serves ${how}${gap}`, ...(result === 'elsewhere' ? [missed] : [])]
}

/** Resolves to the exit code. Without `yes`, only the conditions are checked. */
export async function runRequest(
  asked: Omit<OperatorRequest, 'reason'>,
  { reason, yes, timeoutMs, output, ...at }: Values<typeof REQUEST_SETTINGS>,
): Promise<number> {
  const signal = interruption()
  using cluster = await Cluster.connect(at)
  const plan = await writeRequest(cluster, { ...asked, reason }, systemClock.now().wall, { yes, signal })
  const report = output === 'table' ? printLines : note
  const outcome = await followRequest(cluster, systemClock, plan, { timeoutMs, signal, report })
  await write(formatted(output, outcome, () => describeOutcome(outcome)))
  return outcome.result === 'elsewhere' ? EXIT_CODES.failed : EXIT_CODES.fine
}
