import type { Clock } from '../clock.ts'
import { ApiError } from '../kube/errors.ts'
import type { KubeObject } from '../kube/objects.ts'
import type { Known } from './traffic.ts'

/** When the gate was last moved, RFC 3339. It also makes each write a change, and so the object a new version. */
export const CHANGED_AT = 'langflow-leader/changed-at'
/** In which epoch its writer led. */
export const EPOCH = 'langflow-leader/epoch'
/** The UID of the Lease that has this epoch: one made anew begins again. */
export const LEASE_UID = 'langflow-leader/lease-uid'
/** The Lease of the LangFlow that it belongs to. */
export const LEASE = 'langflow-leader/lease'

/**
 * Writes to one object, each a compare-and-swap. One without an answer may still be carried out later, but only on the
 * version that it was meant for: as long as that is the present one, what is there proves nothing.
 */
export class WrittenObject {
  private readonly clock: Clock
  private uncertain: string | null = null

  constructor(clock: Clock) {
    this.clock = clock
  }

  /** Whether a write of ours could still change this version. */
  mayChange({ metadata }: KubeObject): boolean {
    return metadata.resourceVersion === this.uncertain
  }

  changedAt(): string {
    return new Date(this.clock.now().wall).toISOString()
  }

  async write(before: KubeObject, send: () => Promise<KubeObject>): Promise<KubeObject> {
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
