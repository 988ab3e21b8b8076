import { formatDuration } from './values.ts'

/** The longest retry, in retry periods: client-go's `JitterFactor`. */
const JITTER_FACTOR = 1.2
const LONGEST_KILL_MS = 250
/** The difference between two nodes' clock rates that the timings must tolerate: NTP slews each clock by at most 0.05 %. */
export const LEAST_DRIFT = 0.001

export interface Timings {
  readonly leaseDurationMs: number
  readonly renewDeadlineMs: number
  readonly retryPeriodMs: number
  readonly killMarginMs: number
}

export function contradiction(timings: Timings & { readonly onDoubt: 'freeze' | 'stop' }): string | null {
  const { leaseDurationMs, renewDeadlineMs, retryPeriodMs, killMarginMs, onDoubt } = timings
  const lease = formatDuration(leaseDurationMs)
  const deadline = `--renew-deadline (${formatDuration(renewDeadlineMs)})`
  const margin = `--kill-margin (${formatDuration(killMarginMs)})`
  const above = (ms: number, step: number) => formatDuration((Math.floor(ms / step) + 1) * step)
  const needed = renewDeadlineMs + killMarginMs
  if (leaseDurationMs <= needed)
    return (
      `--lease-duration (${lease}) must be longer than ${deadline} and ${margin} together: ` +
      `set --lease-duration to at least ${above(needed, 1000)}, or shorten one of the other two`
    )
  const stretched = JITTER_FACTOR * retryPeriodMs
  if (renewDeadlineMs <= stretched)
    return (
      `${deadline} must be longer than 1.2 times --retry-period (${formatDuration(retryPeriodMs)}): ` +
      `set --renew-deadline to at least ${above(stretched, 100)}, or shorten --retry-period`
    )
  // LangFlow runs until the freeze, or until the kill if there is no freeze. It must stop before another replica may start it.
  const latestMs = Math.floor(leaseDurationMs / (1 + LEAST_DRIFT)) - LONGEST_KILL_MS
  if (onDoubt === 'stop' && leaseDurationMs - killMarginMs > latestMs)
    return (
      `${margin} is too short for a kill if the nodes' clock rates differ by 0.1 %: with --on-doubt=stop and ` +
      `--lease-duration ${lease} set it to at least ${formatDuration(Math.ceil((leaseDurationMs - latestMs) / 100) * 100)}`
    )
  if (onDoubt === 'freeze' && renewDeadlineMs > latestMs)
    return (
      `${deadline} leaves no time for a freeze if the nodes' clock rates differ by 0.1 %: with ` +
      `--lease-duration ${lease} set it to at most ${formatDuration(Math.floor(latestMs / 100) * 100)}`
    )
  return null
}
