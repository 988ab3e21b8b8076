import type { AgentOptions } from '../config/options.ts'
import type { Remedy } from '../election/state.ts'

/**
 * What to do about a LangFlow that failed while this replica leads. `servedMs`: for how long it had served since its
 * start, `null`: it never did; `ready`: how many others would take over now, `null`: nobody knows.
 */
export function remedyFor(
  { onCrash, leaseDurationMs }: Pick<AgentOptions, 'onCrash' | 'leaseDurationMs'>,
  servedMs: number | null,
  ready: number | null,
): Remedy {
  // One that fails soon after each start is none the better for another one here: with its back-off another may try.
  if (servedMs === null || servedMs < leaseDurationMs) return 'handover'
  return onCrash === 'restart' || ready === 0 ? 'restart' : 'handover'
}
