import type { Clock, Instant, Timer } from '../../agent/clock.ts'

/** A clock that moves only in `pass`. Timers fire in order, each with the clock at its own time. */
export class VirtualClock implements Clock {
  private time: number
  private timers: { at: number; order: number; fire: () => void }[] = []
  private order = 0
  /** How many ms the other clocks are ahead of the monotonic one. */
  bootAhead = 0
  wallAhead = 1_700_000_000_000

  constructor(start = 1_000_000) {
    this.time = start
  }

  mono = (): number => this.time

  now = (): Instant => ({
    mono: this.time,
    boot: this.time + this.bootAhead,
    wall: this.time + this.wallAhead,
  })

  after = (delayMs: number, fire: () => void): Timer => {
    const timer = { at: this.time + Math.max(0, delayMs), order: this.order++, fire }
    this.timers.push(timer)
    return { cancel: () => this.drop(timer) }
  }

  next(): number {
    return Math.min(...this.timers.map(({ at }) => at))
  }

  /** Lets time pass. After each timer, all pending promises get their turn. */
  async pass(ms: number): Promise<void> {
    const until = this.time + ms
    await settled()
    for (;;) {
      const [due] = this.timers
        .filter(({ at }) => at <= until)
        .sort((a, b) => a.at - b.at || a.order - b.order)
      if (due === undefined) break
      this.drop(due)
      this.time = Math.max(this.time, due.at)
      due.fire()
      await settled()
    }
    this.time = until
  }

  private drop(timer: { at: number }): void {
    this.timers = this.timers.filter((other) => other !== timer)
  }
}

export function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
