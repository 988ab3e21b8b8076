import { type Instant, later } from '../clock.ts'
import type { Grant } from '../link/messages.ts'
import type { CandidateConfig, Term } from './state.ts'

type Timings = Pick<CandidateConfig, 'leaseDurationMs' | 'renewDeadlineMs' | 'killMarginMs'>

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
