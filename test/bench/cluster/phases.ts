import type { PastTerm } from '../../../agent/lease/lease-history.ts'
import type { Call } from '../../harness/client.ts'
import type { Line } from '../../harness/logged-process.ts'

/** The parts of a takeover, each from the end of the one before. */
export const PHASES = {
  drain: 'drain',
  stop: 'stop',
  acquire: 'detect, acquire',
  start: 'start',
  healthy: 'healthy',
  answer: 'first answer',
} as const
/** In milliseconds; a phase that nobody noted is left out, such as the stop of a pod that was killed. */
export type Phases = Readonly<Partial<Record<keyof typeof PHASES, number>>>

/** What is needed to divide the takeovers of one round. */
export interface Noted {
  /** As the Lease has them, newest first. */
  readonly terms: readonly PastTerm[]
  /** What agent and launcher of a pod have logged. */
  readonly logOf: (pod: string) => readonly Line[]
  readonly calls: readonly Call[]
  /** What has to be added to a call's time to make it a wall clock's. */
  readonly wallAtMono0: number
}

/** Each takeover after the term `epoch`, oldest first. A term that never served is no end of one. */
export function takeoversAfter(epoch: number, noted: Noted): Phases[] {
  return noted.terms
    .filter((term) => term.epoch > epoch && term.phases.healthyMs !== null)
    .map((term) => phasesOf(term, noted))
    .reverse()
}

function phasesOf({ epoch, holder, phases }: PastTerm, noted: Noted): Phases {
  const { terms, logOf, calls, wallAtMono0 } = noted
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
