import type { Clock, Timer } from '../../clock.ts'
import type { Service } from './langflow-service.ts'

/** Deadline of one attempt, in milliseconds: the default of --hold-timeout. */
export const ATTEMPT_MS = 30_000
/** Time between the starts of two attempts, in milliseconds. */
export const EVERY_MS = 200

/** One attempt to use the service, without retries. Times are in milliseconds since the prober started. */
export interface Probe {
  /** The number in the attempt's message, from 1. */
  readonly number: number
  readonly sentMs: number
  readonly endedMs: number
  /** The problem in a few words; `null` after a good answer. */
  readonly problem: string | null
}

/**
 * A user that starts an attempt every period, even if earlier attempts have not ended, and that does not retry. A slow answer or a
 * retry would hide an outage. The deadline of an attempt limits the number of open attempts.
 */
export class Prober {
  /** The attempts, in the order of their ends. */
  readonly probes: Probe[] = []
  readonly #service: Pick<Service, 'ask'>
  readonly #clock: Clock
  readonly #quit: AbortSignal
  readonly #beganAt: number
  readonly #underWay = new Set<Promise<void>>()
  #timer: Timer | null = null
  #sent = 0

  /** Starts the attempts. When `quit` aborts, open attempts are dropped. */
  constructor(service: Pick<Service, 'ask'>, clock: Clock, quit: AbortSignal) {
    this.#service = service
    this.#clock = clock
    this.#quit = quit
    this.#beganAt = clock.mono()
    this.#tick()
  }

  /** Starts no more attempts. Resolves when the open attempts have ended. */
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
    // If a host has several addresses and no address answers, the error has a code and no message.
    const answer = await this.#service.ask(number, ended).catch(({ message, code }) => message || code)
    timer.cancel()
    if (this.#quit.aborted) return
    const problem = late.signal.aborted ? `no answer within ${ATTEMPT_MS / 1000} s` : answer
    this.probes.push({ number, sentMs, endedMs: this.#now(), problem })
  }

  /** Whole milliseconds since the first attempt. */
  #now(): number {
    return Math.round(this.#clock.mono() - this.#beganAt)
  }
}

/** The effect of the fault on users. */
export interface Measured {
  readonly requests: number
  readonly failed: number
  /** `null` if no request failed. */
  readonly firstProblem: string | null
  /** RTO: the longest time from one good answer to the next; `null` if no good answer followed the last failure. */
  readonly rtoMs: number | null
  /** RPO: the number of messages that were acknowledged but are not stored; `null` if not measured. */
  readonly lost: number | null
}

/** The first gap is counted from the prober's start. `kept`: the numbers of the stored messages; `null` if the RPO is not measured. */
export function measure(probes: readonly Probe[], kept: ReadonlySet<number> | null): Measured {
  const good = probes.filter(({ problem }) => problem === null)
  const answeredMs = good.map(({ endedMs }) => endedMs).sort((a, b) => a - b)
  const lastMs = answeredMs.at(-1)
  const isOver =
    lastMs !== undefined && probes.every(({ sentMs, problem }) => problem === null || sentMs <= lastMs)
  return {
    requests: probes.length,
    failed: probes.length - good.length,
    firstProblem: probes.find(({ problem }) => problem !== null)?.problem ?? null,
    rtoMs: isOver ? Math.max(...answeredMs.map((at, i) => at - (answeredMs[i - 1] ?? 0))) : null,
    lost: kept && good.filter(({ number }) => !kept.has(number)).length,
  }
}
