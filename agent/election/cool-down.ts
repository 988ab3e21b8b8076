import type { ElectionState } from './state.ts'
import type { Turn } from './turn.ts'

const LONGEST_EARLY_MS = 60_000
const LONGEST_FULL_MS = 300_000
/** A term that served this many lease durations was no failure of the kind that repeats at once. */
const GOOD_TERM_LEASES = 4

/** A workload that failed here gets its next try later, and later each time, so that another replica gets its chance. */
export function coolDownAfter(turn: Turn): void {
  const { config, now, state } = turn
  const good =
    state.term !== null && now.mono - state.term.startedAt > GOOD_TERM_LEASES * config.leaseDurationMs
  const failures = good ? 1 : state.failures + 1
  const factor = 2 ** Math.min(failures - 1, 10)
  turn.set({
    failures,
    coolDown: {
      early: now.mono + Math.min(2 * config.retryPeriodMs * factor, LONGEST_EARLY_MS),
      full: now.mono + Math.min(config.leaseDurationMs * factor, LONGEST_FULL_MS),
    },
  })
}

/** Monotonic ms until when this replica does not campaign; it is shortened while the Lease stands as it was released. */
export function coolDownEnds(state: ElectionState): number {
  const { coolDown, seen, written } = state
  if (coolDown === null) return 0
  const untaken = seen?.heldMs === 0 && written.includes(seen.lease?.spec?.renewTime ?? '')
  return untaken ? coolDown.early : coolDown.full
}
