import { uptime } from 'node:os'

/**
 * One moment on the three clocks that can disagree. All in milliseconds.
 *
 * - `mono`: CLOCK_MONOTONIC, the same for every process on one kernel, so an instant taken by the agent means the same
 *   to the launcher in the other container. It stands still while a machine is suspended.
 * - `boot`: CLOCK_BOOTTIME (`/proc/uptime`, 10 ms steps): also counts the time a machine was suspended. Read after
 *   `mono`. A container may count from its own start (see `BootOffset`).
 * - `wall`: Unix time. It can be set. It is never compared with a timestamp that another machine wrote.
 */
export interface Instant {
  readonly mono: number
  readonly boot: number
  readonly wall: number
}

export interface Timer {
  cancel(): void
}

export interface Clock {
  now(): Instant
  mono(): number
  /** Calls `fire` once, not before `delayMs` (>= 0) of monotonic time has passed. */
  after(delayMs: number, fire: () => void): Timer
}

/** Longest delay that `setTimeout` accepts. A longer one would fire immediately. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => ({ mono: systemClock.mono(), boot: uptime() * 1000, wall: Date.now() }),
  // libuv's hrtime is CLOCK_MONOTONIC itself, unlike performance.now(), which counts from the process's start.
  mono: () => Number(process.hrtime.bigint()) / 1e6,
  after(delayMs, fire) {
    const timer = setTimeout(fire, Math.min(Math.max(0, Math.ceil(delayMs)), MAX_TIMEOUT_MS))
    return { cancel: () => clearTimeout(timer) }
  },
}

/**
 * Milliseconds until the next whole multiple of `periodMs` on the monotonic clock, or the one after if that is less
 * than half a period away. Periodic tasks thus run together: each wake-up of an idle process costs.
 */
export function untilNext(clock: Pick<Clock, 'mono'>, periodMs: number): number {
  const left = periodMs - (clock.mono() % periodMs)
  return left < periodMs / 2 ? left + periodMs : left
}

/** Resolves when `ms` milliseconds (>= 0) of monotonic time have passed, or `hurry` has resolved. */
export async function pause(clock: Pick<Clock, 'after'>, ms: number, hurry?: Promise<void>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = clock.after(ms, resolve)
  await (hurry === undefined ? promise : Promise.race([promise, hurry]))
  timer.cancel()
}

export function later(from: Instant, ms: number): Instant {
  return { mono: from.mono + ms, boot: from.boot + ms, wall: from.wall + ms }
}

/** /proc/uptime counts in steps of 10 ms. Two readings may disagree with the monotonic clock by twice that. */
export const BOOT_RESOLUTION_MS = 20

/** Milliseconds from one instant to another on the clock that counts most: a machine may have slept in between. */
export function elapsed(from: Instant, to: Instant): number {
  return Math.max(to.mono - from.mono, to.boot - from.boot - BOOT_RESOLUTION_MS, to.wall - from.wall)
}

/**
 * Whether an instant has come, on the monotonic clock or on the one that also counts a suspended machine's sleep. The
 * wall clock does not count, since any user may set it.
 */
export function reached(now: Instant, at: Instant): boolean {
  return untilReached(now, at) <= 0
}

/** Milliseconds of running time until an instant. 0 or less: it has passed. */
export function untilReached(now: Instant, at: Instant): number {
  return Math.min(at.mono - now.mono, at.boot + BOOT_RESOLUTION_MS - now.boot)
}

/** A signal that aborts after `ms`. It is disposed of when the work has ended. */
export function deadlineAfter(clock: Pick<Clock, 'after'>, ms: number) {
  const controller = new AbortController()
  const timer = clock.after(ms, () => controller.abort())
  return { signal: controller.signal, [Symbol.dispose]: () => timer.cancel() }
}
