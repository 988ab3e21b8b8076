const FIRST_MS = 500
const LONGEST_MS = 4_000
const RESET_AFTER_MS = 15_000

/**
 * How long the kubelet waits before it starts a container again: doubled with each end, from the start again after it
 * ran for a while. The kubelet's own is 10 s to 5 min, reset after 10 min; a run of minutes could not wait for that.
 */
export class BackOff {
  static readonly firstMs = FIRST_MS
  static readonly longestMs = LONGEST_MS
  #next = FIRST_MS

  /** Milliseconds to wait, after it ran for so long. */
  after(ranMs: number): number {
    if (ranMs >= RESET_AFTER_MS) this.#next = FIRST_MS
    const wait = this.#next
    this.#next = Math.min(wait * 2, LONGEST_MS)
    return wait
  }
}
