import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../../agent/clock.ts'
import { type Answer, ask } from '../harness/ask.ts'

/** Calls `act`, which must not reject, at once and then `everyMs` after each time it has ended, until `signal` aborts. */
export async function repeat(
  everyMs: number,
  signal: AbortSignal,
  act: () => Promise<void> | void,
): Promise<void> {
  while (!signal.aborted) {
    await act()
    await sleep(everyMs, undefined, { signal }).catch(() => {})
  }
}

export interface Request {
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly sentAt: number
  /** When the answer, or its absence, was known. */
  readonly endedAt: number
  /** Who gave a good answer; `null`: it failed. */
  readonly replica: string | null
}

export interface Gap {
  /** Last good answer of the old holder to the first of the new one, in milliseconds. */
  readonly gapMs: number
  /** Requests in between that got no good answer. */
  readonly failed: number
}

export const EVERY_MS = 20
const TIMEOUT_MS = 2_000
const MAX_IN_FLIGHT = 16

/** Someone who depends on the service: asks every 20 ms, at most 16 requests at once. */
export class SteadyClient {
  /** In the order in which they ended. */
  readonly requests: Request[] = []
  readonly #sender: (answer: Answer) => unknown
  #inFlight = 0

  /** `sender` says who gave a good answer. */
  constructor(sender: (answer: Answer) => unknown) {
    this.#sender = sender
  }

  start(url: string, signal: AbortSignal): void {
    void repeat(EVERY_MS, signal, () => {
      if (this.#inFlight < MAX_IN_FLIGHT) void this.#ask(url)
    })
  }

  get failed(): number {
    return this.requests.filter(({ replica }) => replica === null).length
  }

  /** The gap that a takeover left; `null` until the new holder's first good answer after `since`. */
  gap(from: string, to: string, since: number): Gap | null {
    const first = this.requests.find(({ replica, endedAt }) => replica === to && endedAt >= since)
    const last = this.requests.findLast(
      ({ replica, endedAt }) => replica === from && endedAt <= (first?.endedAt ?? 0),
    )
    if (!first || !last) return null
    const between = this.requests.filter(
      ({ sentAt, endedAt, replica }) => replica === null && endedAt >= last.sentAt && sentAt <= first.endedAt,
    )
    return { gapMs: first.endedAt - last.endedAt, failed: between.length }
  }

  async #ask(url: string): Promise<void> {
    const sentAt = systemClock.mono()
    this.#inFlight++
    const replica = await ask(url, TIMEOUT_MS)
      .then((answer) => (answer.status === 200 ? this.#sender(answer) : null))
      .catch(() => null)
    this.#inFlight--
    const endedAt = systemClock.mono()
    this.requests.push({ sentAt, endedAt, replica: typeof replica === 'string' ? replica : null })
  }
}
