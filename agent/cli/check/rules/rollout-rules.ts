import { asFields, asNumber, asText, dig } from '../../manifests/manifest.ts'
import { inOneNamespace } from '../../manifests/workload.ts'
import { matches } from '../installation.ts'
import type { Installed, Rule } from '../rule.ts'

/** Whether rollouts and drains can finish, and keep a leader. */
export const ROLLOUT_RULES: readonly Rule<Installed>[] = [
  {
    code: 'rollout-strategy',
    severity: 'error',
    about: 'rollouts can finish',
    *find({ manifest, spec, replicas, agent }) {
      const { mode } = agent.options.traffic
      const least = Math.max(1, replicas - 1)
      if (manifest.kind === 'Rollout') {
        yield* ofRollout(mode)
        return
      }
      if (manifest.kind === 'StatefulSet') {
        const { type = 'RollingUpdate', rollingUpdate } = asFields(spec.updateStrategy)
        const unavailable = Math.max(
          1,
          amount(dig(rollingUpdate, 'maxUnavailable') ?? 1, replicas, Math.floor),
        )
        if (mode === 'readiness' && type === 'RollingUpdate' && unavailable < least)
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
    },
  },
  {
    code: 'pods-one-by-one',
    severity: 'error',
    about: 'Kubernetes creates every replica',
    *find({ manifest, spec, replicas, agent }) {
      const ordered = manifest.kind === 'StatefulSet' && spec.podManagementPolicy !== 'Parallel'
      if (ordered && agent.options.traffic.mode === 'readiness' && replicas > 2)
        yield `Kubernetes creates only two of its ${replicas} replicas, because the second one never becomes Ready: set podManagementPolicy to Parallel, for which you have to delete an existing StatefulSet (kubectl delete --cascade=orphan), or use --traffic=front`
    },
  },
  {
    code: 'disruption-budget',
    severity: 'error',
    about: 'a node can be drained',
    sees: 'PodDisruptionBudget',
    *find(one, { manifests }) {
      const { replicas, agent, template, manifest } = one
      const readiness = agent.options.traffic.mode === 'readiness'
      const ready = readiness ? 1 : replicas
      const labels = asFields(dig(template, 'metadata', 'labels'))
      for (const { kind, name, namespace, value } of manifests) {
        if (kind !== 'PodDisruptionBudget' || !inOneNamespace({ namespace }, manifest)) continue
        const spec = asFields(value.spec)
        if (!matches(spec.selector, labels)) continue
        const wanted =
          spec.minAvailable !== undefined
            ? amount(spec.minAvailable, replicas, Math.ceil)
            : replicas - amount(spec.maxUnavailable ?? 0, replicas, Math.ceil)
        if (wanted < ready) continue
        yield readiness
          ? `PodDisruptionBudget/${name} requires ${wanted} Ready pods, but with --traffic=readiness only one pod is Ready, so no drain can evict the leader: remove it, or use --traffic=front`
          : `PodDisruptionBudget/${name} requires all ${replicas} pods to be Ready, so no drain can evict a pod: set maxUnavailable to 1`
      }
    },
  },
  {
    code: 'autoscaler',
    severity: 'warning',
    about: 'no autoscaler changes the number of replicas',
    sees: 'HorizontalPodAutoscaler',
    *find(one, { manifests }) {
      const { manifest } = one
      for (const { kind, name, namespace, value } of manifests) {
        const target = dig(value, 'spec', 'scaleTargetRef')
        const isOurs =
          (kind === 'HorizontalPodAutoscaler' || kind === 'ScaledObject') &&
          inOneNamespace({ namespace }, manifest) &&
          (asText(dig(target, 'kind')) || 'Deployment') === manifest.kind &&
          dig(target, 'name') === manifest.name
        if (isOurs)
          yield `${kind}/${name} changes the number of replicas, but additional replicas are only standbys: remove it, and give LangFlow more CPU instead`
      }
    },
  },
]

/** Argo Rollouts leads clients to the pods of one revision. Only fronts forward requests to a leader of another revision. */
export function* ofRollout(mode: string): Generator<string> {
  if (mode === 'readiness')
    yield 'Argo Rollouts waits for more than one Ready pod, but with --traffic=readiness only one pod is Ready: use --traffic=front'
}

/** A number of pods, from a number or a percentage such as `25%`. */
function amount(value: unknown, of: number, round: (value: number) => number): number {
  const [, percent] = /^(\d+)%$/.exec(asText(value)) ?? []
  return percent === undefined ? (asNumber(value) ?? Number(value)) : round((Number(percent) / 100) * of)
}
