import type { Call } from '../../harness/client.ts'

/** The outcome of the calls that ended after a fault. All times in ms; infinite if the event never came. */
export interface Fate {
  readonly sent: number
  readonly failed: number
  /** Failed requests that were sent before the fault, and were in flight when it came. */
  readonly inFlight: number
  /** Number of failed requests for each reason. */
  readonly reasons: Readonly<Record<string, number>>
  /** From the fault to the first good answer of another replica than the old leader. */
  readonly nextMs: number
  /** The longest time from one good answer to the next. */
  readonly silenceMs: number
  /** The time that the slowest good answer took. */
  readonly slowestMs: number
}

/** `calls`: in the order of their ends. */
export function fateOf(calls: readonly Call[], faultAt: number, old: string): Fate {
  const good = calls.filter(({ failure }) => failure === null)
  const failed = calls.filter(({ failure }) => failure !== null)
  const reasons: Record<string, number> = {}
  for (const { failure } of failed) reasons[failure as string] = (reasons[failure as string] ?? 0) + 1
  return {
    sent: calls.length,
    failed: failed.length,
    inFlight: failed.filter(({ sentAt }) => sentAt < faultAt).length,
    reasons,
    nextMs: (good.find(({ to }) => to !== old)?.endedAt ?? Number.POSITIVE_INFINITY) - faultAt,
    silenceMs: Math.max(0, ...good.map(({ endedAt }, n) => endedAt - (good[n - 1]?.endedAt ?? faultAt))),
    slowestMs: Math.max(0, ...good.map(({ sentAt, endedAt }) => endedAt - sentAt)),
  }
}
