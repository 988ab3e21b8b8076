import type { Call } from '../../harness/client.ts'

export interface Tally {
  readonly sent: number
  readonly failed: number
  /** Of the failed: nobody was ready when it was to be sent. */
  readonly nobodyReady: number
  /** Of the failed: sent before the fault, and in flight when it came. */
  readonly inFlight: number
}

export function tally(calls: readonly Call[], faultAt: number): Tally {
  const failed = calls.filter(({ failure }) => failure !== null)
  return {
    sent: calls.length,
    failed: failed.length,
    nobodyReady: failed.filter(({ to }) => to === null).length,
    inFlight: failed.filter(({ sentAt }) => sentAt < faultAt).length,
  }
}

/** From the fault to the first good answer by another than `old`; `undefined`: there was none. */
export function recoveryMs(calls: readonly Call[], faultAt: number, old: string): number | undefined {
  const answers = calls
    .filter(({ to, failure }) => failure === null && to !== old)
    .map(({ endedAt }) => endedAt)
  return answers.length === 0 ? undefined : Math.min(...answers) - faultAt
}

/** From the fault to the first good answer to a request that was sent after it; `undefined`: there was none. */
export function restartMs(calls: readonly Call[], faultAt: number): number | undefined {
  const answers = calls
    .filter(({ sentAt, failure }) => failure === null && sentAt >= faultAt)
    .map(({ endedAt }) => endedAt)
  return answers.length === 0 ? undefined : Math.min(...answers) - faultAt
}

/** The longest time from one good answer to the next, of those that end after the fault. */
export function silenceMs(calls: readonly Call[], faultAt: number): number {
  const answers = calls
    .filter(({ failure }) => failure === null)
    .map(({ endedAt }) => endedAt)
    .sort((a, b) => a - b)
  const gaps = answers.slice(1).map((at, n) => (at > faultAt ? at - (answers[n] as number) : 0))
  return Math.max(0, ...gaps)
}

/** The longest time that a well answered request took, of those that were answered after the fault. */
export function slowestMs(calls: readonly Call[], faultAt: number): number {
  const taken = calls
    .filter(({ failure, endedAt }) => failure === null && endedAt > faultAt)
    .map(({ sentAt, endedAt }) => endedAt - sentAt)
  return Math.max(0, ...taken)
}

/** How often each reason for a failure came, the most frequent first. */
export function reasons(calls: readonly Call[]): [why: string, times: number][] {
  const counted = new Map<string, number>()
  for (const { failure } of calls) if (failure !== null) counted.set(failure, (counted.get(failure) ?? 0) + 1)
  return [...counted].sort((a, b) => b[1] - a[1])
}
