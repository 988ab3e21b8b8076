import { type Instant, later } from '../clock.ts'
import type { Grant } from '../link/messages.ts'
import type { CandidateConfig, CoolDown, ElectionState, Term } from './state.ts'

type Timings = Pick<CandidateConfig, 'leaseDurationMs' | 'renewDeadlineMs' | 'killMarginMs'>

const LONGEST_EARLY_MS = 60_000
const LONGEST_FULL_MS = 300_000

/** Leadership is in doubt from here on (rule "freeze before kill"). */
export function doubtAt(config: Timings, renewedAt: Instant): Instant {
  return later(renewedAt, config.renewDeadlineMs)
}

/** The workload may not execute from here on (rule 1). */
export function killAt(config: Timings, renewedAt: Instant): Instant {
  return later(renewedAt, config.leaseDurationMs - config.killMarginMs)
}

/** The right that the last acknowledged write earned. */
export function grantOf(config: CandidateConfig, term: Term): Grant {
  return {
    epoch: term.epoch,
    identity: config.identity,
    doubtAt: doubtAt(config, term.renewedAt),
    killAt: killAt(config, term.renewedAt),
    onDoubt: config.onDoubt,
  }
}

/** A workload that failed here gets its next try later, and later each time, so that another replica gets its chance. */
export function coolDownAfter(
  failures: number,
  { retryPeriodMs, leaseDurationMs }: CandidateConfig,
  now: Instant,
): CoolDown {
  const factor = 2 ** Math.min(failures - 1, 10)
  return {
    early: now.mono + Math.min(2 * retryPeriodMs * factor, LONGEST_EARLY_MS),
    full: now.mono + Math.min(leaseDurationMs * factor, LONGEST_FULL_MS),
  }
}

/** Monotonic ms until when this replica does not campaign; it is shortened while the Lease stands as it was released. */
export function coolDownEnds({ coolDown, seen, written }: ElectionState): number {
  if (coolDown === null) return 0
  const untaken = seen?.heldMs === 0 && written.includes(seen.lease?.spec?.renewTime ?? '')
  return untaken ? coolDown.early : coolDown.full
}
