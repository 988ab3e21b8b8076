import type { Clock, Timer } from '../clock.ts'

/** The end of one request's time, on the program's clock. */
export class Deadline {
  readonly ms: number
  passed = false
  private readonly timer: Timer
  private readonly hooks = new Set<() => void>()

  constructor(clock: Clock, ms: number) {
    this.ms = ms
    this.timer = clock.after(ms, () => {
      this.passed = true
      for (const hook of this.hooks) hook()
    })
  }

  /** Calls `late` when the time is up, or at once where it is. Returns what calls that off. */
  onPassed(late: () => void): () => void {
    if (this.passed) late()
    else this.hooks.add(late)
    return () => this.hooks.delete(late)
  }

  /** Rejects with `late()` when the time is up before the promise is settled. */
  race<T>(promise: Promise<T>, late: () => Error): Promise<T> {
    return new Promise((resolve, reject) => {
      const off = this.onPassed(() => reject(late()))
      promise.then(resolve, reject).finally(off)
    })
  }

  cancel(): void {
    this.timer.cancel()
  }
}
