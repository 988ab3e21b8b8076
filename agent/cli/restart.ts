import { type Clock, systemClock } from '../clock.ts'
import { seconds } from '../config/values.ts'
import type { Lease } from '../lease/lease.ts'
import { REQUEST_REASON, RESTART, requestOf } from '../lease/operator-annotations.ts'
import type { ReplicaRow } from '../status/agent-status.ts'
import { holderRow, type Operable } from './cluster.ts'
import { OperationError } from './exit-codes.ts'
import { type Follow, follow, lookAt, type Phase, PhaseLog, phaseLine } from './following.ts'
import { serves } from './overview.ts'
import { type Addressee, isFor, type Request, removeRequest } from './request-run.ts'
import { isHandingOver, leaderToAsk } from './switchover.ts'

/** A restart in place that was possible when the Lease and the replicas were read. */
interface RestartPlan extends Addressee {
  /** The present start of LangFlow, in monotonic ms of the leader's node; `null` if unknown. */
  readonly orderedAt: number | null
}

export interface Restarted {
  readonly pod: string
  readonly epoch: number
  /** The longest possible time without a server, in milliseconds: between two reads of this program. */
  readonly gapMs: number
  readonly phases: readonly Phase[]
}

/** The value of the annotation. The agent accepts any value. */
const IN_PLACE = 'in-place'

export function restartInPlace(
  reason: string | null,
  clock: Clock = systemClock,
): Request<RestartPlan, Restarted> {
  return {
    notes: { [RESTART]: IN_PLACE, [REQUEST_REASON]: reason },
    plan: (lease, rows) => {
      const { leader, ...asked } = leaderToAsk(lease, rows, clock.now().wall)
      return { ...asked, orderedAt: leader.status.workload.orderedAt }
    },
    question: ({ from }) => `Restart LangFlow in ${from}, without a server until it has started?`,
    describe: ({ from }) => `a restart of LangFlow in ${from}`,
    requested: ({ from }) => ({ from }),
    follow: (cluster, plan, follow) => followRestart(cluster, clock, plan, follow),
    phaseLine,
    outcome: (done) => {
      return { ok: true, result: { result: 'restarted', ...done }, text: describeRestarted(done) }
    },
  }
}

/** Reads Lease and replicas until the leader serves with a new LangFlow. Rejects as `follow` does. */
async function followRestart(
  cluster: Operable,
  clock: Clock,
  plan: RestartPlan,
  { tell, ...limits }: Follow,
): Promise<Restarted> {
  const log = new PhaseLog(clock, tell)
  log.reach('requested', plan.from)
  let servedAt = clock.mono()
  let done = false
  return follow(clock, limits, {
    look: () => lookAt(cluster),
    saw: ({ lease, rows }) => {
      done = saw(log, plan, lease, rows)
      if (!log.begun) servedAt = clock.mono()
    },
    outcome: () => {
      const gapMs = Math.round(clock.mono() - servedAt)
      return done ? { pod: plan.from, epoch: plan.epoch, gapMs, phases: log.phases } : null
    },
    missing: 'LangFlow does not serve',
    giveUp: () => giveUp(cluster, plan, log.begun),
  })
}

/** Whether the new LangFlow serves. Throws an `OperationError` if the leader does not restart it. */
function saw(log: PhaseLog, plan: RestartPlan, lease: Lease, rows: readonly ReplicaRow[]): boolean {
  const { from } = plan
  if (!isFor(lease, plan))
    throw new OperationError('failed', `${from} no longer leads: see langflow-leader history`)
  const status = holderRow(lease, rows)?.status ?? null
  if (status === null) return false
  const isNew = status.workload.orderedAt !== plan.orderedAt
  const isStopping = isHandingOver(status)
  if (isStopping) log.reach('draining', from)
  if ((isStopping && status.workload.state === 'idle') || isNew) log.reach('stopped', from)
  if (isNew && serves(status)) {
    log.reach('serving', from)
    return true
  }
  const isAsked = requestOf(lease)?.what === 'restart'
  if (isAsked || isNew || isStopping || !status.lease.self) return false
  const { state, reason } = status.switchover ?? {}
  // The agent removes the request after it has begun to obey.
  if (state !== 'refused' || !reason) return false
  throw new OperationError('refused', `${from} refuses to restart LangFlow: ${reason}`)
}

/** Withdraws the request. Resolves to the result, for a sentence. */
async function giveUp(cluster: Operable, plan: RestartPlan, begun: boolean): Promise<string> {
  const lease = await removeRequest(cluster, RESTART, IN_PLACE).catch((error: Error) => error)
  if (lease instanceof Error) return lease.message
  return begun
    ? `${plan.from} has already begun the restart, which continues; see langflow-leader status`
    : `the request was withdrawn unless ${plan.from} has just begun; see langflow-leader status`
}

/** The result for people, one sentence a line. */
function describeRestarted({ pod, gapMs }: Restarted): string {
  return `${pod} serves with a new LangFlow; no replica served for at most ${seconds(gapMs)}\n`
}
