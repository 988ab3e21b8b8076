import { Violation } from '../harness/judge.ts'
import { BACK_OFF } from './kubelet.ts'

/** The longest permitted time from the end of the last fault until one replica serves. */
export const RECOVERS_WITHIN_MS =
  15_000 + // lease duration
  2_000 + // retry period
  BACK_OFF.longestMs +
  5_000 + // stop of a workload that ignores SIGTERM
  4_000 // start of agent, launcher and workload

/** A replica counts as recovered after it has served for this long. */
const STEADY_MS = 4_000

/** Judges by the ready replicas at each look whether exactly one serves in time after all faults have healed. */
export class RecoveryWatch {
  readonly #healedAt: number
  readonly #allowedMs: number
  #one = ''
  #since: number

  constructor(healedAt: number, allowedMs: number) {
    this.#healedAt = healedAt
    this.#allowedMs = allowedMs
    this.#since = healedAt
  }

  /**
   * The milliseconds until one replica served permanently. `undefined`: not decided yet. Throws `Violation` if no replica did
   * in time.
   */
  look(now: number, ready: readonly string[]): number | undefined {
    const one = ready.length === 1 ? (ready[0] as string) : ''
    if (one !== this.#one) this.#since = now
    this.#one = one
    const took = this.#since - this.#healedAt
    if (one !== '' && took <= this.#allowedMs) return now - this.#since >= STEADY_MS ? took : undefined
    const passed = now - this.#healedAt
    if (passed <= this.#allowedMs) return undefined
    throw new Violation(
      'exactly one serves again',
      `${passed} ms after the last fault had healed, these served: ${ready.join(' and ') || 'none'}`,
    )
  }
}
