import type { Clock } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import type { ObjectsApi } from '../lease/kube-objects.ts'
import { READINESS, type Traffic } from './traffic.ts'

export interface TrafficParts {
  readonly options: Pick<AgentOptions, 'traffic' | 'identity' | 'leaseName'>
  readonly objects: () => Promise<ObjectsApi>
  readonly clock: Clock
}

/** Loaded on demand, so that whoever does without it does not pay its memory. `changed`: see `RoutedTraffic`. */
export async function connectTraffic(parts: TrafficParts): Promise<(changed: () => void) => Traffic> {
  const { traffic, identity, leaseName } = parts.options
  const { clock } = parts
  if (traffic.mode === 'readiness') return () => READINESS
  const { RoutedTraffic } = await import('./routed-traffic.ts')
  const api = await parts.objects()
  if (traffic.mode === 'label') {
    const { LabelRoute } = await import('./label-route.ts')
    const route = new LabelRoute({ api, pod: traffic.pod, leaseName, clock })
    return (changed) => new RoutedTraffic({ route, clock, changed })
  }
  const { SliceRoute } = await import('./slice-route.ts')
  const { pod, endpointSlice: name } = traffic
  const route = new SliceRoute({ api, name, pod, identity, leaseName, clock })
  return (changed) => new RoutedTraffic({ route, clock, changed })
}
