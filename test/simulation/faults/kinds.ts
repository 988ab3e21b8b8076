import type { Fault, Kind } from './fault.ts'
import { LEASE_EDITS } from './lease-edits.ts'
import { NETWORK_FAULTS } from './network-faults.ts'
import { REPLICA_FAULTS } from './replica-faults.ts'

const ALL = { ...NETWORK_FAULTS, ...LEASE_EDITS, ...REPLICA_FAULTS }

export type FaultKind = keyof typeof ALL

export const FAULTS: Readonly<Record<FaultKind, Kind>> = ALL

export const KINDS = Object.keys(ALL) as FaultKind[]

export const LEASE_KINDS = Object.keys(LEASE_EDITS) as FaultKind[]

/** The kinds that a text names, separated by semicolons. */
export function kindsOf(text: string): FaultKind[] {
  return text.split(';').map((name) => {
    const kind = KINDS.find((one) => one === name.trim().replace(/\s+/g, ' '))
    if (kind === undefined) throw new Error(`the fault "${name}" does not exist`)
    return kind
  })
}

/** Faults that don't cost a replica its Lease. Even if its launcher is frozen, no other replica may take the Lease. */
export const GENTLE = kindsOf(`
Lease annotated; content changed; acquire time edited; watches end; grants repeated; agent socket removed;
launcher frozen; launcher blocked; container frozen; workload ignores SIGTERM; workload unhealthy; workload
exits; tini killed; workload loses its worker; workload loses its master; workload stopped by a person;
connections stay open; workload lingers after SIGKILL; standby lost; standby preparation fails; standby
preparation hangs
`)

export function concerned({ kind, targets }: Fault, replicas: number): readonly number[] {
  return FAULTS[kind].shared ? Array.from({ length: replicas }, (_, index) => index) : targets
}

/** Faults that cost no start of the workload, such as those of the watch and of the standby. */
export const CALM = kindsOf(`
watch lags; watch silent; watch cut; watch black-holed; watches expire; watches end; agent socket removed; Lease
annotated; standby lost; standby preparation fails; standby preparation hangs
`)

/** Faults that end a replica, with the most handovers that each costs. */
const ENDS: Partial<Record<FaultKind, number>> = {
  'replica evicted': 1,
  'pod killed': 1,
  'replica lost': 1,
  'identity used twice': 2,
  'content changed': 1,
}
export const HANDOVERS = Object.keys(ENDS) as FaultKind[]

/**
 * The most starts of a workload that a plan explains. `Infinity`: the plan has faults without such a limit.
 * `voluntary`: the most handovers that leaders start without a fault.
 */
export function mostStarts(plan: readonly Fault[], voluntary: number): number {
  let most = 1 + voluntary
  for (const { kind, targets } of plan) {
    const each = ENDS[kind] ?? (CALM.includes(kind) ? 0 : Number.POSITIVE_INFINITY)
    most += each * targets.length
  }
  return most
}
