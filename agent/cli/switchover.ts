import type { Clock } from '../clock.ts'
import { listed } from '../config/values.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import {
  ANY_POD,
  describePause,
  describeTarget,
  pauseOf,
  podOf,
  SWITCHOVER_TO,
  switchoverOf,
} from '../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../observe/agent-status.ts'
import { holderRow, NO_SUCH_REPLICA, type Operable, updateAnnotations } from './cluster.ts'
import { OperationError } from './exit-codes.ts'
import { hasRestarted } from './overview.ts'

/** A switchover that was possible when the Lease and the replicas were read. */
export interface Plan {
  /** The leader's pod, or the leader's identity if it contains no pod name. */
  readonly from: string
  /** The leader's identity, and its term. */
  readonly holder: string
  readonly epoch: number
  /** The value of the annotation: the name of a pod, or `*`. */
  readonly to: string
  /** The pods that may become the leader. */
  readonly candidates: readonly [string, ...string[]]
}

/**
 * The plan of a switchover. Throws an `OperationError` with the reason if the switchover is not possible now. `to`: the name of a pod,
 * or `*`.
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
    const why = leader === null ? NO_SUCH_REPLICA : `does not report its status: ${leader.problem}`
    throw new OperationError('leader_silent', `${from} holds the Lease, but ${why}`)
  }
  if (hasRestarted(status))
    throw new OperationError(
      'leader_silent',
      `${from} holds the Lease, but its agent has restarted and does not lead: see langflow-leader status`,
    )
  const pause = pauseOf(lease, wallMs)
  if (pause !== null)
    throw new OperationError(
      'paused',
      `takeovers are paused ${describePause(pause)}: run langflow-leader resume first`,
    )
  const busy = underWay(lease, from, status)
  if (busy !== null) throw new OperationError('switchover', `${busy}: wait until it ends`)
  const candidates = to === ANY_POD ? ableOnes(rows, leader) : [ableOne(rows, leader, to)]
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
 * Requests a switchover from the leader by one compare-and-swap. Resolves when the request is in the Lease, before the leader acts on
 * it. Rejects with an `OperationError` if the request was not written, or if that is uncertain.
 *
 * @param confirmed the plan that the user has confirmed; `null` if no confirmation was necessary
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
    // An earlier write may have succeeded, and a leader without open connections may already have handed over.
    if (unsure && plan !== null && (holderOf(lease) !== plan.holder || epochOf(lease) !== plan.epoch))
      return null
    const now = planSwitchover(lease, rows, to, clock.now().wall)
    if (plan !== null && now.holder !== plan.holder)
      throw new OperationError(
        'conflict',
        `${plan.from} no longer leads, and ${now.from} leads now: start again`,
      )
    plan = now
    return { [SWITCHOVER_TO]: to }
  })
  return plan as unknown as Plan
}

export function describeRequested({ from, candidates }: Plan, dryRun: boolean): string {
  const handover = `a handover from ${from} to ${listed(candidates, 'or')}`
  return dryRun
    ? `would request ${handover} (server dry run)\n`
    : `requested ${handover}; see langflow-leader status\n`
}

/**
 * Withdraws a request if it is still in the Lease. Resolves to `begun` if the leader has started the handover, which continues. Rejects
 * with an `OperationError` that contains the command to withdraw the request by hand.
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
      `the request could not be withdrawn: ${error.message}; withdraw it with ${command}`,
    )
  })
  if (holderOf(lease) !== holder || epochOf(lease) !== epoch) return 'begun'
  // The leader may have started just before the withdrawal. A leader that does not answer counts as not started.
  const rows = await cluster.replicas().catch(() => [])
  const status = rows.find(({ pod }) => pod === from)?.status ?? null
  return status !== null && isHandingOver(status) ? 'begun' : 'withdrawn'
}

export function isHandingOver({ switchover, leadership }: AgentStatus): boolean {
  return switchover?.state === 'under way' || leadership.steppingDown !== null
}

/** The leader's current switchover or other handover, in one sentence; `null` if there is no handover. */
export function underWay(lease: Lease, from: string, status: AgentStatus | null): string | null {
  const asked = switchoverOf(lease)
  if (asked !== null) return `a switchover from ${from} to ${describeTarget(asked)} is already requested`
  if (status?.switchover?.state === 'under way')
    return `${from} is already switching over to ${describeTarget(status.switchover.to)}`
  const why = status?.leadership.steppingDown ?? null
  return why === null ? null : `${from} is already handing over (${why})`
}

function ableOnes(rows: readonly ReplicaRow[], leader: ReplicaRow | null): string[] {
  const others = rows.filter((row) => row !== leader)
  const able = others.filter((row) => whyUnable(row) === null).map(({ pod }) => pod)
  if (able.length > 0) return able
  const why = others.map((row) => `${row.pod}: ${whyUnable(row)}`).join('; ')
  throw new OperationError(
    'not_ready',
    `no other replica can take over: ${why || 'there is only one replica'}`,
  )
}

function ableOne(rows: readonly ReplicaRow[], leader: ReplicaRow | null, to: string): string {
  const row = rows.find(({ pod }) => pod === to)
  if (row === undefined) {
    const pods = listed(rows.map(({ pod }) => pod))
    throw new OperationError('unknown_pod', `no replica is named ${to}: use one of ${pods}`)
  }
  if (row === leader) throw new OperationError('already_leads', `${to} already leads: name another pod`)
  const why = whyUnable(row)
  if (why !== null) throw new OperationError('not_ready', `${to} cannot take over: ${why}`)
  return to
}

const GONE: ReplicaRow = { pod: '', node: null, status: null, problem: 'its pod no longer exists' }

/** The reason why a replica cannot take over, in one sentence; `null` if it can. */
export function whyUnable({ status, problem }: ReplicaRow = GONE): string | null {
  if (status === null) return problem
  return status.couldTakeOver ? null : (status.unable ?? 'it is not ready')
}
