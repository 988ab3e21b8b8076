import { API_SERVER_FAULTS } from './api-server-faults.ts'
import type { Kind } from './fault.ts'
import { LEASE_EDITS } from './lease-edits.ts'
import { LINK_FAULTS } from './link-faults.ts'
import { PROCESS_FAULTS } from './process-faults.ts'

const ALL: Record<string, Kind> = { ...LINK_FAULTS, ...API_SERVER_FAULTS, ...LEASE_EDITS, ...PROCESS_FAULTS }

export const KINDS: readonly string[] = Object.keys(ALL)

export function kindOf(name: string): Kind {
  const kind = ALL[name]
  if (kind === undefined) throw new Error(`no fault is called "${name}"`)
  return kind
}
