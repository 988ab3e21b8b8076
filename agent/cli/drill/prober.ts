import type { Clock, Timer } from '../../clock.ts'
import type { Service } from './langflow-service.ts'
import type { Probe } from './measure.ts'

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
