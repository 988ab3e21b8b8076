import type { Clock, Timer } from '../../clock.ts'
import type { Service } from './langflow-service.ts'

/** Deadline of one attempt, in milliseconds: the default of --hold-timeout. */
export const ATTEMPT_MS = 30_000
/** Time between the starts of two attempts, in milliseconds. */
const EVERY_MS = 200

/** One attempt to use the service. Times are in milliseconds since the prober started. */
export interface Probe {
  /** The number in the attempt's message, from 1. */
  readonly number: number
  readonly sentMs: number
  readonly endedMs: number
  /** The problem in a few words; `null` after a good answer. */
  readonly problem: string | null
}

/**
 * Starts a user that makes an attempt every period, even if earlier attempts have not ended, and that does not retry. A slow answer or
 * a retry would hide an outage. The deadline of an attempt limits the number of open attempts. When `quit` aborts, they are dropped.
 */
export function startProber({ ask }: Pick<Service, 'ask'>, clock: Clock, quit: AbortSignal) {
  const probes: Probe[] = []
  const underWay = new Set<Promise<void>>()
  const since = clock.mono()
  const nowMs = () => Math.round(clock.mono() - since)
  let timer: Timer | null = null

  async function attempt(number: number): Promise<void> {
    const late = new AbortController()
    const limit = clock.after(ATTEMPT_MS, () => late.abort())
    const sentMs = nowMs()
    // If a host has several addresses and no address answers, the error has a code and no message.
    const answer = await ask(number, AbortSignal.any([late.signal, quit])).catch(
      ({ message, code }) => message || code,
    )
    limit.cancel()
    const problem = late.signal.aborted ? `no answer within ${ATTEMPT_MS / 1000} s` : answer
    if (!quit.aborted) probes.push({ number, sentMs, endedMs: nowMs(), problem })
  }

  function next(number: number): void {
    const open = attempt(number).finally(() => underWay.delete(open))
    underWay.add(open)
    timer = clock.after(EVERY_MS, () => next(number + 1))
  }

  next(1)
  return {
    /** The attempts, in the order of their ends. */
    probes: probes as readonly Probe[],
    /** Starts no more attempts. Resolves when the open attempts have ended. */
    async stop() {
      timer?.cancel()
      await Promise.all(underWay)
    },
  }
}

export type Measured = ReturnType<typeof measure>

/** The first gap is counted from the prober's start. `kept`: the numbers of the stored messages; `null` if the RPO is not measured. */
export function measure(probes: readonly Probe[], kept: ReadonlySet<number> | null) {
  const good = probes.filter(({ problem }) => problem === null)
  const bad = probes.filter(({ problem }) => problem !== null)
  const answeredMs = good.map(({ endedMs }) => endedMs).sort((a, b) => a - b)
  const lastMs = answeredMs.at(-1)
  const isOver = lastMs !== undefined && bad.every(({ sentMs }) => sentMs <= lastMs)
  return {
    requests: probes.length,
    failed: bad.length,
    firstProblem: bad[0]?.problem ?? null,
    // RTO: the longest time from one good answer to the next; `null` if no good answer followed the last failure.
    rtoMs: isOver ? Math.max(...answeredMs.map((at, i) => at - (answeredMs[i - 1] ?? 0))) : null,
    // RPO: the number of messages that were acknowledged but are not stored; `null` if not measured.
    lost: kept && good.filter(({ number }) => !kept.has(number)).length,
  }
}
