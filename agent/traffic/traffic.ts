import type { Clock } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import type { ObjectsApi } from '../kube/objects.ts'
import { epochOf, holderOf } from '../lease/lease.ts'
import type { LeaseApi } from '../lease/lease-api.ts'
import { LabelRoute } from './label-route.ts'
import { REQUEST_MS } from './route.ts'
import { RoutedTraffic } from './routed-traffic.ts'
import { SliceRoute } from './slice-route.ts'

/** What this replica's gate is to be, for whoever leads traffic to it. */
export type Wanted =
  /** Not known yet, so that nothing is changed: an agent that was restarted may find that its leader goes on. */
  | { readonly gate: 'unknown' }
  /**
   * `epoch`: this replica leads in it, so that nobody else is to be reached either; `null`: it does not, or not for sure.
   * `leaseUid`: of the Lease that it was last seen to hold in it.
   */
  | { readonly gate: 'closed'; readonly epoch: number | null; readonly leaseUid?: string }
  | { readonly gate: 'open'; readonly epoch: number; readonly leaseUid?: string }

export type Known = Exclude<Wanted, { gate: 'unknown' }>

export interface TrafficView {
  /**
   * The pod to which the API server was last known to lead traffic; '': none that this replica knows of; `null`: not
   * known, because nothing was asked yet or because the kubelet says it (`readiness`).
   */
  readonly routedTo: string | null
  /** What keeps the API server from following the gate, in one sentence; `null`: nothing. */
  readonly problem: string | null
}

/** How only the leader is reached. */
export interface Traffic {
  readonly view: TrafficView
  /** Resolves once the API server has acknowledged what is wanted; `null`: it has, or there is nothing to tell it. */
  readonly settling: Promise<void> | null
  want(wanted: Wanted): void
  /** Ends it; what is in flight is abandoned. */
  close(): void
}

/** Whoever has traffic led to it. */
export interface TrafficListener {
  /**
   * Says what is wanted by the clock as it is now. Asked before anything is begun by a timer, and again before a pod is
   * made the one that is reached: a process that stood still may have lost the Lease without having noticed.
   */
  look(): void
  /** Something that the view shows may have changed. */
  changed(): void
}

/** The kubelet asks `/readyz` and tells the API server: there is nothing to do. */
export const READINESS: Traffic = {
  view: { routedTo: null, problem: null },
  settling: null,
  want: () => {},
  close: () => {},
}

export interface TrafficParts {
  readonly options: Pick<AgentOptions, 'traffic' | 'identity' | 'leaseName'>
  readonly objects: (around: 'pod') => Promise<ObjectsApi>
  readonly lease: Pick<LeaseApi, 'read'>
  readonly clock: Clock
}

/** Asks the API server for nothing where the kubelet leads traffic. */
export async function connectTraffic(parts: TrafficParts): Promise<(listener: TrafficListener) => Traffic> {
  const { traffic, identity, leaseName } = parts.options
  const { clock } = parts
  if (traffic.mode === 'readiness') return () => READINESS
  const leads = async ({ epoch, leaseUid }: Known) => {
    const lease = await parts.lease.read(REQUEST_MS)
    if (lease === null || lease.metadata.uid !== leaseUid) return false
    return holderOf(lease) === identity && epochOf(lease) === epoch
  }
  const shared = { api: await parts.objects('pod'), leaseName, leads, clock }
  const route =
    traffic.mode === 'label'
      ? new LabelRoute({ ...shared, pod: traffic.pod })
      : new SliceRoute({ ...shared, pod: traffic.pod, name: traffic.endpointSlice, identity })
  return (listener) => new RoutedTraffic({ route, clock, listener })
}
