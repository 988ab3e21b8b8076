import { asFields, asNumber, asText, dig } from '../../manifests/manifest.ts'
import { inOneNamespace, labelsOf, matches } from '../../manifests/workload.ts'
import { objectsOf, scales } from '../facts.ts'
import { type Installation, type Installed, type Problem, type Rule, warning } from '../rule.ts'

/** Whether another replica can take over, and rollouts and drains can finish. */
export const ROLLOUT_RULES: readonly Rule<Installed>[] = [
  {
    code: 'rollout-strategy',
    about: "Rollouts can finish. In readiness mode, only the leader's pod is Ready.",
    fix: 'Use --traffic=front. With --traffic=readiness and N replicas, set maxSurge to 0, maxUnavailable to N - 1, and podManagementPolicy to Parallel.',
    *find(one) {
      const isFront = one.options.traffic.mode === 'front'
      if (one.manifest.kind === 'Deployment') yield* strategyFaults(one, isFront)
      else if (!isFront) yield* statefulFaults(one)
    },
  },
  {
    code: 'disruption-budget',
    about: 'A node can be drained. A budget may not require all Ready pods.',
    fix: 'Set maxUnavailable to 1. With --traffic=readiness, remove the PodDisruptionBudget.',
    reads: 'PodDisruptionBudget',
    *find(one, facts) {
      const replicas = replicasOf(one)
      const ready = one.options.traffic.mode === 'readiness' ? 1 : replicas
      const budgets = objectsOf('PodDisruptionBudget', one, facts).filter(({ value }) =>
        matches(dig(value, 'spec', 'selector'), labelsOf(one)),
      )
      if (budgets.length > 1) yield { message: 'another budget selects the same pods', of: budgets[1]! }
      for (const of of budgets) {
        const { minAvailable, maxUnavailable } = asFields(of.value.spec)
        const required =
          minAvailable !== undefined
            ? amount(minAvailable, replicas, Math.ceil)
            : replicas - amount(maxUnavailable ?? 0, replicas, Math.ceil)
        if (required >= ready) yield { message: `it requires ${required} Ready pods of ${ready}`, of }
      }
    },
  },
  {
    code: 'replicas',
    severity: 'warning',
    about: 'There are always two or more replicas. If not, no replica can take over.',
    fix: 'Set replicas to 2 or more, and remove the autoscaler: more replicas are only standbys.',
    reads: 'HorizontalPodAutoscaler',
    *find({ manifest, replicas, spec }, { manifests }) {
      const scalers = manifests.filter((one) => inOneNamespace(one, manifest) && scales(one, manifest))
      for (const of of scalers) {
        const { minReplicaCount = 0, maxReplicaCount, ...own } = asFields(of.value.spec)
        const {
          minReplicas = of.kind === 'ScaledObject' ? minReplicaCount : 1,
          maxReplicas = maxReplicaCount,
        } = own
        if (minReplicas !== maxReplicas || Number(minReplicas) < 2)
          yield { message: 'it changes the number of replicas', of }
      }
      if (scalers.length === 0 && (replicas ?? 1) < 2) yield `replicas is ${spec.replicas ?? 'not set'}`
    },
  },
]

/** If another program sets the number, or there is only one, the answer for two pods holds. */
function replicasOf({ replicas }: Installation): number {
  return Math.max(2, replicas ?? 2)
}

function* strategyFaults(one: Installed, isFront: boolean): Generator<Problem> {
  const replicas = replicasOf(one)
  const { type = 'RollingUpdate', rollingUpdate } = asFields(one.spec.strategy)
  if (type === 'Recreate') {
    yield warning('with the strategy Recreate, no pod serves during a rollout')
    return
  }
  const surge = amount(dig(rollingUpdate, 'maxSurge') ?? '25%', replicas, Math.ceil)
  const allowed = amount(dig(rollingUpdate, 'maxUnavailable') ?? '25%', replicas, Math.floor)
  // If both are rounded to 0, Kubernetes allows one unavailable pod, so that rollouts can finish.
  const down = surge === 0 ? Math.max(1, allowed) : allowed
  if (isFront && surge === 0 && down >= replicas)
    yield warning(`its rollouts end all pods at the same time (maxUnavailable ${down})`)
  if (!isFront && (surge > 0 || down < replicas - 1))
    yield `its rollouts wait for a second Ready pod (maxSurge ${surge}, maxUnavailable ${down} of ${replicas})`
}

/** With --traffic=readiness, only one pod of a StatefulSet is Ready. */
function* statefulFaults(one: Installed): Generator<Problem> {
  const replicas = replicasOf(one)
  const { type = 'RollingUpdate', rollingUpdate } = asFields(one.spec.updateStrategy)
  const down = Math.max(1, amount(dig(rollingUpdate, 'maxUnavailable') ?? 1, replicas, Math.floor))
  if (one.spec.podManagementPolicy !== 'Parallel')
    yield {
      message: 'podManagementPolicy is OrderedReady, so each pod waits until the last one is Ready',
      severity: replicas > 2 ? 'error' : 'warning',
    }
  if (type === 'RollingUpdate' && down < replicas - 1)
    yield `its rollouts wait for pods that never become Ready (maxUnavailable ${down} of ${replicas})`
}

/** A number of pods, from a number or a percentage such as `25%`. */
function amount(value: unknown, of: number, round: (value: number) => number): number {
  const [, percent] = /^(\d+)%$/.exec(asText(value)) ?? []
  return percent === undefined ? (asNumber(value) ?? Number(value)) : round((Number(percent) / 100) * of)
}
