/** Real time of the model. It runs all events in order. No process of the model can read it. */
export class Timeline {
  /** Milliseconds since the run began. */
  now = 0
  /** Sorted by time, with the next event at the end. It holds some tens of events at a time. */
  private readonly due: { readonly at: number; readonly fire: () => void }[] = []

  /** Runs `fire` at `time`, after the events that are already due at that time. */
  at(time: number, fire: () => void): void {
    const { due } = this
    const at = Math.max(time, this.now)
    let [low, high] = [0, due.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if ((due[middle]?.at as number) > at) low = middle + 1
      else high = middle
    }
    due.splice(low, 0, { at, fire })
  }

  in(ms: number, fire: () => void): void {
    this.at(this.now + ms, fire)
  }

  /** Runs the next event if it is due by `until`. If not, advances the time to `until` and returns false. */
  step(until: number): boolean {
    const next = this.due.at(-1)
    if (next === undefined || next.at > until) {
      this.now = until
      return false
    }
    this.due.pop()
    this.now = next.at
    next.fire()
    return true
  }
}

/**
 * Resolves after all pending microtasks, because Node drains them before the next tick. A run needs thousands of these
 * waits, and a whole turn of the event loop would take longer.
 */
export function settled(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve))
}
