import type { Timings } from '../config/timings.ts'
import type { Takeover } from './takeover.ts'

/** What a demo found; `--json` prints it as it is. */
export interface Result {
  /** All takeovers happened, and no two replicas acted at once. */
  readonly ok: boolean
  readonly takeovers: readonly Takeover[]
  /** Milliseconds in which two workloads acted at once. */
  readonly overlapMs: number
  /** What the overlap was computed from: lines that the workloads wrote, or answers of their ports. */
  readonly overlapFrom: 'beats' | 'answers'
  readonly samples: number
  readonly requests: { readonly sent: number; readonly failed: number }
  readonly timings: Timings
  readonly elapsedMs: number
  /** Where the replicas' logs stay; `null` where they are not needed any more. */
  readonly logs: string | null
}
