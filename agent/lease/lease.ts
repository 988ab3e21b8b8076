/**
 * What a Lease says. Field names follow `coordination.k8s.io/v1`; the meaning of an empty holder, of
 * `leaseTransitions` and of a released Lease follows client-go's `leaderelection`, so that both kinds of
 * candidate can share one Lease.
 */
export interface LeaseSpec {
  holderIdentity?: string | null
  leaseDurationSeconds?: number | null
  /** RFC 3339 with microseconds. */
  acquireTime?: string | null
  renewTime?: string | null
  leaseTransitions?: number | null
  /** Fields this program does not know are written back as they were. */
  [field: string]: unknown
}

/** A Lease object as the API server sends it. What is not named here is kept on every write. */
export interface Lease {
  apiVersion?: string
  kind?: string
  metadata: {
    name?: string
    namespace?: string
    uid?: string
    resourceVersion?: string
    annotations?: Record<string, string> | null
    [field: string]: unknown
  }
  spec?: LeaseSpec | null
}

/** Which Deployment or StatefulSet the Lease belongs to, as `Kind/name`. */
const OWNER = 'langflow-leader/owner'
/** Whom the leader that released the Lease would have follow it. */
const SUCCESSOR = 'langflow-leader/successor'

export function ownerOf(lease: Lease): string | null {
  return lease.metadata.annotations?.[OWNER] || null
}

export function successorOf(lease: Lease): string | null {
  return lease.metadata.annotations?.[SUCCESSOR] || null
}

/** The metadata with owner and successor set; `null`: not set, for the owner: left as it is. */
export function annotated(
  metadata: Lease['metadata'],
  { owner, successor }: { owner: string | null; successor: string | null },
): Lease['metadata'] {
  const { [SUCCESSOR]: _, ...others } = metadata.annotations ?? {}
  const annotations = {
    ...others,
    ...(owner === null ? {} : { [OWNER]: owner }),
    ...(successor === null ? {} : { [SUCCESSOR]: successor }),
  }
  if (Object.keys(annotations).length > 0) return { ...metadata, annotations }
  const { annotations: _none, ...bare } = metadata
  return bare
}

/** The holder's identity, or '' where nobody holds it. */
export function holderOf(lease: Lease): string {
  return lease.spec?.holderIdentity ?? ''
}

/** `leaseTransitions`: the epoch, the fencing token. It only grows. */
export function epochOf(lease: Lease): number {
  return lease.spec?.leaseTransitions ?? 0
}

/** The record's own duration in milliseconds, or `fallbackMs` where it says none or nonsense. */
export function durationOf(lease: Lease, fallbackMs: number): number {
  const seconds = lease.spec?.leaseDurationSeconds
  return typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : fallbackMs
}

/**
 * Whether the holder itself gave the Lease up, or nobody ever held it: the only two cases in which an empty
 * holder may be replaced at once. client-go and this program release by writing a duration of 1 s; a holder
 * that someone cleared by hand leaves its duration, and may still be acting.
 */
export function isVacant(lease: Lease): boolean {
  if (holderOf(lease) !== '') return false
  return !lease.spec?.renewTime || (lease.spec.leaseDurationSeconds ?? 0) <= 1
}

/** Whether two versions say the same about leadership; annotations and labels do not count. */
export function sameRecord(a: Lease, b: Lease): boolean {
  return (
    holderOf(a) === holderOf(b) &&
    epochOf(a) === epochOf(b) &&
    (a.spec?.renewTime ?? '') === (b.spec?.renewTime ?? '') &&
    (a.spec?.acquireTime ?? '') === (b.spec?.acquireTime ?? '') &&
    (a.spec?.leaseDurationSeconds ?? 0) === (b.spec?.leaseDurationSeconds ?? 0)
  )
}

/**
 * Whether `a` is a later version than `b` of objects in one etcd. Kubernetes documents resource versions of one
 * resource type as comparable decimal numbers (KEP-5504).
 */
export function isNewer(a: string | undefined, b: string | undefined): boolean {
  if (!a || !b) return true
  try {
    return BigInt(a) > BigInt(b)
  } catch {
    return a !== b
  }
}
