import { parsePeer } from '../config/values.ts'
import type { Fault } from '../fault.ts'

/**
 * As in `coordination.k8s.io/v1`. An empty holder, `leaseTransitions` and a release have the meaning of client-go's
 * `leaderelection`, so that both kinds of candidate can share one Lease.
 */
export interface LeaseSpec {
  holderIdentity?: string | null
  leaseDurationSeconds?: number | null
  acquireTime?: string | null
  renewTime?: string | null
  leaseTransitions?: number | null
  /** Fields that this program does not use are written back unchanged. */
  [field: string]: unknown
}

/** Other fields are kept on every write. */
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

/** The Deployment or StatefulSet that owns the Lease, as `Kind/name`. */
export const OWNER = 'langflow-leader/owner'
export const SUCCESSOR = 'langflow-leader/successor'
/** The replica that released the Lease, and the epoch. */
export const RELEASED = 'langflow-leader/released'
/** The leader's epoch and its `FrontNote`. */
export const FRONT = 'langflow-leader/front'
/** The newest known version of LangFlow that has led. */
export const LANGFLOW = 'langflow-leader/langflow-version'

/** Far beyond any counted epoch. A larger one was written by hand. */
const EPOCHS_END = 2 ** 30

export function ownerProblem(own: string | null, lease: Lease | null): Fault {
  const owner = lease?.metadata.annotations?.[OWNER]
  if (own === null || !owner || owner === own) return null
  return (
    `the Lease "${lease?.metadata.name}" belongs to ${owner}, but this replica belongs to ${own}: give each its own Lease ` +
    `(--lease-name); if ${owner} no longer exists, the next leader corrects this`
  )
}

export function successorOf(lease: Lease): string | null {
  return lease.metadata.annotations?.[SUCCESSOR] || null
}

export function langflowOf(lease: Lease): string | null {
  return lease.metadata.annotations?.[LANGFLOW] || null
}

/** Access to a front for those of other replicas: `host:port`, and the key that proves that they are such. */
export interface FrontAccess {
  readonly address: string
  readonly key: string
}

/** The leader's front. `closing`: it stops, and requests wait for the next leader. */
type FrontNote = FrontAccess | 'closing'

/** A holder of an older version leaves the note of an earlier epoch, which does not count. */
export function frontOf(lease: Lease): FrontNote | null {
  if (holderOf(lease) === '') return null
  const [epoch, address, key, ...rest] = (lease.metadata.annotations?.[FRONT] ?? '').split(' ')
  if (epoch !== String(epochOf(lease)) || !address || rest.length > 0) return null
  if (key === undefined) return address === 'closing' ? address : null
  return /^[\w-]{1,64}$/.test(key) && isAddress(address) ? { address, key } : null
}

/** Whether it is `host:port`. */
export function isAddress(text: string): boolean {
  try {
    parsePeer(text)
    return true
  } catch {
    return false
  }
}

export function frontNote(epoch: number, front: FrontNote): string {
  return `${epoch} ${front === 'closing' ? front : `${front.address} ${front.key}`}`
}

export function holderOf(lease: Lease): string {
  return lease.spec?.holderIdentity ?? ''
}

/** The fencing token. An impossible one, which was written by hand, counts as 0. */
export function epochOf(lease: Lease): number {
  const { leaseTransitions } = lease.spec ?? {}
  const isEpoch = Number.isSafeInteger(leaseTransitions) && 0 <= Number(leaseTransitions)
  return isEpoch && Number(leaseTransitions) < EPOCHS_END ? Number(leaseTransitions) : 0
}

export function epochAfter(highest: number): number {
  return highest + 1 < EPOCHS_END ? highest + 1 : 1
}

export function durationOf(lease: Lease, fallbackMs: number): number {
  const seconds = lease.spec?.leaseDurationSeconds
  return typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : fallbackMs
}

/**
 * A release has client-go's form, no holder and a duration of 1 s, and names the replica and the term. Both are required:
 * a replica releases only its own Lease, and if a holder was cleared by hand, its duration remains.
 */
export function isReleased(lease: Lease, last: { holder: string; epoch: number } | null): boolean {
  const looksReleased = holderOf(lease) === '' && (lease.spec?.leaseDurationSeconds ?? 0) <= 1
  const [, identity, noted] = /^(\S+) (\d{1,15})$/.exec(lease.metadata.annotations?.[RELEASED] ?? '') ?? []
  const epoch = epochOf(lease)
  if (!looksReleased || identity === undefined || Number(noted) !== epoch) return false
  return last === null || epoch > last.epoch || (epoch === last.epoch && identity === last.holder)
}

/** The form in which `deploy/` creates it. No candidate ever writes it like this. */
export function looksNeverHeld(lease: Lease): boolean {
  return holderOf(lease) === '' && !lease.spec?.renewTime
}

/** Annotations and labels do not count. */
export function sameRecord(a: Lease, b: Lease): boolean {
  return (
    holderOf(a) === holderOf(b) &&
    epochOf(a) === epochOf(b) &&
    (a.spec?.renewTime ?? '') === (b.spec?.renewTime ?? '') &&
    (a.spec?.acquireTime ?? '') === (b.spec?.acquireTime ?? '') &&
    (a.spec?.leaseDurationSeconds ?? 0) === (b.spec?.leaseDurationSeconds ?? 0)
  )
}

/** Resource versions of one resource type in one etcd are documented as comparable decimal numbers (KEP-5504). */
export function isNewer(a: string | undefined, b: string | undefined): boolean {
  if (!a || !b) return true
  try {
    return BigInt(a) > BigInt(b)
  } catch {
    return a !== b
  }
}

/** Unix ms as the API's MicroTime, which has exactly six digits. `micros`: the last three of them, 0 to 999. */
export function microTime(wallMs: number, micros = 0): string {
  const millis = new Date(wallMs).toISOString().slice(0, -1)
  return `${millis}${String(micros).padStart(3, '0')}Z`
}
