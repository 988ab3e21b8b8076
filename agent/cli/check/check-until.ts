import { type Clock, systemClock } from '../../clock.ts'
import { OperationError } from '../exit-codes.ts'
import { check, type Result } from './check.ts'
import { type FailOn, summaryOf } from './check-report.ts'
import type { Facts } from './rule.ts'

const AGAIN_MS = 2_000

interface Patience {
  readonly failOn: FailOn
  /** 0 for one check. */
  readonly waitMs: number
}

/** Repeats the check until it passes or the time is over. An API server that does not answer counts as a failed check. */
export async function checkUntil(
  gather: () => Promise<Facts>,
  { failOn, waitMs }: Patience,
  clock: Clock = systemClock,
): Promise<Result[]> {
  const end = clock.mono() + waitMs
  for (;;) {
    const isLast = () => clock.mono() + AGAIN_MS > end
    try {
      const results = check(await gather())
      if (summaryOf(results, failOn).ok || isLast()) return results
    } catch (error) {
      if (!(error instanceof OperationError) || error.code !== 'unreachable' || isLast()) throw error
    }
    await new Promise<void>((resolve) => void clock.after(AGAIN_MS, resolve))
  }
}
