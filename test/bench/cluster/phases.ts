import type { PastTerm } from '../../../agent/lease/lease-history.ts'
import type { Call } from '../../harness/client.ts'
import type { Line } from '../../harness/logged-process.ts'

/** The phases of a takeover. Each counts from the end of the one before. */
export const PHASES = {
  drain: 'drain',
  stop: 'stop',
  acquire: 'detect, acquire',
  start: 'start',
  healthy: 'healthy',
  answer: 'first answer',
} as const
/** In milliseconds. A phase that was not recorded is left out, such as the stop of a killed pod. */
export type Phases = Readonly<Partial<Record<keyof typeof PHASES, number>>>

/** The records from which the phases of one round's takeovers are computed. */
interface Records {
  /** The terms in the Lease's history, newest first. */
  readonly terms: readonly PastTerm[]
  /** The log lines of a pod's agent and launcher. */
  readonly logOf: (pod: string) => readonly Line[]
  readonly calls: readonly Call[]
  /** The difference between a wall clock's time and a call's time. */
  readonly wallAtMono0: number
}

/** Each takeover after the term `epoch`, oldest first. A term that never served doesn't end a takeover. */
export function takeoversAfter(epoch: number, records: Records): Phases[] {
  return records.terms
    .filter((term) => term.epoch > epoch && term.phases.healthyMs !== null)
    .map((term) => phasesOf(term, records))
    .reverse()
}

function phasesOf({ epoch, holder, phases }: PastTerm, records: Records): Phases {
  const { terms, logOf, calls, wallAtMono0 } = records
  const before = terms.find((past) => past.epoch === epoch - 1)
  const line = (pod: string, event: string, of: number) =>
    logOf(pod).find((one) => one.event === event && one.epoch === of)
  const stopped = before && line(before.holder, 'workload_stopped', before.epoch)
  const stop = stopped?.durationMs as number | undefined
  const serving = line(holder, 'serving', epoch)
  const served = Date.parse(serving?.time ?? '')
  const answers = calls
    .filter(({ failure }) => failure === null)
    .map(({ endedAt }) => endedAt + wallAtMono0 - served)
    .filter((afterMs) => afterMs >= 0)
  const all = {
    drain: stop === undefined || before?.stopMs == null ? undefined : Math.max(0, before.stopMs - stop),
    stop,
    acquire: phases.detectMs + phases.acquireMs,
    start: phases.startMs ?? undefined,
    healthy: phases.healthyMs ?? undefined,
    answer: answers.length === 0 ? undefined : Math.min(...answers),
  }
  return Object.fromEntries(Object.entries(all).filter(([, ms]) => ms !== undefined))
}
