/** A time without what was expected, in monotonic ms. */
export interface Gap {
  readonly from: number
  readonly to: number
  /** Who was there before it, and after it; `null`: nobody came before the end of the run. */
  readonly before: string
  readonly after: string | null
}

/** Finds the times longer than a threshold between signs of whatever is expected all along. */
export class Gaps {
  readonly list: Gap[] = []
  readonly #thresholdMs: number
  #last: { readonly at: number; readonly who: string } | undefined

  constructor(thresholdMs: number) {
    this.#thresholdMs = thresholdMs
  }

  /** A sign of life of somebody at that time; one that comes out of order changes nothing. */
  seen(at: number, who: string): void {
    if (this.#last !== undefined && at <= this.#last.at) return
    this.#close(at, who)
    this.#last = { at, who }
  }

  /** The end of the run: a time that has not ended by then counts as well. */
  finish(at: number): void {
    this.#close(at, null)
  }

  #close(at: number, after: string | null): void {
    const last = this.#last
    if (last !== undefined && at - last.at > this.#thresholdMs)
      this.list.push({ from: last.at, to: at, before: last.who, after })
  }
}
