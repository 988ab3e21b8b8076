import type { ChaosScene } from '../scene.ts'
import type { Slot } from '../slot.ts'

/** What a fault takes hold of: two that take hold of the same thing are never active together. */
export type Part = 'link' | 'agent' | 'container' | 'pod' | 'api' | 'lease'

/** One planned fault: everything about it that a seed decides. */
export interface Fault {
  readonly id: number
  readonly kind: string
  /** Milliseconds of planned time, which stands still while the run rests. */
  readonly at: number
  /** How long it lasts, in milliseconds; 0: over at once. */
  readonly ms: number
  /** Aimed at whoever leads then; otherwise, or where nobody does, at this slot. */
  readonly leader: boolean
  readonly slot: number
  /** In [0, 1): how bad, for the kinds that come in degrees. */
  readonly degree: number
}

/** Ends a fault. */
export type Heal = () => Promise<unknown> | unknown

/** Brings a fault about; resolves to a `Heal` where it is not over at once. Throws `Missed` where there is nothing to hit at the moment. */
export type Inject = (scene: ChaosScene, slot: Slot, fault: Fault) => Promise<unknown>

export interface Kind {
  readonly hits: Part
  /** The shortest and the longest it may last, in milliseconds; absent: it is over at once. */
  readonly ms?: readonly [shortest: number, longest: number]
  readonly inject: Inject
}

/** A fault that came to nothing: it is counted, and the run goes on. */
export class Missed extends Error {}
