import type { Clock } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import type { ObjectsApi } from '../kube/objects.ts'
import { epochOf, holderOf } from '../lease/lease.ts'
import type { LeaseApi } from '../lease/lease-api.ts'
import { type Leads, READINESS, type Traffic, type TrafficListener } from './traffic.ts'

export interface TrafficParts {
  readonly options: Pick<AgentOptions, 'traffic' | 'identity' | 'leaseName'>
  readonly objects: () => Promise<ObjectsApi>
  readonly lease: Pick<LeaseApi, 'read'>
  readonly clock: Clock
}

/** Loaded on demand, so that whoever does without it does not pay its memory. */
export async function connectTraffic(parts: TrafficParts): Promise<(listener: TrafficListener) => Traffic> {
  const { traffic, identity, leaseName } = parts.options
  const { clock } = parts
  const leads: Leads = async ({ epoch, leaseUid }) => {
    const lease = await parts.lease.read(REQUEST_MS)
    return (
      lease?.metadata.uid === leaseUid &&
      lease !== null &&
      holderOf(lease) === identity &&
      epochOf(lease) === epoch
    )
  }
  if (traffic.mode === 'readiness') return () => READINESS
  const { RoutedTraffic, REQUEST_MS } = await import('./routed-traffic.ts')
  const api = await parts.objects()
  if (traffic.mode === 'label') {
    const { LabelRoute } = await import('./label-route.ts')
    const route = new LabelRoute({ api, pod: traffic.pod, leaseName, leads, clock })
    return (listener) => new RoutedTraffic({ route, clock, listener })
  }
  const { SliceRoute } = await import('./slice-route.ts')
  const { pod, endpointSlice: name } = traffic
  const route = new SliceRoute({ api, name, pod, identity, leaseName, leads, clock })
  return (listener) => new RoutedTraffic({ route, clock, listener })
}
