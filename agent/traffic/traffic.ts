import { randomBytes } from 'node:crypto'
import { isIP } from 'node:net'
import type { Clock } from '../clock.ts'
import type { AgentOptions, FrontOptions } from '../config/options.ts'
import { variableOf } from '../config/setting.ts'
import type { ElectionState } from '../election/state.ts'
import type { FrontConfig } from '../front/messages.ts'
import type { ObjectsApi } from '../kube/objects.ts'
import { epochOf, type FrontAccess, holderOf } from '../lease/lease.ts'
import type { LeaseApi } from '../lease/lease-api.ts'
import type { Metrics } from '../observe/prometheus.ts'
import type { FrontView } from '../observe/status.ts'
import { GATE_KNOWN_MS } from '../supervisor/drain.ts'
import { FrontProcess } from './front-process.ts'
import { FrontTraffic } from './front-traffic.ts'
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
   * The pod to which traffic was last known to be led; '': none that this replica knows of; `null`: not known, because
   * nothing was asked yet or because the kubelet says it (`readiness`).
   */
  readonly routedTo: string | null
  /** What keeps traffic from following the gate, in one sentence; `null`: nothing. */
  readonly problem: string | null
  /** `null`: there is none. */
  readonly front: FrontView | null
}

/** How only the leader is reached. */
export interface Traffic {
  readonly view: TrafficView
  /** Resolves once whoever leads traffic has acknowledged what is wanted; `null`: it has, or there is nothing to tell it. */
  readonly settling: Promise<void> | null
  want(wanted: Wanted): void
  /**
   * Ends it; requests to the API server that are in flight are abandoned. `hurry`: once it resolves nothing else is waited for
   * either.
   */
  close(hurry: Promise<void>): Promise<void>
}

/** Whoever has traffic led to it. */
export interface TrafficListener {
  /**
   * Says what is wanted by the clock as it is now. Asked before anything is begun by a timer, and again before a pod is
   * made the one that is reached: a process that stood still may have lost the Lease without having noticed.
   */
  look(): void
  state(): ElectionState
  /** Something that the view shows may have changed. */
  changed(): void
}

/** The kubelet asks `/readyz` and tells the API server: there is nothing to do. */
export const READINESS: Traffic = {
  view: { routedTo: null, problem: null, front: null },
  settling: null,
  want: () => {},
  close: async () => {},
}

export interface TrafficParts {
  readonly options: FrontParts & Pick<AgentOptions, 'traffic' | 'leaseName'>
  readonly objects: (around: 'pod') => Promise<ObjectsApi>
  readonly lease: Pick<LeaseApi, 'read'>
  readonly clock: Clock
  readonly metrics: Pick<Metrics, 'held'>
  /** Makes a front of this same program. */
  readonly frontCommand: readonly [string, ...string[]]
}

export interface ConnectedTraffic {
  /** Called once. */
  readonly traffic: (listener: TrafficListener) => Traffic
  /** What this replica says of its front while it leads; `null`: it has none. */
  readonly front: FrontAccess | null
}

/** Asks the API server for nothing where the kubelet leads traffic, or a front of this replica's own. */
export async function connectTraffic(parts: TrafficParts): Promise<ConnectedTraffic> {
  const { options, clock, metrics, frontCommand: command } = parts
  const { traffic, identity, leaseName } = options
  if (traffic.mode === 'readiness') return { traffic: () => READINESS, front: null }
  if (traffic.mode === 'front') {
    const front = { address: traffic.address, key: randomBytes(16).toString('base64url') }
    const config = frontConfig(options, traffic)
    const env = { [variableOf('--log-level')]: options.logLevel }
    const lingerMs = options.pod.name === null ? 0 : GATE_KNOWN_MS
    const shared = { own: front, config: options, lingerMs, endMs: lingerMs + options.holdTimeoutMs, clock }
    return {
      front,
      traffic: (listener) =>
        new FrontTraffic({
          ...shared,
          listener,
          process: (changed) =>
            new FrontProcess({ command, env, config, clock, changed, held: metrics.held }),
        }),
    }
  }
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
  return { traffic: (listener) => new RoutedTraffic({ route, clock, listener }), front: null }
}

type FrontParts = Pick<
  AgentOptions,
  | 'identity'
  | 'pod'
  | 'target'
  | 'renewDeadlineMs'
  | 'drainTimeoutMs'
  | 'holdTimeoutMs'
  | 'holdLimit'
  | 'streamGraceMs'
  | 'logLevel'
>

function frontConfig(options: FrontParts, { listen, from }: FrontOptions): FrontConfig {
  const { target, holdTimeoutMs, holdLimit, streamGraceMs } = options
  const host = new URL(target.origin).hostname.replace(/^\[|\]$/g, '')
  return {
    listen,
    target: { host, port: target.port },
    // An address of the other family reaches nobody.
    from: from !== null && isIP(from) === isIP(host) ? from : null,
    holdTimeoutMs,
    holdLimit,
    streamGraceMs,
  }
}
