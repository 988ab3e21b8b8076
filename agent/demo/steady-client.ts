import { Agent } from 'node:http'
import type { Clock } from '../clock.ts'
import { type Answer, ask } from './ask.ts'
import { repeat } from './repeat.ts'

export interface Request {
  /** CLOCK_MONOTONIC in milliseconds. */
  readonly sentAt: number
  /** When the answer, or its absence, was known. */
  readonly endedAt: number
  /** Who gave a good answer; `null`: it failed. */
  readonly replica: string | null
}

export interface SteadyClientOptions {
  readonly host: string
  readonly port: number
  readonly path: string
  /** Who gave this good answer. */
  readonly sender: (answer: Answer) => unknown
  readonly clock: Clock
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

/** Someone who depends on the service: asks the front door every 20 ms, at most 16 requests at once. */
export class SteadyClient {
  /** In the order in which they ended. */
  readonly requests: Request[] = []
  readonly #options: SteadyClientOptions
  readonly #agent = new Agent({ keepAlive: true })
  #inFlight = 0
  #stop = () => {}
  #stopped = false

  constructor(options: SteadyClientOptions) {
    this.#options = options
  }

  start(): void {
    this.#stop = repeat(this.#options.clock, EVERY_MS, () => {
      if (this.#inFlight < MAX_IN_FLIGHT) void this.#ask()
    })
  }

  stop(): void {
    this.#stopped = true
    this.#stop()
    this.#agent.destroy()
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

  async #ask(): Promise<void> {
    const { host, port, path, clock, sender } = this.#options
    const sentAt = clock.mono()
    this.#inFlight++
    const replica = await ask({ host, port, path, timeoutMs: TIMEOUT_MS, agent: this.#agent, clock })
      .then((answer) => (answer.status === 200 ? sender(answer) : null))
      .catch(() => null)
    this.#inFlight--
    if (this.#stopped) return
    this.requests.push({
      sentAt,
      endedAt: clock.mono(),
      replica: typeof replica === 'string' ? replica : null,
    })
  }
}
