import type { Replica } from '../replica.ts'
import type { World } from '../world.ts'
import type { FaultKind } from './kinds.ts'

/** The rows of the fault table of the design that a model can play. */
export const ROWS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 23] as const
export type Row = `T${(typeof ROWS)[number]}`

/** One thing that goes wrong, and for how long. A plan is a list of them; each can be left out. */
export interface Fault {
  readonly id: number
  readonly kind: FaultKind
  /** Real time in milliseconds. */
  readonly at: number
  readonly ms: number
  /** Indexes of the replicas that it concerns. */
  readonly targets: readonly number[]
  /** In [0, 1): how bad, for the kinds that come in degrees. */
  readonly degree: number
}

/** There was nothing to strike: the fault does not count. */
export const MISSED = Symbol('missed')

/** Brings a fault about. It may return a function that ends it after `fault.ms`, or `MISSED`. */
export type Strike = (world: World, fault: Fault, target: Replica) => unknown

export interface Kind {
  /** None: it goes beyond the fault table. */
  readonly rows: readonly Row[]
  /** What all replicas depend on: it concerns each of them, whatever its targets. */
  readonly shared?: true
  /** It leaves connections dead that exist, and touches nothing else. */
  readonly connections?: true
  readonly strike: Strike
  /** For how many milliseconds after its end something of it may still arrive. */
  readonly trails?: (degree: number) => number
}

/** Struck once, whatever the targets. */
export function once(strike: (world: World, fault: Fault) => unknown): Strike {
  return (world, fault, target) =>
    target === world.replicas[fault.targets[0] as number] ? strike(world, fault) : MISSED
}

/** Struck again and again, the next time after what `strike` returns, until it ends. */
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
