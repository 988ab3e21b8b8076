import { asFields, asList, asNumber, asText, dig, type Fields } from '../../manifests/manifest.ts'
import { inOneNamespace, labelsOf, matches } from '../../manifests/workload.ts'
import { objectsOf, scales } from '../facts.ts'
import type { Installation, Installed, Problem, Rule } from '../rule.ts'

const NODE_LABEL = 'kubernetes.io/hostname'

/** Whether rollouts and drains can finish, and keep a leader. */
export const ROLLOUT_RULES: readonly Rule<Installed>[] = [
  {
    code: 'rollout-strategy',
    severity: 'error',
    about:
      "Rollouts can finish. With --traffic=readiness, only the leader's pod is Ready, so a rollout that waits for a second Ready pod never ends.",
    fix: 'Use --traffic=front. With --traffic=readiness and N replicas, set maxSurge to 0, maxUnavailable to N - 1, and podManagementPolicy to Parallel.',
    *find(one) {
      const { manifest, spec, options } = one
      const { mode } = options.traffic
      if (manifest.kind === 'Rollout' && mode === 'readiness')
        yield 'Argo Rollouts waits for more than one Ready pod'
      if (manifest.kind === 'Deployment') yield* strategyFaults(spec.strategy, mode, replicasOf(one))
      if (manifest.kind === 'StatefulSet' && mode === 'readiness')
        yield* statefulFaults(spec, replicasOf(one))
    },
  },
  {
    code: 'disruption-budget',
    severity: 'error',
    about:
      'A node can be drained. A budget that requires more Ready pods than there may be blocks node upgrades.',
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
]

/** How many pods there are, and where they run. */
export const SCALE_RULES: readonly Rule<Installation>[] = [
  {
    code: 'replicas',
    severity: 'warning',
    about:
      'There are two or more replicas, and no autoscaler changes them. Otherwise none can take over, or a resize ends the leader.',
    fix: 'Set replicas to 2 or more, and remove the autoscaler: more replicas are only standbys.',
    reads: 'HorizontalPodAutoscaler',
    *find({ manifest, replicas, spec }, { manifests }) {
      const near = manifests.filter((one) => inOneNamespace(one, manifest))
      const scalers = near.filter((one) => scales(one, manifest))
      for (const of of scalers) {
        const { minReplicas, maxReplicas, minReplicaCount, maxReplicaCount } = asFields(of.value.spec)
        const least = minReplicas ?? minReplicaCount
        if (least !== (maxReplicas ?? maxReplicaCount) || !(Number(least) >= 2))
          yield { message: 'it changes the number of replicas', of }
      }
      if (scalers.length === 0 && (replicas ?? 1) < 2) yield `replicas is ${spec.replicas ?? 'not set'}`
      for (const of of near.filter(({ kind }) => kind === 'VerticalPodAutoscaler')) {
        const { targetRef, updatePolicy } = asFields(of.value.spec)
        const isOwn = dig(targetRef, 'kind') === manifest.kind && dig(targetRef, 'name') === manifest.name
        // YAML 1.1 reads a bare Off as false.
        if (isOwn && !/^(Off|Initial|false)$/.test(String(dig(updatePolicy, 'updateMode') ?? 'Auto')))
          yield { message: 'it evicts pods to resize them', of }
      }
    },
  },
  {
    code: 'one-node',
    severity: 'warning',
    about: 'Nothing keeps all replicas on one node. If that node fails, all of them fail.',
    fix: `Remove what keeps the pods on one node, and add topologySpreadConstraints for ${NODE_LABEL}.`,
    reads: 'Pod',
    *find(one, facts) {
      const { pod, spec, isSingle } = one
      if (isSingle) return
      const required = 'requiredDuringSchedulingIgnoredDuringExecution'
      const near = asList(dig(pod, 'affinity', 'podAffinity', required))
      if (asText(pod.nodeName) !== '') yield `nodeName is ${pod.nodeName}`
      if (dig(pod, 'nodeSelector', NODE_LABEL) !== undefined) yield `its nodeSelector has ${NODE_LABEL}`
      if (
        near.some(
          (term) =>
            dig(term, 'topologyKey') === NODE_LABEL && matches(dig(term, 'labelSelector'), labelsOf(one)),
        )
      )
        yield 'its podAffinity keeps all pods together'
      const pods = objectsOf('Pod', one, facts).filter(({ value }) =>
        matches(spec.selector, asFields(dig(value, 'metadata', 'labels'))),
      )
      const nodes = pods.map(({ value }) => asText(dig(value, 'spec', 'nodeName'))).filter(Boolean)
      if (nodes.length > 1 && new Set(nodes).size === 1) yield `all its pods run on the node ${nodes[0]}`
    },
  },
]

/** If another program sets the number, or there is only one, the answer for two pods holds. */
function replicasOf({ replicas }: Installation): number {
  return Math.max(2, replicas ?? 2)
}

function* strategyFaults(
  strategy: unknown,
  mode: 'readiness' | 'front',
  replicas: number,
): Generator<Problem> {
  const { type = 'RollingUpdate', rollingUpdate } = asFields(strategy)
  if (type === 'Recreate') {
    yield { message: 'with the strategy Recreate, no pod serves during a rollout', severity: 'warning' }
    return
  }
  const surge = amount(dig(rollingUpdate, 'maxSurge') ?? '25%', replicas, Math.ceil)
  const allowed = amount(dig(rollingUpdate, 'maxUnavailable') ?? '25%', replicas, Math.floor)
  // If both are rounded to 0, Kubernetes allows one unavailable pod, so that rollouts can finish.
  const down = surge === 0 ? Math.max(1, allowed) : allowed
  if (mode === 'front' && surge === 0 && down >= replicas)
    yield {
      message: `its rollouts end all pods at the same time (maxUnavailable ${down})`,
      severity: 'warning',
    }
  if (mode === 'readiness' && (surge > 0 || down < replicas - 1))
    yield `its rollouts wait for a second Ready pod (maxSurge ${surge}, maxUnavailable ${down} of ${replicas})`
}

/** With --traffic=readiness, only one pod of a StatefulSet is Ready. */
function* statefulFaults(spec: Readonly<Fields>, replicas: number): Generator<Problem> {
  const { type = 'RollingUpdate', rollingUpdate } = asFields(spec.updateStrategy)
  const down = Math.max(1, amount(dig(rollingUpdate, 'maxUnavailable') ?? 1, replicas, Math.floor))
  if (spec.podManagementPolicy !== 'Parallel')
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
