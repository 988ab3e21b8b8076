import type { Clock } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import type { ObjectsApi } from '../kube/objects.ts'
import { epochOf, holderOf } from '../lease/lease.ts'
import type { LeaseApi } from '../lease/lease-api.ts'

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

/** Asks the API server, by a quorum read, whether this replica holds the Lease that exists now as is wanted. */
export type Leads = (wanted: Known) => Promise<boolean>

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
  /** The API server has acknowledged what is wanted, or there is nothing to tell it. */
  readonly isSettled: boolean
  want(wanted: Wanted): void
  /** Resolves once it `isSettled`. */
  settled(): Promise<void>
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
  isSettled: true,
  want: () => {},
  settled: () => Promise.resolve(),
  close: () => {},
}

/**
 * How long a planned stop waits for the API server to take traffic away. One that answers needs milliseconds; while it is
 * away nobody would learn of it either, and of the 5 s for draining most must be left.
 */
export const CLOSED_WITHIN_MS = 2_000

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
