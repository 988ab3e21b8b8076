import { BOOT_RESOLUTION_MS, type Clock, type Instant } from '../clock.ts'
import type { Grant } from './messages.ts'

/** A launcher's CLOCK_BOOTTIME, and then its CLOCK_MONOTONIC, in ms, read in this order. */
export interface BootReading {
  readonly boot: number
  readonly mono: number
}

export function readBoot(clock: Pick<Clock, 'now' | 'mono'>): BootReading {
  const { boot } = clock.now()
  return { boot, mono: clock.mono() }
}

/**
 * How far an agent's boot clock is ahead of its launcher's: each container may have a /proc/uptime of its own (lxcfs, sysbox).
 * The monotonic clock is one; a suspend moves both boot clocks away from it. By the order of the four readings - the
 * launcher's boot, its mono, the agent's mono, its boot - one that falls between any two of them makes the agent's clock
 * seem further ahead than it is, and a grant shorter, never longer. Of all readings the least difference is therefore the
 * right one.
 */
export class BootOffset {
  private ms: number | null = null

  /** Another launcher has come. */
  forget(): void {
    this.ms = null
  }

  /** The launcher's reading has arrived; `now` is read after that. */
  heard(theirs: BootReading, now: Instant): void {
    const ms = now.boot - now.mono - (theirs.boot - theirs.mono)
    this.ms = Math.min(ms, this.ms ?? ms)
  }

  /** The same grant on the launcher's clocks. */
  translate(grant: Grant): Grant {
    const ms = this.ms ?? 0
    // It is one and the same clock, read at two moments.
    if (Math.abs(ms) <= BOOT_RESOLUTION_MS) return grant
    const at = (instant: Instant) => ({ ...instant, boot: instant.boot - ms })
    return { ...grant, doubtAt: at(grant.doubtAt), killAt: at(grant.killAt) }
  }
}
