import type { Clock, Timer } from '../../clock.ts'
import type { Service } from './langflow-service.ts'

/** How long one attempt may take, in milliseconds: as long as a front holds a request at most. */
export const ATTEMPT_MS = 30_000
/** An attempt each 200 ms. */
export const EVERY_MS = 200

/**
 * Somebody who uses the service all along: one attempt each period, whatever became of those before, none of them tried twice, so
 * that nothing hides an outage. At most as many are under way as are sent within one attempt's time.
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

  /** Begins. What is under way when `quit` aborts is dropped, and counts for nothing. */
  constructor(service: Pick<Service, 'ask'>, clock: Clock, quit: AbortSignal) {
    this.#service = service
    this.#clock = clock
    this.#quit = quit
    this.#beganAt = clock.mono()
    this.#tick(this.#beganAt)
  }

  /** Sends no more. Resolves once all that was sent has ended. */
  async stop(): Promise<void> {
    this.#timer?.cancel()
    await Promise.all(this.#underWay)
  }

  #tick(dueAt: number): void {
    const attempt = this.#attempt(++this.#sent).finally(() => this.#underWay.delete(attempt))
    this.#underWay.add(attempt)
    // A steady rate: a late timer does not make the next one later. One that is very late catches nothing up.
    const next = Math.max(dueAt + EVERY_MS, this.#clock.mono())
    this.#timer = this.#clock.after(next - this.#clock.mono(), () => this.#tick(next))
  }

  async #attempt(number: number): Promise<void> {
    const late = new AbortController()
    const timer = this.#clock.after(ATTEMPT_MS, () => late.abort())
    const sentMs = this.#now()
    const ended = AbortSignal.any([late.signal, this.#quit])
    // A host with several addresses of which none answers has a code alone.
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

/** How users fared. */
export interface Measured {
  readonly requests: number
  readonly failed: number
  /** What failures said, each once, with how often; the most frequent first. */
  readonly problems: readonly { readonly problem: string; readonly times: number }[]
  /** The slowest good answer; `null`: there was none. */
  readonly longestWaitMs: number | null
  /** The longest time from one good answer to the next: RTO. `null`: no good answer followed the last failure. */
  readonly rtoMs: number | null
  /** How many messages were acknowledged and are not stored: RPO. `null`: not measured. */
  readonly lost: number | null
}

/** The service counts as good when the prober begins. `kept`: the numbers of the messages that are stored; `null`: none are. */
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
