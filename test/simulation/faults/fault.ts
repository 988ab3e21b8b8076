import type { Replica } from '../replica.ts'
import type { World } from '../world.ts'
import type { FaultKind } from './kinds.ts'

/** The rows of the fault table that the model can play. */
export const ROWS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 23, 30] as const
export type Row = `T${(typeof ROWS)[number]}`

/** One planned fault. A plan is a list of faults, and a replay may leave out any of them. */
export interface Fault {
  readonly id: number
  readonly kind: FaultKind
  readonly at: number
  readonly ms: number
  /** Indexes of the replicas that it strikes. */
  readonly targets: readonly number[]
  /** Severity in [0, 1), for kinds that have degrees or variants. */
  readonly degree: number
}

/** Returned by a fault that found no target. It isn't counted. */
export const MISSED = Symbol('missed')

/** Begins a fault on one of its targets. Returns `MISSED`, a function that ends the fault after `fault.ms`, or nothing. */
export type Strike = (world: World, fault: Fault, target: Replica) => unknown

export interface Kind {
  /** The rows of the fault table that it plays. Empty if the table doesn't have it. */
  readonly rows: readonly Row[]
  /** It strikes something that all replicas depend on, and so affects replicas that aren't its targets. */
  readonly shared?: true
  /** Its only effect is that existing connections are dead. */
  readonly connections?: true
  readonly strike: Strike
  /** Milliseconds after its end in which delayed messages may still arrive. */
  readonly trails?: (degree: number) => number
}

/** A fault that strikes once, for the first of its targets. */
export function once(strike: (world: World, fault: Fault) => unknown): Strike {
  return (world, fault, target) =>
    target === world.replicas[fault.targets[0] as number] ? strike(world, fault) : MISSED
}

/** Repeats `strike` until the returned function is called. `strike` returns the milliseconds until the next time. */
export function repeated({ timeline }: World, strike: () => number): () => void {
  let going = true
  const again = () => {
    if (going) timeline.in(strike(), again)
  }
  again()
  return () => {
    going = false
  }
}
