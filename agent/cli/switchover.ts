import type { Clock } from '../clock.ts'
import { listed } from '../config/values.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import {
  ANYBODY,
  describePause,
  describeTarget,
  pauseOf,
  podOf,
  SWITCHOVER_TO,
  switchoverOf,
} from '../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../observe/agent-status.ts'
import { holderRow, type Operable, updateAnnotations } from './cluster.ts'
import { OperationError } from './exit-codes.ts'

/** A switchover that was possible when Lease and replicas were read. */
export interface Plan {
  /** The leader's pod, or its identity if that names no pod. */
  readonly from: string
  /** The leader's identity, and its term. */
  readonly holder: string
  readonly epoch: number
  /** What the Lease shall say: the name of a pod, or `*`. */
  readonly to: string
  /** The pods of which one will lead. */
  readonly candidates: readonly [string, ...string[]]
}

/**
 * Whether this switchover is possible now. `to`: the name of a pod, or `*`. Throws an `OperationError` that says why not.
 *
 * @param wallMs now, by the wall clock
 */
export function planSwitchover(lease: Lease, rows: readonly ReplicaRow[], to: string, wallMs: number): Plan {
  const holder = holderOf(lease)
  if (holder === '') throw new OperationError('nobody_leads', 'no replica leads: see langflow-leader status')
  const leader = holderRow(lease, rows)
  const from = leader?.pod ?? podOf(holder)
  const status = leader?.status ?? null
  if (status === null) {
    const why = leader === null ? 'this cluster has no such pod' : leader.problem
    throw new OperationError(
      'leader_silent',
      `${from} holds the Lease and does not report its status: ${why}`,
    )
  }
  const pause = pauseOf(lease, wallMs)
  if (pause !== null)
    throw new OperationError(
      'paused',
      `paused ${describePause(pause)}: resume first, with langflow-leader resume`,
    )
  const busy = underWay(lease, from, status)
  if (busy !== null) throw new OperationError('switchover', `${busy}: wait until it is over`)
  const candidates = to === ANYBODY ? ableOnes(rows, leader) : [ableOne(rows, leader, to)]
  return { from, holder, epoch: epochOf(lease), to, candidates: candidates as [string, ...string[]] }
}

/** Rejects with an `OperationError`. */
export async function readPlan(cluster: Operable, clock: Clock, to: string): Promise<Plan> {
  const lease = await cluster.lease()
  return planSwitchover(lease, await cluster.replicas(), to, clock.now().wall)
}

/** `Switch over from langflow-0 to langflow-1 or langflow-2?` */
export function question({ from, candidates }: Plan): string {
  return `Switch over from ${from} to ${listed(candidates, 'or')}?`
}

/**
 * Asks the leader for a switchover that is possible now, by one compare-and-swap. Resolves once the Lease says so, before the leader
 * has answered. Rejects with an `OperationError` if nothing, or perhaps nothing, was asked for.
 *
 * @param confirmed the plan that the user has confirmed; `null`: it was not asked for
 */
export async function requestSwitchover(
  cluster: Operable,
  clock: Clock,
  to: string,
  confirmed: Plan | null,
): Promise<Plan> {
  const rows = await cluster.replicas()
  let plan = confirmed
  await updateAnnotations(cluster, (lease, unsure) => {
    // A leader with nothing open may already have done what it was asked for.
    if (unsure && plan !== null && (holderOf(lease) !== plan.holder || epochOf(lease) !== plan.epoch))
      return null
    const now = planSwitchover(lease, rows, to, clock.now().wall)
    if (plan !== null && now.holder !== plan.holder)
      throw new OperationError('conflict', `${plan.from} no longer leads, ${now.from} does: start again`)
    plan = now
    return { [SWITCHOVER_TO]: to }
  })
  return plan as unknown as Plan
}

export function describeRequested({ from, candidates }: Plan): string {
  return `${from} is asked to hand over to ${candidates.join(' or ')}; see langflow-leader status\n`
}

/**
 * Takes a request back, if the Lease still says it. `begun`: the leader had begun with it, and goes on. Rejects with an
 * `OperationError` that says how to do it by hand.
 */
export async function withdraw(
  cluster: Operable,
  { from, holder, epoch, to }: Plan,
): Promise<'withdrawn' | 'begun'> {
  const lease = await updateAnnotations(cluster, (lease) =>
    switchoverOf(lease) === to ? { [SWITCHOVER_TO]: null } : null,
  ).catch((error: Error) => {
    const command = `kubectl annotate lease ${cluster.leaseName} --namespace=${cluster.namespace} ${SWITCHOVER_TO}-`
    throw new OperationError(
      'failed',
      `the request could not be taken back: ${error.message}; take it back with ${command}`,
    )
  })
  if (holderOf(lease) !== holder || epochOf(lease) !== epoch) return 'begun'
  // The leader may have begun just before. If it does not answer, it has not read the request.
  const rows = await cluster.replicas().catch(() => [])
  const status = rows.find(({ pod }) => pod === from)?.status ?? null
  return status !== null && isHandingOver(status) ? 'begun' : 'withdrawn'
}

export function isHandingOver({ switchover, leadership }: AgentStatus): boolean {
  return switchover?.state === 'under way' || leadership.steppingDown !== null
}

/** The switchover or other handover that the leader is busy with, in one sentence; `null`: none. */
export function underWay(lease: Lease, from: string, status: AgentStatus | null): string | null {
  const asked = switchoverOf(lease)
  if (asked !== null) return `a switchover from ${from} to ${describeTarget(asked)} was asked for already`
  if (status?.switchover?.state === 'under way')
    return `${from} is switching over to ${describeTarget(status.switchover.to)} already`
  const why = status?.leadership.steppingDown ?? null
  return why === null ? null : `${from} is handing over already (${why})`
}

function ableOnes(rows: readonly ReplicaRow[], leader: ReplicaRow | null): string[] {
  const others = rows.filter((row) => row !== leader)
  const able = others.filter((row) => whyUnable(row) === null).map(({ pod }) => pod)
  if (able.length > 0) return able
  const why = others.map((row) => `${row.pod}: ${whyUnable(row)}`).join('; ')
  throw new OperationError('not_ready', `nobody else could take over: ${why || 'there is one replica only'}`)
}

function ableOne(rows: readonly ReplicaRow[], leader: ReplicaRow | null, to: string): string {
  const row = rows.find(({ pod }) => pod === to)
  if (row === undefined) {
    const pods = listed(rows.map(({ pod }) => pod))
    throw new OperationError('unknown_pod', `no replica is called ${to}: the replicas are ${pods}`)
  }
  if (row === leader) throw new OperationError('already_leads', `${to} leads already`)
  const why = whyUnable(row)
  if (why !== null) throw new OperationError('not_ready', `${to} could not take over: ${why}`)
  return to
}

/** Why a follower could not take over, in one sentence; `null`: it could. */
function whyUnable({ status, problem }: ReplicaRow): string | null {
  if (status === null) return problem
  return status.couldTakeOver ? null : (status.unable ?? 'it is not ready')
}
