import type { Clock } from '../../clock.ts'
import { type KubeObjects, POD } from '../../kube/kube-objects.ts'
import { ANY_POD } from '../../lease/operator-annotations.ts'
import type { Operable } from '../cluster.ts'
import { asOperationError, OperationError } from '../exit-codes.ts'
import type { Phase } from '../following.ts'
import { overviewOf } from '../overview.ts'
import { writeRequest } from '../request-run.ts'
import { type Plan, planSwitchover } from '../switchover.ts'
import { followSwitchover, switchover, switchoverLine } from '../switchover-progress.ts'
import type { Scenario } from './drill-command.ts'
import type { Service } from './langflow-service.ts'
import type { StateSamples } from './state-samples.ts'

/** The systems that a drill uses. */
export interface Stage {
  readonly cluster: Operable
  readonly objects: Pick<KubeObjects, 'get' | 'delete'>
  readonly clock: Clock
  readonly service: Service
  /** `null` without a user of LangFlow. */
  readonly samples: Pick<StateSamples, 'write' | 'read' | 'forget'> | null
  /** Prints a line for the user. */
  tell(line: string): void
}

/** Deadline of a request to the API server, in milliseconds. */
const DEADLINE_MS = 5_000

/**
 * The leader and the ready standbys. `hasFronts`: fronts hold requests during a takeover. Rejects with an `OperationError` unless one
 * replica serves, at least `able` standbys are ready, takeovers are not paused, and there is no handover.
 */
export async function prepare({ cluster, clock }: Pick<Stage, 'cluster' | 'clock'>, able: number) {
  const lease = await cluster.lease()
  const rows = await cluster.replicas()
  const wallMs = clock.now().wall
  const plan = planSwitchover(lease, rows, ANY_POD, wallMs)
  const { problems } = overviewOf(lease, rows, wallMs)
  if (problems.length > 0) throw new OperationError('not_ready', problems.join('; '))
  const count = plan.candidates.length
  if (count < able)
    throw new OperationError(
      'not_ready',
      `${count} of ${able} standbys are ready: see langflow-leader status`,
    )
  return { plan, hasFronts: rows.some(({ status }) => (status?.traffic.front ?? null) !== null) }
}

/** The action of a scenario on the leader, in one sentence. */
export const ACTIONS: Readonly<Record<Scenario, (leader: string) => string>> = {
  switchover: (leader) => `requested a handover from ${leader}`,
  'delete-pod': (leader) => `deleted the pod ${leader}`,
  'force-delete-pod': (leader) => `deleted the pod ${leader} without a grace period`,
}

/**
 * Runs the scenario on the leader. Rejects with an `OperationError`. A switchover that the leader has not started is withdrawn then.
 */
export async function act(
  scenario: Scenario,
  { cluster, objects, clock, tell }: Stage,
  plan: Plan,
  limits: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<void> {
  if (scenario === 'switchover') {
    const requested = await writeRequest(cluster, switchover(ANY_POD, null, clock), plan)
    const show = (phase: Phase) => tell(switchoverLine(phase).trimEnd())
    await followSwitchover(cluster, clock, requested, { ...limits, tell: show })
    return
  }
  const graceSeconds = scenario === 'force-delete-pod' ? 0 : undefined
  try {
    const pod = await objects.get(POD, plan.from, DEADLINE_MS)
    await objects.delete(POD, pod, DEADLINE_MS, graceSeconds)
  } catch (error) {
    throw asOperationError(error)
  }
}
