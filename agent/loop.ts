export interface LoopParts<State, Event, Effect> {
  /** A pure function. The new state holds the effects of this step alone. */
  readonly step: (before: State, event: Event) => State
  readonly carryOut: (effect: Effect) => void
  /** Called after the effects of each step. */
  readonly settled?: (state: State, before: State) => void
}

/** The loop of a state machine. An event that is dispatched meanwhile waits for all effects of the present step. */
export class Loop<State extends { readonly effects: readonly Effect[] }, Event, Effect> {
  state: State
  private readonly parts: LoopParts<State, Event, Effect>
  private readonly queue: Event[] = []
  private running = false

  constructor(initial: State, parts: LoopParts<State, Event, Effect>) {
    this.state = initial
    this.parts = parts
  }

  dispatch(event: Event): void {
    this.queue.push(event)
    if (this.running) return
    this.running = true
    try {
      for (let next = this.queue.shift(); next !== undefined; next = this.queue.shift()) this.turn(next)
    } finally {
      this.running = false
    }
  }

  private turn(event: Event): void {
    const before = this.state
    this.state = this.parts.step(before, event)
    for (const effect of this.state.effects) this.parts.carryOut(effect)
    this.parts.settled?.(this.state, before)
  }
}
