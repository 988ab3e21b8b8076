import {
  asFields,
  asNumber,
  asText,
  dig,
  type Fields,
  type Manifest,
  titleOf,
} from '../../manifests/manifest.ts'
import { inOneNamespace } from '../../manifests/workload.ts'
import { labelsOf, matches } from '../installation.ts'
import type { Installed, Rule, Said } from '../rule.ts'
import type { Scale } from '../scale.ts'

/** Whether rollouts and drains can finish, and keep a leader. */
export const ROLLOUT_RULES: readonly Rule<Installed>[] = [
  {
    code: 'rollout-strategy',
    severity: 'error',
    about: 'rollouts can finish',
    breaks:
      "With --traffic=readiness, only the leader's pod is Ready. A rollout that waits for a second Ready pod waits forever.",
    fix: 'Use --traffic=front. With --traffic=readiness and N replicas, set maxSurge to 0 and maxUnavailable to N - 1.',
    *find({ manifest, spec, scale, agent }) {
      const { mode } = agent.options.traffic
      if (manifest.kind === 'Rollout') yield* ofRollout(mode)
      else yield* forEachCount(scale, (replicas) => strategyFaults(manifest.kind, spec, mode, replicas))
    },
  },
  {
    code: 'pods-one-by-one',
    severity: 'error',
    about: 'Kubernetes creates and updates every replica',
    breaks:
      'A StatefulSet creates the next pod only after the last one is Ready, and updates pods only while all are Ready. With --traffic=readiness, it stops after the second.',
    fix: 'Set podManagementPolicy to Parallel, or use --traffic=front.',
    *find({ manifest, spec, scale, agent }) {
      const ordered = manifest.kind === 'StatefulSet' && spec.podManagementPolicy !== 'Parallel'
      if (ordered && agent.options.traffic.mode === 'readiness')
        yield* forEachCount(scale, function* (replicas) {
          const remedy =
            'set podManagementPolicy to Parallel, for which you have to delete an existing StatefulSet (kubectl delete --cascade=orphan), or use --traffic=front'
          if (replicas > 2)
            yield `Kubernetes creates only two of its ${replicas} replicas, because the second one never becomes Ready: ${remedy}`
          else if (replicas === 2 && dig(spec.updateStrategy, 'type') !== 'OnDelete')
            yield {
              warning: `Kubernetes updates its pods only while both are Ready, which never happens with --traffic=readiness, so you have to delete the pods in each rollout: ${remedy}`,
            }
        })
    },
  },
  {
    code: 'disruption-budget',
    severity: 'error',
    about: 'a node can be drained',
    breaks: 'No drain can evict a pod of LangFlow, so node upgrades stop.',
    fix: 'Set maxUnavailable to 1. With --traffic=readiness, remove the PodDisruptionBudget.',
    sees: 'PodDisruptionBudget',
    *find(one, { manifests }) {
      const { mode } = one.agent.options.traffic
      const budgets = manifests.filter(
        ({ kind, namespace, value }) =>
          kind === 'PodDisruptionBudget' &&
          inOneNamespace({ namespace }, one.manifest) &&
          matches(dig(value, 'spec', 'selector'), labelsOf(one)),
      )
      for (const budget of budgets)
        yield* forEachCount(one.scale, (replicas) => budgetFaults(budget, mode, replicas))
      if (budgets.length > 1)
        yield `${budgets.map(titleOf).join(' and ')} select the same pods, and Kubernetes evicts no pod of two budgets: remove one of them`
    },
  },
]

/** Argo Rollouts leads clients to the pods of one revision. Only fronts forward requests to a leader of another revision. */
export function* ofRollout(mode: string): Generator<string> {
  if (mode === 'readiness')
    yield 'Argo Rollouts waits for more than one Ready pod, but with --traffic=readiness only one pod is Ready: use --traffic=front'
}

/** A number of pods that no installation has. */
const MANY = 100

/**
 * The findings for the number of pods. If the number may change, the findings for two pods and for the most pods. If the most are
 * unknown, findings that only a larger number has make the result unknown.
 */
function* forEachCount(scale: Scale, find: (replicas: number) => Iterable<Said>): Generator<Said> {
  if (scale.why === null) yield* find(scale.most)
  else {
    const found = [...find(Math.min(2, scale.most))]
    yield* found
    if (found.length > 0 || scale.most <= 2) return
    if (Number.isFinite(scale.most)) yield* find(scale.most)
    else if ([...find(MANY)].length > 0)
      yield { unknown: `it ${scale.why}, and the answer depends on their number` }
  }
}

function* strategyFaults(
  kind: string,
  spec: Readonly<Fields>,
  mode: 'readiness' | 'front',
  replicas: number,
): Generator<Said> {
  const least = Math.max(1, replicas - 1)
  if (kind === 'StatefulSet') {
    const { type = 'RollingUpdate', rollingUpdate } = asFields(spec.updateStrategy)
    const said = amount(dig(rollingUpdate, 'maxUnavailable') ?? 1, replicas, Math.floor)
    if (mode === 'readiness' && type === 'RollingUpdate' && Math.max(1, said) < least)
      yield `its rollouts wait for pods that never become Ready, because with --traffic=readiness only the leader's pod is Ready: set updateStrategy.rollingUpdate.maxUnavailable to ${least}, or use --traffic=front`
    return
  }
  const { type = 'RollingUpdate', rollingUpdate } = asFields(spec.strategy)
  if (type === 'Recreate') {
    yield {
      warning: `with the strategy Recreate, no pod serves from the end of the old pods to the start of the new pods: use RollingUpdate with ${mode === 'front' ? 'maxSurge 1 and maxUnavailable 0' : `maxSurge 0 and maxUnavailable ${least}`}`,
    }
    return
  }
  const surge = amount(dig(rollingUpdate, 'maxSurge') ?? '25%', replicas, Math.ceil)
  const said = amount(dig(rollingUpdate, 'maxUnavailable') ?? '25%', replicas, Math.floor)
  // If both are rounded to 0, Kubernetes allows one unavailable pod, so that rollouts can finish.
  const down = surge === 0 ? Math.max(1, said) : said
  if (mode === 'front' && surge === 0 && down >= replicas && replicas > 1)
    yield {
      warning: `its rollouts end all pods at the same time (maxSurge 0, maxUnavailable ${down}), so no front holds requests: set maxSurge to 1 and maxUnavailable to 0`,
    }
  if (mode === 'readiness' && (surge > 0 || down < least))
    yield `its rollouts wait for a second Ready pod, which never comes with --traffic=readiness (maxSurge ${surge}, maxUnavailable ${down}): set maxSurge to 0 and maxUnavailable to ${least}, and find out which tool changed them`
}

function* budgetFaults(
  { name, value }: Manifest,
  mode: 'readiness' | 'front',
  replicas: number,
): Generator<Said> {
  const spec = asFields(value.spec)
  const wanted =
    spec.minAvailable !== undefined
      ? amount(spec.minAvailable, replicas, Math.ceil)
      : replicas - amount(spec.maxUnavailable ?? 0, replicas, Math.ceil)
  if (wanted < (mode === 'readiness' ? 1 : replicas)) return
  yield mode === 'readiness'
    ? `PodDisruptionBudget/${name} requires ${wanted} Ready pods, but with --traffic=readiness only one pod is Ready, so no drain can evict the leader: remove it, or use --traffic=front`
    : `PodDisruptionBudget/${name} requires all ${replicas} pods to be Ready, so no drain can evict a pod: set maxUnavailable to 1`
}

/** A number of pods, from a number or a percentage such as `25%`. */
function amount(value: unknown, of: number, round: (value: number) => number): number {
  const [, percent] = /^(\d+)%$/.exec(asText(value)) ?? []
  return percent === undefined ? (asNumber(value) ?? Number(value)) : round((Number(percent) / 100) * of)
}
