import { addAbortListener } from 'node:events'
import type { Clock, Timer } from '../../clock.ts'
import type { Probe } from './measure.ts'
import type { Service } from './service.ts'

/** How long one attempt may take, in milliseconds: as long as a front holds a request at most. */
export const ATTEMPT_MS = 30_000
/** The same, once no more are sent. */
const LAST_ATTEMPTS_MS = 5_000

/**
 * Somebody who uses the service all along: one attempt each period, whatever became of those before, none of them tried twice, so
 * that nothing hides an outage. At most as many are under way as are sent within one attempt's time.
 */
export class Prober {
  /** In the order in which they ended. */
  readonly probes: Probe[] = []
  readonly everyMs: number
  readonly #service: Pick<Service, 'ask'>
  readonly #clock: Clock
  readonly #beganAt: number
  readonly #underWay = new Map<number, Promise<void>>()
  readonly #dropped = new AbortController()
  /** Resolves with the next attempt that ends. */
  #ended = Promise.withResolvers<void>()
  #timer: Timer | null = null
  #sent = 0

  /** @param perSecond from 1 to 10 */
  constructor(service: Pick<Service, 'ask'>, perSecond: number, clock: Clock) {
    this.everyMs = 1_000 / perSecond
    this.#service = service
    this.#clock = clock
    this.#beganAt = clock.mono()
  }

  /** Whole milliseconds since the drill began. */
  now(): number {
    return Math.round(this.#clock.mono() - this.#beganAt)
  }

  start(): void {
    this.#tick(this.#clock.mono())
  }

  /** Sends no more. Resolves once what is under way has ended; soon it is dropped. */
  async stop(): Promise<void> {
    this.#timer?.cancel()
    this.#timer = null
    const timer = this.#clock.after(LAST_ATTEMPTS_MS, () => this.#dropped.abort())
    await this.settled()
    timer.cancel()
  }

  /** Resolves to the first good answer of an attempt that is sent from now on, or to the `count`th failure; never once no more are sent. */
  async tried(count: number): Promise<Probe> {
    const from = this.now()
    for (;;) {
      const since = this.probes.filter(({ sentMs }) => sentMs >= from)
      const good = since.find(({ problem }) => problem === null)
      if (good !== undefined) return good
      if (since.length >= count) return since[count - 1] as Probe
      // Not by a timer: where no more are sent, it would keep the process for good.
      await this.#ended.promise
    }
  }

  /** Resolves once all that was sent before now has ended. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay.values())
  }

  #tick(dueAt: number): void {
    const number = ++this.#sent
    const attempt = this.#attempt(number).finally(() => this.#underWay.delete(number))
    this.#underWay.set(number, attempt)
    // A steady rate: a late timer does not make the next one later. One that is very late catches nothing up.
    const next = Math.max(dueAt + this.everyMs, this.#clock.mono())
    this.#timer = this.#clock.after(next - this.#clock.mono(), () => this.#tick(next))
  }

  async #attempt(number: number): Promise<void> {
    const late = new AbortController()
    const timer = this.#clock.after(ATTEMPT_MS, () => late.abort())
    using _ = addAbortListener(this.#dropped.signal, () => late.abort())
    const sentMs = this.now()
    const problem = await this.#service.ask(number, late.signal).catch((error: Error) => error.message)
    timer.cancel()
    if (this.#dropped.signal.aborted) return
    const said = late.signal.aborted ? `no answer within ${ATTEMPT_MS / 1000} s` : problem
    this.probes.push({ number, sentMs, endedMs: this.now(), problem: said })
    this.#ended.resolve()
    this.#ended = Promise.withResolvers()
  }
}
