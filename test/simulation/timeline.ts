/** Real time, which no process of the model can read: everything happens on it, one thing after the other. */
export class Timeline {
  /** Milliseconds since the run began. */
  now = 0
  /** What is due first is last. Some tens at a time. */
  private readonly due: { readonly at: number; readonly fire: () => void }[] = []

  /** After what is due at the same time already. */
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

  /** Lets the next thing happen, if that is before `until`; otherwise time just passes, and the answer is false. */
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
 * Resolves once every promise that waits for nothing outside has had its turn: Node drains its microtasks before
 * the next tick. Cheaper than a turn of the event loop, of which a run would need thousands.
 */
export function settled(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve))
}
