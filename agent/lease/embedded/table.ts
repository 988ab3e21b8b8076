import type { Clock } from '../../clock.ts'
import type { Lease } from '../lease.ts'

const columnDefinitions = [
  { name: 'Name', type: 'string', format: 'name', description: 'Name of the Lease.', priority: 0 },
  { name: 'Holder', type: 'string', format: '', description: 'Who holds the Lease.', priority: 0 },
  { name: 'Age', type: 'string', format: '', description: 'Time since it was created.', priority: 0 },
]

/** Whether a client, as `kubectl get` does, would rather have a table. */
export const wantsTable = (accept: string): boolean => accept.includes('as=Table')

export function tableOf(leases: readonly Lease[], version: string | undefined, clock: Clock) {
  const rows = leases.map((lease) => ({
    cells: [lease.metadata.name, lease.spec?.holderIdentity ?? '', age(lease, clock)],
    object: { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: lease.metadata },
  }))
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata: { resourceVersion: version },
    columnDefinitions,
    rows,
  }
}

function age(lease: Lease, clock: Clock): string {
  const created = Date.parse(String(lease.metadata.creationTimestamp))
  const seconds = Math.max(0, Math.floor((clock.now().wall - created) / 1000))
  if (seconds < 120) return `${seconds}s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 180) return `${minutes}m`
  return minutes < 2880 ? `${Math.floor(minutes / 60)}h` : `${Math.floor(minutes / 1440)}d`
}
