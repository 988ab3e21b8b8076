import { type Clock, systemClock } from '../clock.ts'
import { listed, seconds } from '../config/values.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import { historyOf, holderServes } from '../lease/lease-history.ts'
import {
  ANY_POD,
  describeTarget,
  FAILOVER_TO,
  podOf,
  REQUEST_REASON,
  RESTART,
  requestOf,
  SWITCHOVER_TO,
} from '../lease/operator-annotations.ts'
import type { ReplicaRow } from '../status/agent-status.ts'
import { holderRow, type Operable } from './cluster.ts'
import { OperationError } from './exit-codes.ts'
import { type Follow, follow, type Phase, PhaseLog, phaseLine } from './following.ts'
import { type Addressee, isFor, type Request, removeRequest } from './request-run.ts'
import { refuseIfPaused, whyUnable } from './switchover.ts'
import { describeLeader, isElsewhere } from './switchover-progress.ts'

/** A failover that was possible when the Lease was read. */
export interface FailoverPlan extends Addressee {
  /** The name of a pod, or `*`. */
  readonly to: string
  /** The other pods that report that they can take over. A failover does not require one. */
  readonly able: readonly string[]
}

/** The new leader, by the Lease alone. */
export interface FailedOver {
  readonly from: string
  readonly to: string
  readonly epoch: number
  /** The time without a server, in milliseconds, as the new leader recorded it; `null` if unknown. */
  readonly gapMs: number | null
  readonly phases: readonly Phase[]
}

/** Deadline of a replica's answer, in milliseconds. */
const STATUS_WITHIN_MS = 1_500

/** A failover, in place of a request that the leader has not answered. @param to the name of a pod, or `*` */
export function failover(
  to: string,
  reason: string | null,
  clock: Clock = systemClock,
): Request<FailoverPlan, FailedOver> {
  return {
    notes: { [FAILOVER_TO]: to, [REQUEST_REASON]: reason, [SWITCHOVER_TO]: null, [RESTART]: null },
    replicas: knownReplicas,
    plan: (lease, rows) => planFailover(lease, rows, to, clock.now().wall),
    question: ({ from }) => `Fail over from ${from} to ${describeTarget(to)}, without a drain?`,
    prospect,
    describe: ({ from }) => `a failover from ${from} to ${describeTarget(to)}`,
    requested: ({ from, able }) => ({ asked: to, from, able }),
    follow: (cluster, plan, follow) => followFailover(cluster, clock, plan, follow),
    phaseLine,
    outcome: (done, plan) => {
      const ok = !isElsewhere(done, plan)
      const result = { result: ok ? 'failed_over' : 'elsewhere', asked: to, ...done }
      return { ok, result, text: describeFailedOver(done, plan) }
    },
  }
}

/**
 * The plan of a failover. It requires a holder of the Lease, and no answer of any replica. Throws an `OperationError`.
 *
 * @param rows the replicas, as far as they are known
 * @param wallMs now, by the wall clock
 */
function planFailover(lease: Lease, rows: readonly ReplicaRow[], to: string, wallMs: number): FailoverPlan {
  const holder = holderOf(lease)
  if (holder === '')
    throw new OperationError(
      'nobody_leads',
      'no replica holds the Lease, so there is no leader to fail over from: see langflow-leader status',
    )
  const leader = holderRow(lease, rows)
  const from = leader?.pod ?? podOf(holder)
  refuseIfPaused(lease, wallMs)
  const asked = requestOf(lease)
  if (asked?.what === 'failover')
    throw new OperationError(
      'switchover',
      `a failover from ${from} to ${describeTarget(asked.to)} is already requested: wait until it ends`,
    )
  if (to === from) throw new OperationError('already_leads', `${to} already leads: name another pod`)
  const pods = rows.map(({ pod }) => pod)
  if (to !== ANY_POD && rows.length > 0 && !pods.includes(to))
    throw new OperationError('unknown_pod', `no replica is named ${to}: use one of ${listed(pods)}`)
  const able = rows.filter((row) => row !== leader && whyUnable(row) === null).map(({ pod }) => pod)
  return { from, holder, epoch: epochOf(lease), to, able }
}

/** Without an answer, the failover is still possible. */
function knownReplicas(cluster: Operable): Promise<ReplicaRow[]> {
  return cluster.replicas(STATUS_WITHIN_MS).catch(() => [])
}

/** Whether a replica can take over, in one sentence. */
function prospect({ to, able }: FailoverPlan): string {
  const others = to === ANY_POD ? able : able.filter((pod) => pod === to)
  const who = to === ANY_POD ? 'No other replica reports that it' : `${to} does not report that it`
  if (others.length === 0) return `${who} can take over, so LangFlow may be down until a replica can.`
  return `${listed(others)} ${others.length === 1 ? 'reports that it' : 'report that they'} can take over.`
}

/** Reads only the Lease, until a new leader has recorded that it serves. Rejects as `follow` does. */
async function followFailover(
  cluster: Operable,
  clock: Clock,
  plan: FailoverPlan,
  { tell, ...limits }: Follow,
): Promise<FailedOver> {
  const progress = new FailoverProgress(plan, clock, tell)
  return follow(clock, limits, {
    look: async () => {
      const lease = await cluster.lease()
      return { lease, refusal: isAnswered(lease, plan) ? await whyRefused(cluster, lease) : null }
    },
    saw: ({ lease, refusal }) => {
      if (refusal !== null)
        throw new OperationError('refused', `${plan.from} did not obey the failover: ${refusal}`)
      progress.saw(lease)
    },
    outcome: () => progress.outcome(),
    missing: 'no other replica serves',
    giveUp: () => progress.giveUp(cluster),
  })
}

/** Whether the request is gone, although its leader still holds the Lease. A leader that obeys removes it with its release. */
function isAnswered(lease: Lease, plan: FailoverPlan): boolean {
  return isFor(lease, plan) && requestOf(lease)?.what !== 'failover'
}

async function whyRefused(cluster: Operable, lease: Lease): Promise<string> {
  const status = holderRow(lease, await knownReplicas(cluster))?.status ?? null
  const { state, reason } = status?.switchover ?? {}
  return state === 'refused' && reason ? reason : 'it refused, or another operator withdrew the request'
}

class FailoverProgress {
  private readonly plan: FailoverPlan
  private readonly log: PhaseLog
  private lease: Lease | null = null
  private renewed = false

  constructor(plan: FailoverPlan, clock: Clock, tell: (phase: Phase) => void) {
    this.plan = plan
    this.log = new PhaseLog(clock, tell)
    this.log.reach('requested', plan.to === ANY_POD ? describeTarget(plan.to) : plan.to)
  }

  saw(lease: Lease): void {
    const { plan, log } = this
    const before = this.lease?.spec?.renewTime
    this.renewed ||= before !== undefined && isFor(lease, plan) && lease.spec?.renewTime !== before
    this.lease = lease
    if (holderOf(lease) === '') log.reach('released', plan.from)
    else if (epochOf(lease) > plan.epoch) log.reach('acquired', podOf(holderOf(lease)))
    if (epochOf(lease) > plan.epoch && holderServes(lease, historyOf(lease)))
      log.reach('serving', podOf(holderOf(lease)))
  }

  outcome(): FailedOver | null {
    const { lease, plan, log } = this
    const last = log.phases.at(-1)
    if (lease === null || last?.phase !== 'serving') return null
    const gapMs = historyOf(lease)[0]?.gapMs ?? null
    return { from: plan.from, to: last.pod, epoch: epochOf(lease), gapMs, phases: log.phases }
  }

  /** Resolves to the result, for a sentence. */
  async giveUp(cluster: Operable): Promise<string> {
    const { plan, renewed } = this
    const lease = await removeRequest(cluster, FAILOVER_TO, plan.to).catch((error: Error) => error)
    if (lease instanceof Error) return lease.message
    if (!isFor(lease, plan))
      return `${plan.from} has released the Lease, or lost it; see langflow-leader status`
    const gone = `kubectl delete pod ${plan.from} --namespace=${cluster.namespace}`
    return renewed
      ? `the request was withdrawn; ${plan.from} renews the Lease, but does not obey or still stops LangFlow: end it with ${gone}`
      : `the request was withdrawn; ${plan.from} has not renewed the Lease meanwhile, so another replica takes over when the Lease expires`
  }
}

/** The result for people, one sentence a line. */
function describeFailedOver(done: FailedOver, plan: FailoverPlan): string {
  const { gapMs } = done
  const gap = gapMs === null ? '' : `; no replica served for ${seconds(gapMs)}`
  const lines = [`${describeLeader(done)}${gap}`]
  if (isElsewhere(done, plan))
    lines.push(`${describeTarget(plan.to)} did not become the leader: see langflow-leader history`)
  return `${lines.join('\n')}\n`
}
