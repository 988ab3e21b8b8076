import type { Clock } from '../clock.ts'
import { listed } from '../config/values.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import {
  ANY_POD,
  describePause,
  describeTarget,
  type OperatorRequest,
  pauseOf,
  podOf,
  REQUEST_REASON,
  requestOf,
  SWITCHOVER_TO,
} from '../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../observe/agent-status.ts'
import { holderRow, NO_SUCH_REPLICA, type Operable, updateAnnotations } from './cluster.ts'
import { OperationError } from './exit-codes.ts'
import { hasRestarted } from './overview.ts'

/** The leader that a request is for. */
export interface Addressee {
  /** The leader's pod, or the leader's identity if it contains no pod name. */
  readonly from: string
  /** The leader's identity, and its term. */
  readonly holder: string
  readonly epoch: number
}

/** A switchover that was possible when the Lease and the replicas were read. */
export interface Plan extends Addressee {
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
  const { leader, ...asked } = leaderToAsk(lease, rows, wallMs)
  const candidates = to === ANY_POD ? ableOnes(rows, leader) : [ableOne(rows, leader, to)]
  return { ...asked, to, candidates: candidates as [string, ...string[]] }
}

type Answering = ReplicaRow & { readonly status: AgentStatus }

/** The leader, if it answers and could obey a request now. Throws an `OperationError`. @param wallMs now, by the wall clock */
export function leaderToAsk(
  lease: Lease,
  rows: readonly ReplicaRow[],
  wallMs: number,
): Addressee & { readonly leader: Answering } {
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
  refuseIfPaused(lease, wallMs)
  const busy = underWay(lease, from, status)
  if (busy !== null) throw new OperationError('switchover', `${busy}: wait until it ends`)
  return { from, holder, epoch: epochOf(lease), leader: leader as Answering }
}

export function refuseIfPaused(lease: Lease, wallMs: number): void {
  const pause = pauseOf(lease, wallMs)
  if (pause === null) return
  const until = describePause(pause)
  throw new OperationError('paused', `takeovers are paused ${until}: run langflow-leader resume first`)
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
  reason: string | null = null,
): Promise<Plan> {
  const rows = await cluster.replicas()
  const planNow = (lease: Lease) => planSwitchover(lease, rows, to, clock.now().wall)
  return requestFrom(cluster, confirmed, planNow, { [SWITCHOVER_TO]: to, [REQUEST_REASON]: reason })
}

/**
 * Writes a request for the leader of the plan by one compare-and-swap. Rejects with an `OperationError` if it was not written, or if
 * that is uncertain.
 *
 * @param planNow throws if the request is no longer possible
 */
export async function requestFrom<P extends Addressee>(
  cluster: Operable,
  confirmed: P | null,
  planNow: (lease: Lease) => P,
  request: Readonly<Record<string, string | null>>,
): Promise<P> {
  let plan = confirmed
  await updateAnnotations(cluster, (lease, unsure) => {
    // An earlier write may have succeeded, and a leader without open connections may already have handed over.
    if (unsure && plan !== null && !isFor(lease, plan)) return null
    const now = planNow(lease)
    if (plan !== null && now.holder !== plan.holder)
      throw new OperationError(
        'conflict',
        `${plan.from} no longer leads, and ${now.from} leads now: start again`,
      )
    plan = now
    return request
  })
  return plan as unknown as P
}

/** Whether the leader of a request still holds the Lease, in the same term. */
export function isFor(lease: Lease, { holder, epoch }: Addressee): boolean {
  return holderOf(lease) === holder && epochOf(lease) === epoch
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
export async function withdraw(cluster: Operable, plan: Plan): Promise<'withdrawn' | 'begun'> {
  const lease = await removeRequest(cluster, SWITCHOVER_TO, plan.to)
  if (!isFor(lease, plan)) return 'begun'
  // The leader may have started just before the withdrawal. A leader that does not answer counts as not started.
  const rows = await cluster.replicas().catch(() => [])
  const status = rows.find(({ pod }) => pod === plan.from)?.status ?? null
  return status !== null && isHandingOver(status) ? 'begun' : 'withdrawn'
}

/**
 * Removes a request that still has this value. Resolves to the Lease after that. Rejects with an `OperationError` that contains the
 * command to remove it by hand.
 */
export async function removeRequest(cluster: Operable, key: string, value: string): Promise<Lease> {
  return await updateAnnotations(cluster, ({ metadata }) =>
    metadata.annotations?.[key] === value ? { [key]: null, [REQUEST_REASON]: null } : null,
  ).catch((error: Error) => {
    const command = `kubectl annotate lease ${cluster.leaseName} --namespace=${cluster.namespace} ${key}-`
    throw new OperationError(
      'failed',
      `the request could not be withdrawn: ${error.message}; withdraw it with ${command}`,
    )
  })
}

export function isHandingOver({ switchover, leadership }: AgentStatus): boolean {
  return switchover?.state === 'under way' || leadership.steppingDown !== null
}

/** The leader's current handover or restart, requested or under way, in one sentence; `null` if there is none. */
export function underWay(lease: Lease, from: string, status: AgentStatus | null): string | null {
  const asked = requestOf(lease)
  if (asked !== null) return `${describeFrom(from, asked)} is already requested`
  if (status?.switchover?.state === 'under way')
    return `${describeFrom(from, status.switchover)} is already under way`
  const why = status?.leadership.steppingDown ?? null
  return why === null ? null : `${from} is already handing over (${why})`
}

/** `a switchover from langflow-0 to langflow-1` */
function describeFrom(from: string, { what, to }: Pick<OperatorRequest, 'what' | 'to'>): string {
  return what === 'restart'
    ? `a restart of ${from} in place`
    : `a ${what} from ${from} to ${describeTarget(to)}`
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
