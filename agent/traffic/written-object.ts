import type { Clock } from '../clock.ts'
import type { KubeObject } from '../lease/kube-objects.ts'
import { LeaseApiError } from '../lease/lease-api.ts'

/** When the gate was last moved, RFC 3339. It also makes each write a change, and so the object a new version. */
export const CHANGED_AT = 'langflow-leader/changed-at'
/** In which epoch its writer led. */
export const EPOCH = 'langflow-leader/epoch'
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
      if (!(error instanceof LeaseApiError) || error.mayHaveCommitted)
        this.uncertain = before.metadata.resourceVersion
      throw error
    }
  }
}

/** The epoch that an object names; 0: none. */
export function epochIn({ metadata }: KubeObject): number {
  const text = metadata.annotations?.[EPOCH] ?? ''
  return /^\d{1,15}$/.test(text) ? Number(text) : 0
}
