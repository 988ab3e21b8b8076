import { API_SERVER_FAULTS } from './api-server-faults.ts'
import type { Kind } from './fault.ts'
import { LEASE_EDITS } from './lease-edits.ts'
import { LINK_FAULTS } from './link-faults.ts'
import { PROCESS_FAULTS } from './process-faults.ts'

const ALL: Record<string, Kind> = { ...LINK_FAULTS, ...API_SERVER_FAULTS, ...LEASE_EDITS, ...PROCESS_FAULTS }

/** Beside those that hit only the container: faults that leave a replica its Lease, whatever else they meet. */
const GENTLE: readonly string[] = [
  'connections are reset',
  'watch is truncated',
  'Lease is annotated',
  'log collector hangs',
  'socket is removed',
] satisfies (keyof typeof LINK_FAULTS | keyof typeof LEASE_EDITS | keyof typeof PROCESS_FAULTS)[]

export const KINDS: readonly string[] = Object.keys(ALL)

export function kindOf(name: string): Kind {
  const kind = ALL[name]
  if (kind === undefined) throw new Error(`no fault is called "${name}"`)
  return kind
}

/** Its agent keeps the Lease of a replica whose container is in trouble until nothing lives there. */
export function mayCostLease(name: string): boolean {
  return kindOf(name).hits !== 'container' && !GENTLE.includes(name)
}
