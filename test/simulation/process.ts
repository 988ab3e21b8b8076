import type { Clock, Instant, Timer } from '../../agent/clock.ts'
import type { Kernel } from './kernel.ts'
import type { Random } from './random.ts'

/** The most by which a timer is late on a busy machine. */
const TIMER_LATENESS_MS = 2
/** The chance that a pending block of the event loop begins at a given read of the clock. */
const BLOCKED_AT_LOOK = 0.3
const BLOCKED_WITHIN_MS = 1_000

/**
 * One process of a machine, which can be frozen, blocked or killed. While it can't run, its timers are late and messages
 * stay in its sockets. It is the `Clock` of the product's code that runs in it.
 */
export class Process implements Clock {
  readonly kernel: Kernel
  private readonly random: Random
  private readonly late: { timer: boolean; work: () => void }[] = []
  /** Effects of a turn whose event loop was blocked in the middle. They take place when the block is over. */
  private readonly outstanding: (() => void)[] = []
  private readonly deathHandlers: (() => void)[] = []
  /** Difference between the process's boot clock and the machine's, since a container may have a /proc/uptime of its own. */
  bootAhead = 0
  alive = true
  frozen = false
  thawedAt = Number.NEGATIVE_INFINITY
  /** It was blocked in the middle of a turn, which then continued with facts from before the block. */
  stoodInTurn = false
  /** The length of a pending block of the event loop in ms. It begins in the middle of one of the next turns. */
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
   * Blocks the event loop for `ms`. The block begins in the middle of a turn, between two reads of the clock, as with a
   * garbage collection or a slow system call. If the process doesn't read the clock soon, the block begins between two
   * turns. A second block doesn't extend the first one.
   */
  block(ms: number): void {
    if (this.blockedUntil !== null) return
    this.blocking = ms
    this.kernel.timeline.in(BLOCKED_WITHIN_MS, () => this.blockNow())
  }

  /** Runs an effect on other processes or the network. If the event loop is blocked, it waits for the end of the block. */
  act(effect: () => void): void {
    if (this.blockedUntil === null) effect()
    else this.outstanding.push(effect)
  }

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
    this.resume()
  }

  private resume(): void {
    this.thawedAt = this.kernel.timeline.now
    this.catchUp()
  }

  kill(): void {
    if (!this.alive) return
    this.alive = false
    for (const handler of this.deathHandlers.splice(0)) handler()
  }

  onDeath(handler: () => void): void {
    this.deathHandlers.push(handler)
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

  /** Runs late timers and messages. Either may come first, because the event loop handles them in alternating phases. */
  private catchUp(): void {
    if (this.kernel.asleep) this.kernel.whenAwake(() => this.catchUp())
    if (!this.runs) return
    for (const effect of this.outstanding.splice(0)) effect()
    const timersFirst = this.random.chance(0.5)
    const [timers = [], messages = []] = [true, false].map((kind) =>
      this.late.filter(({ timer }) => timer === kind),
    )
    this.late.length = 0
    for (const { work } of timersFirst ? [...timers, ...messages] : [...messages, ...timers]) {
      // Each runs in a turn of its own, so that promises settle in between.
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
      this.resume()
    })
  }
}
