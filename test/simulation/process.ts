import type { Clock, Instant, Timer } from '../../agent/clock.ts'
import type { Kernel } from './kernel.ts'
import type { Random } from './random.ts'

/** How late a timer fires on a machine that is not idle. */
const TIMER_LATENESS_MS = 2
/** The chance that a blocked event loop is blocked at a given look at the clock, and not later. */
const BLOCKED_AT_LOOK = 0.3
const BLOCKED_WITHIN_MS = 1_000

/**
 * One program that runs on a machine and can be frozen or killed. What happens to it while it cannot run waits: timers
 * are late, and messages stay in their sockets. It is the clock of what runs in it.
 */
export class Process implements Clock {
  readonly kernel: Kernel
  private readonly random: Random
  private readonly late: { timer: boolean; work: () => void }[] = []
  /** What it did after its event loop was blocked in the middle: done once that is over. */
  private readonly outstanding: (() => void)[] = []
  private readonly farewells: (() => void)[] = []
  /** By how much its /proc/uptime is ahead of the machine's: a container may have one of its own. */
  bootAhead = 0
  alive = true
  frozen = false
  /** Real time since when it has run again. */
  thawedAt = Number.NEGATIVE_INFINITY
  /** It stood still in the middle of a turn, which goes on with what it knew before. */
  stoodInTurn = false
  /** Milliseconds for which the event loop is to be blocked in the middle of what it does next. */
  private blocking: number | null = null
  /** Monotonic milliseconds until which the event loop is blocked. */
  private blockedUntil: number | null = null

  constructor(kernel: Kernel, random: Random) {
    this.kernel = kernel
    this.random = random
  }

  get runs(): boolean {
    return this.alive && !this.frozen && this.blockedUntil === null && !this.kernel.asleep
  }

  mono = (): number => {
    this.blockPerhaps()
    return this.blockedUntil ?? this.kernel.mono()
  }

  now = (): Instant => {
    const ahead = this.mono() - this.kernel.mono()
    const { boot, ...others } = this.kernel.now(ahead)
    return { boot: boot + this.bootAhead, ...others }
  }

  after = (delayMs: number, fire: () => void): Timer => {
    const due = this.mono() + Math.ceil(Math.max(0, delayMs)) + this.random.between(0.05, TIMER_LATENESS_MS)
    let cancelled = false
    this.kernel.atMono(due, () => cancelled || this.perform(() => cancelled || fire(), true))
    return {
      cancel: () => {
        cancelled = true
      },
    }
  }

  /**
   * Its event loop does not turn for `ms`, from somewhere in the middle of a turn: between one look at the clock and
   * the next, as a garbage collection or a slow system call would have it. One that looks at no clock soon is blocked
   * between two turns. One that is blocked already is so no longer for it.
   */
  block(ms: number): void {
    if (this.blockedUntil !== null) return
    this.blocking = ms
    this.kernel.timeline.in(BLOCKED_WITHIN_MS, () => this.blockNow())
  }

  /** What it does to the world outside: later, where it is blocked meanwhile. */
  act(deed: () => void): void {
    if (this.blockedUntil === null) deed()
    else this.outstanding.push(deed)
  }

  /** Something from outside arrives. */
  deliver(work: () => void): void {
    this.perform(work, false)
  }

  freeze(): void {
    this.frozen = true
  }

  thaw(): void {
    if (!this.frozen) return
    this.frozen = false
    this.stoodInTurn = false
    this.goOn()
  }

  private goOn(): void {
    this.thawedAt = this.kernel.timeline.now
    this.catchUp()
  }

  kill(): void {
    if (!this.alive) return
    this.alive = false
    for (const farewell of this.farewells.splice(0)) farewell()
  }

  onDeath(farewell: () => void): void {
    this.farewells.push(farewell)
  }

  private perform(work: () => void, timer: boolean): void {
    if (!this.alive) return
    if (this.runs) {
      work()
      return
    }
    if (this.late.length === 0 && this.kernel.asleep) this.kernel.whenAwake(() => this.catchUp())
    this.late.push({ timer, work })
  }

  /** The event loop looks at timers and at sockets in turn: either may come first. */
  private catchUp(): void {
    if (this.kernel.asleep) this.kernel.whenAwake(() => this.catchUp())
    if (!this.runs) return
    for (const deed of this.outstanding.splice(0)) deed()
    const timersFirst = this.random.chance(0.5)
    const [timers = [], messages = []] = [true, false].map((kind) =>
      this.late.filter(({ timer }) => timer === kind),
    )
    this.late.length = 0
    for (const { work } of timersFirst ? [...timers, ...messages] : [...messages, ...timers]) {
      // Each in a turn of its own, so that promises settle in between.
      this.kernel.timeline.in(0, () => this.perform(work, false))
    }
  }

  private blockPerhaps(): void {
    if (this.blocking !== null && this.random.chance(BLOCKED_AT_LOOK)) this.blockNow()
  }

  private blockNow(): void {
    if (this.blocking === null || !this.alive) return
    this.blockedUntil = this.kernel.mono() + this.blocking
    this.blocking = null
    this.kernel.atMono(this.blockedUntil, () => {
      this.blockedUntil = null
      this.stoodInTurn = true
      this.goOn()
    })
  }
}
