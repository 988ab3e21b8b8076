import { asNumber, asText, dig, type Manifest, titleOf } from '../manifests/manifest.ts'
import type { Workload } from '../manifests/workload.ts'

/** How many pods a workload may have. */
export interface Scale {
  readonly least: number
  /** `Infinity` if unknown. */
  readonly most: number
  /** Why the number is not that of the manifest, as a clause after "it"; `null` if the manifest sets it. */
  readonly why: string | null
}

/** The default of KEDA. */
const MOST_OF_KEDA = 100

/** `manifests`: the objects of its namespace. */
export function scaleOf(
  { manifest, spec }: Pick<Workload, 'manifest' | 'spec'>,
  manifests: readonly Manifest[],
): Scale {
  const [scaler] = scalersOf(manifest, manifests)
  if (scaler !== undefined) {
    const { kind, value } = scaler
    const isKeda = kind === 'ScaledObject'
    const least = asNumber(dig(value, 'spec', isKeda ? 'minReplicaCount' : 'minReplicas'))
    const most = asNumber(dig(value, 'spec', isKeda ? 'maxReplicaCount' : 'maxReplicas'))
    return {
      least: least ?? (isKeda ? 0 : 1),
      most: most ?? (isKeda ? MOST_OF_KEDA : Number.POSITIVE_INFINITY),
      why: `is scaled by ${titleOf(scaler)}`,
    }
  }
  const replicas = asNumber(spec.replicas)
  if (replicas === null)
    return { least: 1, most: Number.POSITIVE_INFINITY, why: 'sets no replicas, so Kubernetes creates one' }
  if (replicas === 0) return { least: 0, most: Number.POSITIVE_INFINITY, why: 'has replicas: 0' }
  return { least: replicas, most: replicas, why: null }
}

/** The autoscalers that change the number of a workload's pods. */
export function scalersOf({ kind, name }: Manifest, manifests: readonly Manifest[]): Manifest[] {
  return manifests.filter((one) => {
    const target = dig(one.value, 'spec', 'scaleTargetRef')
    return (
      (one.kind === 'HorizontalPodAutoscaler' || one.kind === 'ScaledObject') &&
      (asText(dig(target, 'kind')) || 'Deployment') === kind &&
      dig(target, 'name') === name
    )
  })
}
