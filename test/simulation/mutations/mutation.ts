import type { FaultKind } from '../faults/kinds.ts'

/** A deliberate defect: in one file of the product, a text that occurs exactly once is replaced. */
export interface Mutation {
  readonly name: string
  /** The rule of the design that it breaks. */
  readonly rule:
    | '1'
    | '2'
    | '3'
    | '4'
    | '5'
    | '6'
    | '7'
    | '8'
    | '9'
    | '10'
    | '11'
    | '12'
    | 'epochs'
    | 'versions'
    | 'doubt'
    | 'restart'
  readonly file: string
  readonly from: string
  readonly to: string
  /** The faults that bring it to light, where a run with any faults seldom has them together. */
  readonly among?: readonly FaultKind[]
  /** The unit test that catches what is outside of the model. */
  readonly test?: string
}
