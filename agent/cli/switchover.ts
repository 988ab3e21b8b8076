import { listed } from '../config/values.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import {
  ANY_POD,
  describePause,
  describeTarget,
  type OperatorRequest,
  pauseOf,
  podOf,
  requestOf,
  SWITCHOVER_TO,
} from '../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../status/agent-status.ts'
import { holderRow, NO_SUCH_REPLICA, type Operable } from './cluster.ts'
import { OperationError } from './exit-codes.ts'
import { hasRestarted } from './overview.ts'
import { type Addressee, isFor, removeRequest } from './request-run.ts'

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
