import { addAbortListener } from 'node:events'
import { type Clock, pause, systemClock } from '../../clock.ts'
import type { Values } from '../../config/setting.ts'
import { formatDuration, shortDuration } from '../../config/values.ts'
import { epochOf, holderOf, type Lease } from '../../lease/lease.ts'
import { historyOf, holderServes } from '../../lease/lease-history.ts'
import { ANY_POD, describeTarget, type OperatorRequest, podOf } from '../../lease/operator-annotations.ts'
import type { ReplicaRow } from '../../status/agent-status.ts'
import { Cluster, holderRow, type Operable } from '../cluster.ts'
import { EXIT_CODES, OperationError } from '../exit-codes.ts'
import { formatted, note, operating, printLines, write } from '../output.ts'
import { isHandingOver, serves, waitOf } from '../overview.ts'
import type { REQUEST_SETTINGS } from './switchover-command.ts'
import { isAnswered, isFor, type Plan, replicasFor, withdraw, writeRequest } from './switchover-plan.ts'

/** The phases of a request, in this order. A phase that is shorter than the time between two reads may be missing. */
const PHASES = ['requested', 'waiting', 'draining', 'stopped', 'released', 'acquired', 'serving'] as const

export interface RequestPhase {
  readonly phase: (typeof PHASES)[number]
  readonly pod: string
  /** Milliseconds from the write of the request to the first read that showed the phase. */
  readonly afterMs: number
  /** Of the phase `waiting`. */
  readonly detail?: string
}

/** One read of the Lease, and then of its replicas. */
export interface Sight {
  readonly lease: Lease
  readonly rows: readonly ReplicaRow[]
  readonly afterMs: number
}

export interface Progress {
  readonly phases: readonly RequestPhase[]
  readonly refusal: string | null
  readonly outcome: Outcome | null
}

export type Outcome = ReturnType<typeof outcomeOf>

const RESULTS = { switchover: 'switched', failover: 'failed_over', restart: 'restarted' } as const

export function begin({ what, to, from }: Plan): Progress {
  const pod = what === 'restart' ? from : to === ANY_POD ? describeTarget(to) : to
  return { phases: [{ phase: 'requested', pod, afterMs: 0 }], refusal: null, outcome: null }
}

export function step(plan: Plan, before: Progress, { lease, rows, afterMs }: Sight): Progress {
  const phases = [...before.phases]
  for (const [phase, pod] of shownBy(plan, lease, rows)) {
    const last = phases.at(-1) as RequestPhase
    const isOld = last.pod === pod && PHASES.indexOf(phase) <= PHASES.indexOf(last.phase)
    const detail = phase === 'waiting' ? waitOf(holderRow(lease, rows)?.status ?? null) : null
    if (!isOld) phases.push({ phase, pod, afterMs, ...(detail && { detail }) })
  }
  const refusal = refusalOf(plan, lease, rows, beginningOf(phases) !== null)
  const isServed = phases.at(-1)?.phase === 'serving'
  // The new leader records the time without a server shortly after it serves.
  const isRecorded = plan.what === 'restart' || holderServes(lease, historyOf(lease))
  return { phases, refusal, outcome: isServed && isRecorded ? outcomeOf(plan, phases, lease) : null }
}

function shownBy(plan: Plan, lease: Lease, rows: readonly ReplicaRow[]): [RequestPhase['phase'], string][] {
  const [holder, epoch] = [podOf(holderOf(lease)), epochOf(lease)]
  const status = holderRow(lease, rows)?.status ?? null
  const isOpen = status !== null && serves(status)
  const shown: Partial<Record<RequestPhase['phase'], boolean>> = {}
  // Another replica may take over from the new leader. The phases then start again from `acquired`.
  if (epoch > plan.epoch && holder !== '') {
    shown.acquired = true
    shown.serving = (isOpen && status.lease.epoch === epoch) || holderServes(lease, historyOf(lease))
  } else if (holder === '') shown.released = epoch === plan.epoch
  else if (status !== null) {
    const isNew = plan.what === 'restart' && status.workload.orderedAt !== plan.orderedAt
    shown.waiting = status.leadership.planned !== null
    shown.draining = isHandingOver(status)
    shown.stopped = isNew || (shown.draining && status.workload.state === 'idle')
    shown.serving = isNew && isOpen
  }
  return PHASES.filter((phase) => shown[phase]).map((phase) => [phase, shown.acquired ? holder : plan.from])
}

/** Until then, the request can be withdrawn. */
function beginningOf(phases: readonly RequestPhase[]): RequestPhase | null {
  return phases.find(({ phase }) => phase !== 'requested' && phase !== 'waiting') ?? null
}

/** Why the leader does not obey; `null` if it may still obey, or has begun. */
function refusalOf(plan: Plan, lease: Lease, rows: readonly ReplicaRow[], begun: boolean): string | null {
  if (plan.what === 'restart' && !isFor(lease, plan)) return 'it no longer leads: see langflow-leader history'
  if (begun || !isAnswered(lease, plan)) return null
  const status = holderRow(lease, rows)?.status ?? null
  const { what, state, reason } = status?.switchover ?? {}
  if (state === 'refused' && what === plan.what && reason) return reason
  // A restart removes its request when it begins. A leader that obeys a failover may not answer, and removes it with its release.
  const mayObey = plan.what === 'restart' || (plan.what === 'switchover' && !status?.lease.self)
  return mayObey ? null : 'it refused, or another operator withdrew the request'
}

function outcomeOf({ what, from, to: asked }: Plan, phases: readonly RequestPhase[], lease: Lease) {
  const [to, epoch] = [phases.at(-1)?.pod ?? from, epochOf(lease)]
  const isElsewhere = what !== 'restart' && (to === from || (asked !== ANY_POD && to !== asked))
  // The new leader records the time without a server. A restart has no such record.
  const recordedMs = historyOf(lease).find((term) => term.epoch === epoch)?.gapMs ?? null
  const shownMs = (phases.at(-1)?.afterMs ?? 0) - (beginningOf(phases)?.afterMs ?? 0)
  const gapMs = what === 'restart' ? shownMs : recordedMs
  const result = isElsewhere ? 'elsewhere' : RESULTS[what]
  return { result, asked, from, to, epoch, gapMs, phases } as const
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
  { report, ...limits }: Limits & { readonly report: (phase: RequestPhase) => void },
): Promise<Outcome> {
  const since = clock.mono()
  let progress = begin(plan)
  progress.phases.forEach(report)
  let problem = ''
  const look = async () => {
    // After a failed read, such as during a restart of the API server, the next read may succeed.
    const lease = await cluster.lease().catch((error: Error) => error)
    const rows = await replicasFor(cluster, plan).catch((error: Error) => error)
    const failure = [lease, rows].find((seen) => seen instanceof Error)
    problem = failure === undefined ? '' : `: ${failure.message}`
    if (lease instanceof Error || rows instanceof Error) return null
    const count = progress.phases.length
    progress = step(plan, progress, { lease, rows, afterMs: Math.round(clock.mono() - since) })
    progress.phases.slice(count).forEach(report)
    if (progress.refusal === null) return progress.outcome
    throw new OperationError('refused', `${plan.from} did not obey the ${plan.what}: ${progress.refusal}`)
  }
  const end = await repeat(clock, limits, look)
  if (typeof end === 'object') return end
  const late = `LangFlow does not serve again after ${formatDuration(limits.timeoutMs)}${problem}`
  const fate = await giveUp(cluster, plan, beginningOf(progress.phases) !== null)
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

/** `    1.3s  released   langflow-0` */
export function phaseLine({ phase, pod, afterMs, detail }: RequestPhase): string {
  return `${shortDuration(afterMs).padStart(8)}  ${detail ?? `${phase.padEnd(9)}  ${pod}`}`
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
export function runRequest(
  asked: Omit<OperatorRequest, 'reason'>,
  { reason, yes, timeoutMs, output, ...at }: Values<typeof REQUEST_SETTINGS>,
): Promise<number> {
  return operating(output, async () => {
    const signal = interruption()
    using cluster = await Cluster.connect(at)
    const plan = await writeRequest(cluster, { ...asked, reason }, systemClock.now().wall, { yes, signal })
    const show = output === 'table' ? printLines : note
    const report = (phase: RequestPhase) => show(phaseLine(phase))
    const outcome = await followRequest(cluster, systemClock, plan, { timeoutMs, signal, report })
    await write(formatted(output, outcome, () => describeOutcome(outcome)))
    return outcome.result === 'elsewhere' ? EXIT_CODES.failed : EXIT_CODES.fine
  })
}
