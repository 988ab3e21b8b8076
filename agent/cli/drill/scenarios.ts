import type { Clock } from '../../clock.ts'
import { type KubeObjects, POD } from '../../kube/kube-objects.ts'
import { epochOf, holderOf } from '../../lease/lease.ts'
import { ANYBODY, describeTarget, switchoverOf } from '../../lease/operator-annotations.ts'
import { holderRow, type Operable } from '../cluster.ts'
import { asOperationError, OperationError } from '../exit-codes.ts'
import { overviewOf } from '../overview.ts'
import { type Plan, planSwitchover, requestSwitchover } from '../switchover.ts'
import type { Scenario } from './drill-command.ts'
import type { Service } from './langflow-service.ts'

/** The systems that a drill reads and acts on. */
export interface Stage {
  readonly cluster: Operable
  readonly objects: Pick<KubeObjects, 'get' | 'delete'>
  readonly clock: Clock
  readonly service: Service
  /** Prints a line for the user. */
  tell(line: string): void
}

/** How long a request to the API server may take, in milliseconds. */
const DEADLINE_MS = 5_000

/**
 * The leader and the replicas that could take over; `hasFronts`: fronts hold requests during a takeover. Rejects with an
 * `OperationError` unless one replica serves, at least `able` others could take over, and nothing is paused or under way.
 */
export async function prepare({ cluster, clock }: Pick<Stage, 'cluster' | 'clock'>, able: number) {
  const lease = await cluster.lease()
  const rows = await cluster.replicas()
  const wallMs = clock.now().wall
  const plan = planSwitchover(lease, rows, ANYBODY, wallMs)
  const { problems } = overviewOf(lease, rows, wallMs)
  if (problems.length > 0) throw new OperationError('not_ready', problems.join('; '))
  const count = plan.candidates.length
  if (count < able)
    throw new OperationError('not_ready', `${count} of ${able} other replicas could take over: see status`)
  return { plan, hasFronts: rows.some(({ status }) => (status?.traffic.front ?? null) !== null) }
}

/** Plays the scenario on the leader. Resolves to what was done, in a few words. Rejects with an `OperationError`. */
export async function act(
  scenario: Scenario,
  { cluster, objects, clock }: Stage,
  plan: Plan,
): Promise<string> {
  if (scenario === 'switchover') {
    await requestSwitchover(cluster, clock, ANYBODY, plan)
    return `asked ${plan.from} to hand over to ${describeTarget(ANYBODY)}`
  }
  const isForced = scenario === 'force-delete-pod'
  try {
    const pod = await objects.get(POD, plan.from, DEADLINE_MS)
    await objects.delete(POD, pod, DEADLINE_MS, isForced ? 0 : undefined)
  } catch (error) {
    throw asOperationError(error)
  }
  return `deleted the pod ${plan.from}${isForced ? ' without the time to hand over' : ''}`
}

/** Whether another term has begun. Rejects with an `OperationError` if the leader has refused the switchover. */
export async function happened(scenario: Scenario, { cluster }: Stage, plan: Plan): Promise<boolean> {
  const { from, holder, epoch } = plan
  const lease = await cluster.lease()
  if (epochOf(lease) > epoch) return ![holder, ''].includes(holderOf(lease))
  const isAnswered = scenario === 'switchover' && switchoverOf(lease) === null
  const answer = isAnswered ? holderRow(lease, await cluster.replicas())?.status?.switchover : undefined
  if (answer?.state !== 'refused') return false
  const why = answer.reason ?? 'it does not say why'
  throw new OperationError('refused', `${from} refused to hand over: ${why}`)
}
