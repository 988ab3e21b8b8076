import { type Lease, ownerOf } from '../lease/lease.ts'

/** The Deployment or StatefulSet to which the Lease belongs, where this replica is of another one; else `null`. */
export function foreignOwner(own: string | null, lease: Lease | null): string | null {
  const owner = lease === null ? null : ownerOf(lease)
  return own === null || owner === null || owner === own ? null : owner
}

/** What is wrong where two of them share a Lease, and what to do about it; `null`: nothing. */
export function ownerProblem(own: string | null, lease: Lease | null): string | null {
  const owner = foreignOwner(own, lease)
  if (owner === null) return null
  return (
    `the Lease "${lease?.metadata.name}" belongs to ${owner}, and this replica is of ${own}: give each a Lease of its own ` +
    `(--lease-name); where ${owner} is no more, this replica takes it over by itself`
  )
}
