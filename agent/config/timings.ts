import { formatDuration } from './duration.ts'

/** What retries may be stretched by, as client-go's `JitterFactor`. */
const JITTER_FACTOR = 1.2

export interface Timings {
  readonly leaseDurationMs: number
  readonly renewDeadlineMs: number
  readonly retryPeriodMs: number
  readonly killMarginMs: number
}

/** What contradicts what in the timings (rule 10), in one sentence that says what to change; `null`: nothing. */
export function contradiction(timings: Timings): string | null {
  const { leaseDurationMs, renewDeadlineMs, retryPeriodMs, killMarginMs } = timings
  const needed = renewDeadlineMs + killMarginMs
  if (leaseDurationMs <= needed) {
    const better = formatDuration((Math.floor(needed / 1000) + 1) * 1000)
    return (
      `--lease-duration (${formatDuration(leaseDurationMs)}) must be longer than --renew-deadline ` +
      `(${formatDuration(renewDeadlineMs)}) and --kill-margin (${formatDuration(killMarginMs)}) together: ` +
      `set --lease-duration to at least ${better}, or lower one of the others`
    )
  }
  if (renewDeadlineMs <= JITTER_FACTOR * retryPeriodMs) {
    const better = formatDuration((Math.floor((JITTER_FACTOR * retryPeriodMs) / 100) + 1) * 100)
    return (
      `--renew-deadline (${formatDuration(renewDeadlineMs)}) must be longer than 1.2 times --retry-period ` +
      `(${formatDuration(retryPeriodMs)}): set --renew-deadline to at least ${better}, ` +
      'or lower --retry-period'
    )
  }
  return null
}
