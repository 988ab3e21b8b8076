import { listed } from '../../config/values.ts'
import type { Fault } from '../../fault.ts'
import { epochOf, holderOf, type Lease } from '../../lease/lease.ts'
import { membersOf } from '../../lease/lease-members.ts'
import {
  ANY_POD,
  describePause,
  describeRequest,
  MEMBERS_DEAD,
  type OperatorRequest,
  pauseOf,
  podOf,
  REQUEST_DETAILS,
  REQUEST_NOW,
  REQUEST_REASON,
  REQUESTS,
  requestOf,
} from '../../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../../status/agent-status.ts'
import { holderRow, NO_SUCH_REPLICA, type Operable, updateAnnotations } from '../cluster.ts'
import { OperationError } from '../exit-codes.ts'
import { hasRestarted, isHandingOver } from '../overview.ts'

/** A request that was possible when the Lease and the replicas were read. */
export type Plan = ReturnType<typeof planOf>

const STATUS_WITHIN_MS = 1_500

/** A failover requires no answer of a replica, unless it declares replicas dead. */
export function replicasFor(cluster: Operable, { what, membersDead }: Partial<OperatorRequest>) {
  return what === 'failover' && !membersDead
    ? cluster.replicas(STATUS_WITHIN_MS).catch(() => [])
    : cluster.replicas()
}

/** Throws an `OperationError` with the reason if a request is not possible now. */
export function planOf(
  { what, to, membersDead }: Pick<OperatorRequest, 'what' | 'to' | 'membersDead'>,
  lease: Lease,
  rows: readonly ReplicaRow[],
  wallMs: number,
) {
  const holder = holderOf(lease)
  if (holder === '') throw new OperationError('nobody_leads', 'no replica leads: see langflow-leader status')
  const leader = holderRow(lease, rows)
  const status = leader?.status ?? null
  // The leader's pod, or the leader's identity if it contains no pod name.
  const from = leader?.pod ?? podOf(holder)
  const pause = pauseOf(lease, wallMs)
  if (pause !== null)
    throw new OperationError(
      'paused',
      `takeovers are paused ${describePause(pause)}: run langflow-leader resume first`,
    )
  const silence = what === 'failover' ? null : silenceOf(leader)
  if (silence !== null) throw new OperationError('leader_silent', `${from} holds the Lease, but ${silence}`)
  const busy = underWay(lease, from, status)
  if (busy !== null && (what !== 'failover' || requestOf(lease)?.what === what))
    throw new OperationError('switchover', `${busy}: wait until it ends`)
  if (to === from) throw new OperationError('already_leads', `${to} already leads: name another pod`)
  // A pod that has taken a dead member's name has another identity.
  const dead = [holder, ...(membersOf(lease)?.members ?? []).map(({ identity }) => identity)]
  const alive = rows.find(({ status }) => status !== null && dead.includes(status.identity))
  if (membersDead && alive !== undefined)
    throw new OperationError('refused', `${alive.pod} answers, so it is not dead: leave out --members-dead`)
  const pods = rows.map(({ pod }) => pod)
  if (what !== 'restart' && to !== ANY_POD && pods.length > 0 && !pods.includes(to))
    throw new OperationError('unknown_pod', `no replica is named ${to}: use one of ${listed(pods)}`)
  const others = rows.filter((row) => row !== leader && (to === ANY_POD || row.pod === to))
  // A failover requires none.
  const candidates = others.filter((row) => whyUnable(row) === null).map(({ pod }) => pod)
  if (what === 'switchover' && candidates.length === 0) {
    const why = others.map((row) => `${row.pod} cannot take over: ${whyUnable(row)}`).join('; ')
    const advice = 'langflow-leader restart --in-place needs no other replica'
    throw new OperationError('not_ready', `${why || 'there is only one replica'}: ${advice}`)
  }
  // The present start of LangFlow, in monotonic ms of the leader's node.
  const orderedAt = status?.workload.orderedAt ?? null
  return { what, to, from, holder, epoch: epochOf(lease), candidates, orderedAt }
}

/** Why the holder cannot obey. */
function silenceOf(leader: ReplicaRow | null): Fault {
  if (leader === null) return NO_SUCH_REPLICA
  if (leader.status === null) return `does not report its status: ${leader.problem}`
  return hasRestarted(leader.status)
    ? 'its agent has restarted and does not lead: see langflow-leader status'
    : null
}

/** The leader's current handover or restart, requested or under way, in one sentence; `null` if there is none. */
export function underWay(lease: Lease, from: string, status: AgentStatus | null): string | null {
  const asked = requestOf(lease)
  if (asked !== null) return `a ${describeRequest(asked)} is already requested from ${from}`
  if (status === null || !isHandingOver(status)) return null
  return `${from} is already handing over (${status.leadership.steppingDown ?? 'an operator asked for it'})`
}

function whyUnable({ status, problem }: ReplicaRow): Fault {
  if (status === null) return problem
  return status.couldTakeOver ? null : (status.unable ?? 'it is not ready')
}

/**
 * Writes a request by one compare-and-swap, to the leader and the term that it first read. Rejects with an `OperationError` if it
 * was not written, or if that is uncertain.
 */
export async function writeRequest(
  cluster: Operable,
  asked: OperatorRequest,
  wallMs: number,
  { yes = true, signal = null as AbortSignal | null } = {},
): Promise<Plan> {
  const [rows, first] = await Promise.all([replicasFor(cluster, asked), cluster.lease()])
  let plan: Plan | null = null
  await updateAnnotations(cluster, (lease, unsure) => {
    // An earlier write may have succeeded, and a leader without open connections may already have handed over.
    if (unsure && plan !== null && !isFor(lease, plan)) return null
    if (signal?.aborted)
      throw new OperationError('interrupted', 'interrupted before the request: see langflow-leader status')
    if (!isFor(lease, { holder: holderOf(first), epoch: epochOf(first) }))
      throw new OperationError('refused', `${podOf(holderOf(first))} no longer leads: run the command again`)
    plan = planOf(asked, lease, rows, wallMs)
    if (!yes) {
      const dead = asked.membersDead ? ', and would count as dead with all its failsafe members' : ''
      const what = `${plan.from} would be asked for a ${describeRequest(asked)}${dead}`
      throw new OperationError('declined', `${what}: add --yes to do it`)
    }
    // A failover replaces requests that the leader has not answered.
    const before = asked.what === 'failover' ? { [REQUESTS.switchover]: null, [REQUESTS.restart]: null } : {}
    const dead = asked.membersDead ? String(plan.epoch) : null
    const how = {
      [REQUEST_REASON]: asked.reason,
      [REQUEST_NOW]: asked.now ? 'true' : null,
      [MEMBERS_DEAD]: dead,
    }
    return { ...before, [REQUESTS[asked.what]]: annotationOf(asked), ...how }
  })
  return plan as unknown as Plan
}

/** The agent accepts any value for a restart. */
function annotationOf({ what, to }: Pick<OperatorRequest, 'what' | 'to'>): string {
  return what === 'restart' ? 'in-place' : to
}

/** Whether the leader of a request still holds the Lease, in the same term. */
export function isFor(lease: Lease, { holder, epoch }: Pick<Plan, 'holder' | 'epoch'>): boolean {
  return holderOf(lease) === holder && epochOf(lease) === epoch
}

/** Whether a request is gone, although its leader still leads. */
export function isAnswered(lease: Lease, plan: Plan): boolean {
  const asked = requestOf(lease)
  return isFor(lease, plan) && (asked?.what !== plan.what || asked.to !== plan.to)
}

/** Removes a request that still has its value. Rejects with an `OperationError` that contains the command to remove it by hand. */
export async function withdraw(cluster: Operable, plan: Plan): Promise<Lease> {
  const key = REQUESTS[plan.what]
  const removed = Object.fromEntries([key, ...REQUEST_DETAILS].map((one) => [one, null]))
  return await updateAnnotations(cluster, ({ metadata }) =>
    metadata.annotations?.[key] === annotationOf(plan) ? removed : null,
  ).catch((error: Error) => {
    const command = `kubectl annotate lease ${cluster.leaseName} --namespace=${cluster.namespace} ${key}-`
    const what = `the request could not be withdrawn: ${error.message}`
    throw new OperationError('failed', `${what}; withdraw it with ${command}`)
  })
}
