import type { Fault, Kind } from './fault.ts'
import { LEASE_EDITS } from './lease-edits.ts'
import { NETWORK_FAULTS } from './network-faults.ts'
import { REPLICA_FAULTS } from './replica-faults.ts'

const ALL = { ...NETWORK_FAULTS, ...LEASE_EDITS, ...REPLICA_FAULTS }

export type FaultKind = keyof typeof ALL

export const FAULTS: Readonly<Record<FaultKind, Kind>> = ALL

export const KINDS = Object.keys(ALL) as FaultKind[]

export const LEASE_KINDS = Object.keys(LEASE_EDITS) as FaultKind[]

/** Faults that leave a replica its Lease, so that even one whose launcher is frozen must not be overtaken. */
export const GENTLE: readonly FaultKind[] = [
  'annotated',
  'acquire time edited',
  'watches end',
  'grants repeated',
  'socket removed',
  'launcher frozen',
  'launcher blocked',
  'container frozen',
  'ignores SIGTERM',
  'unhealthy',
  'exits',
  'tini killed',
  'loses its worker',
  'loses its master',
  'stopped by hand',
  'connected',
  'lingers when killed',
  'standby lost',
  'standby fails',
  'standby hangs',
]

/** The indexes of the replicas that a fault concerns. */
export function concerned({ kind, targets }: Fault, replicas: number): readonly number[] {
  return FAULTS[kind].shared ? Array.from({ length: replicas }, (_, index) => index) : targets
}

/** Faults of the watch and of the standby, which cost a leader nothing. */
export const CALM: readonly FaultKind[] = [
  'watch lags',
  'watch silent',
  'watch cut',
  'watch black-holed',
  'watches expire',
  'watches end',
  'socket removed',
  'annotated',
  'standby lost',
  'standby fails',
  'standby hangs',
]

/** Ends of a replica, and how many handovers each costs at most. */
const ENDS: Partial<Record<FaultKind, number>> = { evicted: 1, 'pod killed': 1, 'replica lost': 1, twin: 2 }
export const HANDOVERS = Object.keys(ENDS) as FaultKind[]

/**
 * How often a workload may start at most under these faults; `Infinity`: nobody can say. `ownAccord`: how often a leader may
 * hand over without any.
 */
export function mostStarts(plan: readonly Fault[], ownAccord: number): number {
  let most = 1 + ownAccord
  for (const { kind, targets } of plan) {
    const each = ENDS[kind] ?? (CALM.includes(kind) ? 0 : Number.POSITIVE_INFINITY)
    most += each * targets.length
  }
  return most
}
