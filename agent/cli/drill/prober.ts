import type { Clock, Timer } from '../../clock.ts'
import type { Service } from './langflow-service.ts'

/** How long one attempt may take, in milliseconds: as long as a front holds a request at most. */
export const ATTEMPT_MS = 30_000
/** An attempt each 200 ms. */
export const EVERY_MS = 200

/**
 * A user who sends one attempt each period, whether or not the earlier ones have ended, and retries none, so that nothing hides an
 * outage. The number under way is limited by the time that an attempt may take.
 */
export class Prober {
  /** In the order in which they ended. */
  readonly probes: Probe[] = []
  readonly #service: Pick<Service, 'ask'>
  readonly #clock: Clock
  readonly #quit: AbortSignal
  readonly #beganAt: number
  readonly #underWay = new Set<Promise<void>>()
  #timer: Timer | null = null
  #sent = 0

  /** Begins. Attempts that are under way when `quit` aborts are dropped. */
  constructor(service: Pick<Service, 'ask'>, clock: Clock, quit: AbortSignal) {
    this.#service = service
    this.#clock = clock
    this.#quit = quit
    this.#beganAt = clock.mono()
    this.#tick()
  }

  /** Sends no more attempts. Resolves once those under way have ended. */
  async stop(): Promise<void> {
    this.#timer?.cancel()
    await Promise.all(this.#underWay)
  }

  #tick(): void {
    const attempt = this.#attempt(++this.#sent).finally(() => this.#underWay.delete(attempt))
    this.#underWay.add(attempt)
    this.#timer = this.#clock.after(EVERY_MS, () => this.#tick())
  }

  async #attempt(number: number): Promise<void> {
    const late = new AbortController()
    const timer = this.#clock.after(ATTEMPT_MS, () => late.abort())
    const sentMs = this.#now()
    const ended = AbortSignal.any([late.signal, this.#quit])
    // If a host has several addresses and none answers, the error has a code and no message.
    const said = await this.#service.ask(number, ended).catch(({ message, code }) => message || code)
    timer.cancel()
    if (this.#quit.aborted) return
    const problem = late.signal.aborted ? `no answer within ${ATTEMPT_MS / 1000} s` : said
    this.probes.push({ number, sentMs, endedMs: this.#now(), problem })
  }

  /** Whole milliseconds since the first attempt. */
  #now(): number {
    return Math.round(this.#clock.mono() - this.#beganAt)
  }
}

/** One attempt to use the service; nothing is tried twice. Times in milliseconds since the prober began. */
export interface Probe {
  /** From 1 on; the number in its message. */
  readonly number: number
  readonly sentMs: number
  readonly endedMs: number
  /** Why there was no good answer, in a few words; `null`: there was one. */
  readonly problem: string | null
}

/** What users noticed. */
export interface Measured {
  readonly requests: number
  readonly failed: number
  /** The reasons of failures, each once with its count; the most frequent first. */
  readonly problems: readonly { readonly problem: string; readonly times: number }[]
  /** The slowest good answer; `null`: there was none. */
  readonly longestWaitMs: number | null
  /** The longest time from one good answer to the next: RTO. `null`: no good answer followed the last failure. */
  readonly rtoMs: number | null
  /** Number of messages that were acknowledged and are not stored: RPO. `null`: not measured. */
  readonly lost: number | null
}

/** The service counts as good when the prober begins. `kept`: the numbers of the stored messages; `null`: RPO is not measured. */
export function measure(probes: readonly Probe[], kept: ReadonlySet<number> | null): Measured {
  const good = probes.filter(({ problem }) => problem === null)
  const bad = probes.filter(({ problem }) => problem !== null)
  const answeredMs = good.map(({ endedMs }) => endedMs).sort((a, b) => a - b)
  const lastMs = answeredMs.at(-1)
  const isOver = lastMs !== undefined && bad.every(({ sentMs }) => sentMs <= lastMs)
  const problems = Map.groupBy(bad, ({ problem }) => problem as string)
  return {
    requests: probes.length,
    failed: bad.length,
    problems: [...problems]
      .map(([problem, { length: times }]) => ({ problem, times }))
      .sort((a, b) => b.times - a.times),
    longestWaitMs: lastMs === undefined ? null : Math.max(...good.map((one) => one.endedMs - one.sentMs)),
    rtoMs: isOver ? Math.max(...answeredMs.map((at, i) => at - (answeredMs[i - 1] ?? 0))) : null,
    lost: kept && good.filter(({ number }) => !kept.has(number)).length,
  }
}
