import type { Clock, Instant, Timer } from '../../agent/clock.ts'
import type { Kernel } from './kernel.ts'
import type { Random } from './random.ts'

/** How late a timer fires on a machine that is not idle. */
const TIMER_LATENESS_MS = 2

/**
 * One program that runs on a machine and can be frozen or killed. What happens to it while it cannot run waits: timers
 * are late, and messages stay in their sockets. It is the clock of what runs in it.
 */
export class Process implements Clock {
  readonly kernel: Kernel
  private readonly random: Random
  private readonly late: { timer: boolean; work: () => void }[] = []
  private readonly farewells: (() => void)[] = []
  alive = true
  frozen = false
  /** Real time of the last thaw. */
  thawedAt = Number.NEGATIVE_INFINITY

  /** Real time of its end. */
  diedAt = Number.POSITIVE_INFINITY

  constructor(kernel: Kernel, random: Random) {
    this.kernel = kernel
    this.random = random
  }

  get runs(): boolean {
    return this.alive && !this.frozen && !this.kernel.asleep
  }

  mono = (): number => this.kernel.mono()

  now = (): Instant => this.kernel.now()

  after = (delayMs: number, fire: () => void): Timer => {
    const due = this.mono() + Math.ceil(Math.max(0, delayMs)) + this.random.between(0.05, TIMER_LATENESS_MS)
    let cancelled = false
    const arm = (): void => {
      this.kernel.timeline.at(this.kernel.realTimeOf(due), () => {
        if (cancelled || !this.alive) return
        if (this.kernel.asleep) this.kernel.whenAwake(arm)
        else if (this.mono() < due - 0.01) arm()
        else this.perform(() => cancelled || fire(), true)
      })
    }
    if (this.kernel.asleep) this.kernel.whenAwake(arm)
    else arm()
    return {
      cancel: () => {
        cancelled = true
      },
    }
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
    this.thawedAt = this.kernel.timeline.now
    this.catchUp()
  }

  kill(): void {
    if (!this.alive) return
    this.alive = false
    this.diedAt = this.kernel.timeline.now
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
    if (this.late.length === 0 && !this.frozen) this.kernel.whenAwake(() => this.catchUp())
    this.late.push({ timer, work })
  }

  /** The event loop looks at timers and at sockets in turn: either may come first. */
  private catchUp(): void {
    if (this.kernel.asleep) this.kernel.whenAwake(() => this.catchUp())
    if (!this.runs) return
    const late = this.late.splice(0)
    const timersFirst = this.random.chance(0.5)
    const [first, second] = [
      late.filter(({ timer }) => timer === timersFirst),
      late.filter(({ timer }) => timer !== timersFirst),
    ]
    for (const { work } of [...first, ...second]) {
      // Each in a turn of its own, so that promises settle in between.
      this.kernel.timeline.in(0, () => this.perform(work, false))
    }
  }
}
