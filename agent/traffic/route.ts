import type { Clock } from '../clock.ts'
import { ApiError } from '../kube/errors.ts'
import type { KubeObject, ObjectsApi } from '../kube/objects.ts'
import type { Known } from './traffic.ts'

/** When the gate was last moved, RFC 3339. It also makes each write a change, and so the object a new version. */
export const CHANGED_AT = 'langflow-leader/changed-at'
/** The epoch in which the replica that wrote the object led. */
export const EPOCH = 'langflow-leader/epoch'
/** The UID of the Lease that has this epoch: one made anew begins again. */
export const LEASE_UID = 'langflow-leader/lease-uid'
/** The Lease of the LangFlow that the object belongs to. */
export const LEASE = 'langflow-leader/lease'

/** Of one request: two fit into the wait of a planned stop only where the API server answers. */
export const REQUEST_MS = 2_000

/** What only a person can put right. */
export class RouteError extends Error {}

export interface RouteOptions {
  readonly api: Pick<ObjectsApi, 'close'>
  readonly leaseName: string
  /** Asks the API server, by a quorum read, whether this replica holds the Lease that exists now as is wanted. */
  readonly leads: (wanted: Known) => Promise<boolean>
  readonly clock: Clock
}

/**
 * A way to lead traffic through an object in the API server. Each write to it is a compare-and-swap. One without an answer may
 * still be carried out later, but only on the version that it was meant for: as long as that is the present one, what is
 * there proves nothing.
 */
export abstract class Route<Options extends RouteOptions = RouteOptions> {
  protected readonly options: Options
  private uncertain: string | null = null
  /** See `TrafficView`. */
  routedTo: string | null = null

  constructor(options: Options) {
    this.options = options
  }

  /**
   * Reads what the API server has, and writes what is not as wanted, one request after the other. Rejects with an Error
   * whose message is one sentence.
   *
   * @param still whether it is still wanted; where not, it resolves early, and what a leader alone may write is not
   * written. To be asked before each such write, since a request, or a pause of the process, may have taken long.
   */
  abstract bring(wanted: Known, still: () => boolean): Promise<void>

  close(): void {
    this.options.api.close()
  }

  /** Whether a write of ours could still change this version. */
  protected mayChange({ metadata }: KubeObject): boolean {
    return metadata.resourceVersion === this.uncertain
  }

  protected changedAt(): string {
    return new Date(this.options.clock.now().wall).toISOString()
  }

  protected async write(before: KubeObject, send: () => Promise<KubeObject>): Promise<KubeObject> {
    try {
      return await send()
    } catch (error) {
      if (!(error instanceof ApiError) || error.mayHaveCommitted)
        this.uncertain = before.metadata.resourceVersion
      throw error
    }
  }
}

/**
 * Whether only the Lease itself can tell who may write: the object names the epoch of another one of the same name, or a higher
 * epoch of one that it does not name.
 */
export function isOfAnotherLease(object: KubeObject, { epoch, leaseUid }: Known): boolean {
  const its = object.metadata.annotations?.[LEASE_UID]
  if (epoch === null || leaseUid === undefined || its === leaseUid) return false
  return its !== undefined || epochIn(object) > epoch
}

/** The epoch that an object names; 0: none. */
export function epochIn({ metadata }: KubeObject): number {
  const text = metadata.annotations?.[EPOCH] ?? ''
  return /^\d{1,15}$/.test(text) ? Number(text) : 0
}
