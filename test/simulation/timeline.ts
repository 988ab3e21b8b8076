export interface Scheduled {
  readonly at: number
  readonly order: number
  readonly fire: () => void
  cancelled: boolean
}

/** Real time, which no process of the model can read: everything happens on it, one thing after the other. */
export class Timeline {
  /** Milliseconds since the run began. */
  now = 0
  private order = 0
  /** A binary heap: whatever is due first is at its top. */
  private readonly heap: Scheduled[] = []

  at(time: number, fire: () => void): Scheduled {
    const entry = { at: Math.max(time, this.now), order: this.order++, fire, cancelled: false }
    this.heap.push(entry)
    this.rise(this.heap.length - 1)
    return entry
  }

  in(ms: number, fire: () => void): Scheduled {
    return this.at(this.now + ms, fire)
  }

  /** Lets the next thing happen, if that is before `until`; otherwise time just passes, and the answer is false. */
  step(until: number): boolean {
    for (let top = this.heap[0]; top !== undefined && top.at <= until; top = this.heap[0]) {
      this.dropTop()
      if (top.cancelled) continue
      this.now = top.at
      top.fire()
      return true
    }
    this.now = until
    return false
  }

  private dropTop(): void {
    const last = this.heap.pop() as Scheduled
    if (this.heap.length === 0) return
    this.heap[0] = last
    this.sink(0)
  }

  private rise(start: number): void {
    const entry = this.heap[start] as Scheduled
    let index = start
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (before(this.heap[parent] as Scheduled, entry)) break
      this.heap[index] = this.heap[parent] as Scheduled
      index = parent
    }
    this.heap[index] = entry
  }

  private sink(start: number): void {
    const { heap } = this
    const entry = heap[start] as Scheduled
    let index = start
    for (;;) {
      let child = 2 * index + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1] as Scheduled, heap[child] as Scheduled)) child++
      if (before(entry, heap[child] as Scheduled)) break
      heap[index] = heap[child] as Scheduled
      index = child
    }
    heap[index] = entry
  }
}

function before(a: Scheduled, b: Scheduled): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

/**
 * Resolves once every promise that waits for nothing outside has had its turn: Node drains its microtasks before
 * the next tick. Cheaper than a turn of the event loop, of which a run would need thousands.
 */
export function settled(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve))
}
