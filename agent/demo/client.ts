import { Agent, request } from 'undici'
import type { Clock, Timer } from '../clock.ts'

export interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
}

/** One GET. Rejects where there is no whole answer in time. `via`: without one the request has a connection of its own. */
export async function ask(clock: Clock, url: string, timeoutMs: number, via?: Agent): Promise<Answer> {
  const abort = new AbortController()
  const deadline = clock.after(timeoutMs, () => abort.abort())
  try {
    const options = { signal: abort.signal, ...(via ? { dispatcher: via } : { reset: true }) }
    const { statusCode, headers, body } = await request(new URL(url), options)
    return { status: statusCode, headers, body: await body.text() }
  } finally {
    deadline.cancel()
  }
}

/** Calls `act` at once and then `everyMs` after each time it has ended, until the returned function is called. */
export function repeat(clock: Clock, everyMs: number, act: () => Promise<void> | void): () => void {
  let timer: Timer | null = null
  let stopped = false
  const round = async () => {
    await act()
    if (!stopped) timer = clock.after(everyMs, () => void round())
  }
  void round()
  return () => {
    stopped = true
    timer?.cancel()
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
  readonly #clock: Clock
  readonly #sender: (answer: Answer) => unknown
  readonly #agent = new Agent()
  #inFlight = 0
  #stopped = false
  #stop = () => {}

  /** `sender` says who gave a good answer. */
  constructor(clock: Clock, sender: (answer: Answer) => unknown) {
    this.#clock = clock
    this.#sender = sender
  }

  start(url: string): void {
    this.#stop = repeat(this.#clock, EVERY_MS, () => {
      if (this.#inFlight < MAX_IN_FLIGHT) void this.#ask(url)
    })
  }

  stop(): void {
    this.#stopped = true
    this.#stop()
    void this.#agent.destroy()
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
    const sentAt = this.#clock.mono()
    this.#inFlight++
    const replica = await ask(this.#clock, url, TIMEOUT_MS, this.#agent)
      .then((answer) => (answer.status === 200 ? this.#sender(answer) : null))
      .catch(() => null)
    this.#inFlight--
    if (this.#stopped) return
    this.requests.push({
      sentAt,
      endedAt: this.#clock.mono(),
      replica: typeof replica === 'string' ? replica : null,
    })
  }
}
