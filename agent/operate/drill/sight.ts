import type { Clock } from '../../clock.ts'
import type { KubeObject } from '../../kube/objects.ts'
import { epochOf, holderOf, type Lease } from '../../lease/lease.ts'
import { ANYBODY, describePause, podOf } from '../../lease/operation.ts'
import type { ReplicaRow } from '../../observe/status.ts'
import { holderRow } from '../cluster.ts'
import { OperationError } from '../exit-codes.ts'
import { serves } from '../overview.ts'
import type { Operable } from '../swap.ts'
import { type Plan, planSwitchover, whyUnable } from '../switchover.ts'
import type { Hands } from './hands.ts'

/** What a drill looks at and acts on. */
export interface Stage {
  readonly cluster: Operable
  readonly hands: Hands
  readonly clock: Clock
}

/** The Lease, its replicas and the leader's pod, as they were looked at. */
export interface Sight {
  readonly lease: Lease
  readonly rows: readonly ReplicaRow[]
  /** `null`: it was not looked at. */
  readonly pod: KubeObject | null
}

/** One in which somebody serves, and others could take over. */
export interface Fit extends Sight {
  readonly plan: Plan
}

/** The replicas after the Lease: whatever it says, they say nothing older. */
export async function observe({ cluster, hands }: Stage, withPod: boolean): Promise<Sight> {
  const lease = await cluster.lease()
  const rows = await cluster.replicas()
  const leader = withPod ? holderRow(lease, rows) : null
  return { lease, rows, pod: leader === null ? null : await hands.pod(leader.pod) }
}

/**
 * That somebody serves, at least `able` others could take over, and nothing is paused or under way. Throws an `OperationError`
 * that says what is not so.
 *
 * @param wallMs now, by the wall clock
 */
export function fit(sight: Sight, able: number, wallMs: number): Fit {
  const { lease, rows } = sight
  const plan = planSwitchover(lease, rows, ANYBODY, wallMs)
  for (const { pod, status } of rows) {
    // It is paused for as long as a replica takes it to be, whatever the clock says here.
    const paused = status?.pause ?? null
    if (paused !== null)
      throw new OperationError(
        'paused',
        `paused ${describePause(paused)}, by the clock of ${pod}: resume first, with langflow-leader resume`,
      )
  }
  const leader = holderRow(lease, rows)
  if (leader?.status == null || !serves(leader.status))
    throw new OperationError('nobody_leads', `${plan.from} leads and does not serve yet: see status`)
  const count = plan.candidates.length
  if (count >= able) return { ...sight, plan }
  const others = rows.filter((row) => row !== leader && row.status?.couldTakeOver !== true)
  const why = others.map((row) => `${row.pod}: ${whyUnable(row)}`)
  throw new OperationError(
    'not_ready',
    `${count} of ${able} other replicas could take over (${why.join('; ') || 'the others are gone'})`,
  )
}

/** Who holds the Lease and whether they serve, in a few words. */
export function summaryOf({ lease, rows }: Sight): string {
  const holder = holderOf(lease)
  if (holder === '') return 'the Lease is released'
  const row = holderRow(lease, rows)
  const [who, term] = [podOf(holder), `in term ${epochOf(lease)}`]
  const holds = `${who} holds the Lease ${term}`
  if (row === null || row.status === null) return `${holds}, and does not answer`
  if (serves(row.status)) return `${who} serves ${term}`
  if (row.status.leadership.steppingDown !== null) return `${holds}, and hands over`
  return row.status.role === 'leader' ? `${holds}, and starts LangFlow` : holds
}
