import type { Clock } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import type { ObjectsApi } from '../lease/kube-objects.ts'
import { READINESS, type Traffic, type TrafficListener } from './traffic.ts'

export interface TrafficParts {
  readonly options: Pick<AgentOptions, 'traffic' | 'identity' | 'leaseName'>
  readonly objects: () => Promise<ObjectsApi>
  readonly clock: Clock
}

/** Loaded on demand, so that whoever does without it does not pay its memory. */
export async function connectTraffic(parts: TrafficParts): Promise<(listener: TrafficListener) => Traffic> {
  const { traffic, identity, leaseName } = parts.options
  const { clock } = parts
  if (traffic.mode === 'readiness') return () => READINESS
  const { RoutedTraffic } = await import('./routed-traffic.ts')
  const api = await parts.objects()
  if (traffic.mode === 'label') {
    const { LabelRoute } = await import('./label-route.ts')
    const route = new LabelRoute({ api, pod: traffic.pod, leaseName, clock })
    return (listener) => new RoutedTraffic({ route, clock, listener })
  }
  const { SliceRoute } = await import('./slice-route.ts')
  const { pod, endpointSlice: name } = traffic
  const route = new SliceRoute({ api, name, pod, identity, leaseName, clock })
  return (listener) => new RoutedTraffic({ route, clock, listener })
}
