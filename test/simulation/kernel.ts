import type { Instant } from '../../agent/clock.ts'
import type { Random } from './random.ts'
import type { Timeline } from './timeline.ts'

/** The safety argument assumes that a quartz clock runs at most this much too fast or too slow. */
const MAX_DRIFT = 200e-6
/** Resolution of CLOCK_BOOTTIME, as the product reads it from /proc/uptime. */
const BOOT_STEP_MS = 10

interface Pause {
  readonly until: number
  readonly ms: number
}

/** One machine: its three clocks, which differ from those of the other machines, and whether it runs at all. */
export class Kernel {
  readonly timeline: Timeline
  /** Monotonic milliseconds per millisecond of real time. */
  readonly rate: number
  private readonly monoStart: number
  private readonly bootStart: number
  private wallAhead = 1_700_000_000_000
  private bootAhead = 0
  private slept = 0
  private asleepSince: number | null = null
  private readonly sleepers: (() => void)[] = []
  wokeAt = Number.NEGATIVE_INFINITY
  /** Real time of the last wake-up from a pause that neither the monotonic nor the boot clock noticed. */
  pausedUntil = Number.NEGATIVE_INFINITY
  /** Pauses that no clock shows. */
  private readonly unseen: Pause[] = []
  /** Pauses that only the wall clock shows. */
  private readonly shownByWall: Pause[] = []
  /** When the wall clock was last set back, in monotonic ms. */
  private setBackAt = Number.NEGATIVE_INFINITY
  /** The end of the last pause that only the wall clock shows, in monotonic ms. */
  private hiddenAt = Number.NEGATIVE_INFINITY

  constructor(timeline: Timeline, random: Random) {
    this.timeline = timeline
    this.rate = 1 + random.between(-MAX_DRIFT, MAX_DRIFT)
    this.monoStart = random.between(1_000, 1e9)
    this.bootStart = random.between(0, 1e6)
    this.wallAhead += random.between(-5_000, 5_000)
  }

  get asleep(): boolean {
    return this.asleepSince !== null
  }

  mono(): number {
    const until = this.asleepSince ?? this.timeline.now
    return this.monoStart + this.rate * (until - this.slept)
  }

  /** The time that the clocks will show in `ahead` monotonic milliseconds. */
  now(ahead = 0): Instant {
    const mono = this.mono() + ahead
    const boot = mono + this.bootStart + this.bootAhead
    return { mono, boot: Math.floor(boot / BOOT_STEP_MS) * BOOT_STEP_MS, wall: mono + this.wallAhead }
  }

  /** Real time at which the monotonic clock will show `mono`, unless the machine sleeps before that. */
  realTimeOf(mono: number): number {
    return (mono - this.monoStart) / this.rate + this.slept
  }

  atMono(mono: number, fire: () => void): void {
    if (this.asleep) {
      this.sleepers.push(() => this.atMono(mono, fire))
      return
    }
    this.timeline.at(this.realTimeOf(mono), () => {
      if (this.asleep || this.mono() < mono - 0.01) this.atMono(mono, fire)
      else fire()
    })
  }

  /** Suspends the machine: no process runs until it wakes up. */
  sleep(): void {
    this.asleepSince ??= this.timeline.now
  }

  wake(): void {
    if (this.asleepSince === null) return
    const ms = this.timeline.now - this.asleepSince
    this.slept += ms
    this.wallAhead += ms
    this.bootAhead += ms * this.rate
    this.asleepSince = null
    this.wokeAt = this.timeline.now
    for (const wake of this.sleepers.splice(0)) wake()
  }

  /**
   * Wakes up from a hypervisor's pause, which only the wall clock shows. If the wall clock was also set back within
   * `withinMs`, no clock would show the pause. The machine then wakes up as from a suspend, and the answer is false.
   */
  wakeUnnoticed(withinMs: number): boolean {
    if (this.asleepSince === null) return true
    const shows = this.mono() - this.setBackAt > withinMs
    if (shows) {
      this.bootAhead -= (this.timeline.now - this.asleepSince) * this.rate
      this.hiddenAt = this.mono()
      this.pausedUntil = this.timeline.now
      this.shownByWall.push({ until: this.timeline.now, ms: this.timeline.now - this.asleepSince })
    }
    this.wake()
    return shows
  }

  wakeUnseen(): void {
    if (this.asleepSince === null) return
    const ms = this.timeline.now - this.asleepSince
    this.unseen.push({ until: this.timeline.now, ms })
    this.bootAhead -= ms * this.rate
    this.wallAhead -= ms
    this.wake()
  }

  unseenSince(time: number): number {
    return sumSince(this.unseen, time)
  }

  /** The same, plus the pauses that only the wall clock shows. Faults may set that clock, so that it proves nothing. */
  unseenOrWallOnlySince(time: number): number {
    return sumSince(this.unseen, time) + sumSince(this.shownByWall, time)
  }

  whenAwake(wake: () => void): void {
    this.sleepers.push(wake)
  }

  /**
   * Sets the wall clock. It refuses to set it back within `withinMs` of a pause that only the wall clock shows, since no
   * clock would show that any more. The answer is then false.
   */
  setWall(byMs: number, withinMs: number): boolean {
    if (byMs < 0) {
      if (this.mono() - this.hiddenAt <= withinMs) return false
      this.setBackAt = this.mono()
    }
    this.wallAhead += byMs
    return true
  }
}

function sumSince(pauses: readonly Pause[], time: number): number {
  return pauses.reduce((sum, { until, ms }) => sum + (until > time ? ms : 0), 0)
}
