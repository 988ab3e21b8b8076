import { asFields, asNumber, asText, dig } from '../../manifests/manifest.ts'
import { inOneNamespace } from '../../manifests/workload.ts'
import { matches } from '../installation.ts'
import type { Installed, Rule } from '../rule.ts'

/** Whether rollouts, drains and scaling end, and leave a leader. */
export const ROLLOUT_RULES: readonly Rule<Installed>[] = [
  {
    code: 'rollout-strategy',
    severity: 'error',
    about: 'rollouts end',
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
          yield `its rollouts stop at pods that are never Ready, since with --traffic=readiness only the leader's is: set updateStrategy.rollingUpdate.maxUnavailable to ${least}, or use --traffic=front`
        return
      }
      const { type = 'RollingUpdate', rollingUpdate } = asFields(spec.strategy)
      if (type === 'Recreate') {
        yield {
          warning: `with the strategy Recreate no pod serves between the old pods' end and the new pods' start: use RollingUpdate with ${mode === 'front' ? 'maxSurge 1 and maxUnavailable 0' : `maxSurge 0 and maxUnavailable ${least}`}`,
        }
        return
      }
      const surge = amount(dig(rollingUpdate, 'maxSurge') ?? '25%', replicas, Math.ceil)
      const said = amount(dig(rollingUpdate, 'maxUnavailable') ?? '25%', replicas, Math.floor)
      // If both are rounded to 0, Kubernetes takes one pod, so that rollouts end.
      const down = surge === 0 ? Math.max(1, said) : said
      if (mode === 'front' && surge === 0 && down >= replicas && replicas > 1)
        yield {
          warning: `its rollouts end all pods at once, so that no front holds requests meanwhile (maxSurge 0, maxUnavailable ${down}): set maxSurge to 1 and maxUnavailable to 0`,
        }
      if (mode === 'readiness' && (surge > 0 || down < least))
        yield `its rollouts wait for a second Ready pod, which never comes with --traffic=readiness (maxSurge ${surge}, maxUnavailable ${down}): set maxSurge to 0 and maxUnavailable to ${least}, and look at what replaced that`
    },
  },
  {
    code: 'pods-one-by-one',
    severity: 'error',
    about: 'every replica is made',
    *find({ manifest, spec, replicas, agent }) {
      const ordered = manifest.kind === 'StatefulSet' && spec.podManagementPolicy !== 'Parallel'
      if (ordered && agent.options.traffic.mode === 'readiness' && replicas > 2)
        yield `of its ${replicas} replicas the third is never made, since the second one never gets Ready: set podManagementPolicy to Parallel, which an existing StatefulSet must be deleted for (kubectl delete --cascade=orphan), or use --traffic front`
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
          ? `PodDisruptionBudget/${name} wants ${wanted} Ready pods, and with --traffic=readiness there is never more than one, so that no drain can evict the leader: remove it, or use --traffic=front`
          : `PodDisruptionBudget/${name} wants all ${replicas} pods Ready, so that no drain can evict one: set maxUnavailable to 1`
      }
    },
  },
  {
    code: 'autoscaler',
    severity: 'warning',
    about: 'nothing changes the number of replicas',
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
          yield `${kind}/${name} changes how many replicas there are, and more replicas are only more standbys: remove it, and give LangFlow more CPU instead`
      }
    },
  },
]

/** Argo Rollouts leads clients to the pods of one revision; only fronts forward them to the leader of any revision. */
export function* ofRollout(mode: string): Generator<string> {
  if (mode === 'readiness')
    yield 'Argo Rollouts waits for more than one Ready pod, and with --traffic readiness there is one: use --traffic front'
}

/** A number of pods, from a number or a percentage such as `25%`. */
function amount(value: unknown, of: number, round: (value: number) => number): number {
  const [, percent] = /^(\d+)%$/.exec(asText(value)) ?? []
  return percent === undefined ? (asNumber(value) ?? Number(value)) : round((Number(percent) / 100) * of)
}
