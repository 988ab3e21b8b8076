import { addAbortListener } from 'node:events'
import { type Clock, pause } from '../clock.ts'
import { formatDuration, seconds } from '../config/values.ts'
import type { Lease } from '../lease/lease.ts'
import type { ReplicaRow } from '../status/agent-status.ts'
import type { Operable } from './cluster.ts'
import { OperationError } from './exit-codes.ts'

/** The phases of an operator's request, in this order. A phase that is shorter than the time between two reads may be missing. */
export const PHASES = ['requested', 'draining', 'stopped', 'released', 'acquired', 'serving'] as const

export interface Phase {
  readonly phase: (typeof PHASES)[number]
  /** The pod in this phase. */
  readonly pod: string
  /** Milliseconds from the write of the request to the first read that showed the phase. */
  readonly afterMs: number
}

export interface Limits {
  /** Milliseconds from the request to the time-out. */
  readonly timeoutMs: number
  /** Aborts on Ctrl-C. */
  readonly signal: AbortSignal
}

export interface Follow extends Limits {
  /** Called for each phase when it is first read. */
  readonly tell: (phase: Phase) => void
}

/** A request that is followed to its outcome. */
interface Followed<Seen, Outcome> {
  readonly look: () => Promise<Seen>
  /** Throws an `OperationError` if the request is refused. */
  readonly saw: (seen: Seen) => void
  /** `null` if there is no outcome yet. @param isLast do not wait for details */
  readonly outcome: (isLast: boolean) => Outcome | null
  /** What has not happened at the time-out, such as `no other replica serves`. */
  readonly missing: string
  /** Withdraws the request. Resolves to the result, for a sentence. */
  readonly giveUp: () => Promise<string>
}

/** Time between two reads, in milliseconds. */
const LOOK_MS = 250
/** Deadline of a replica's answer, in milliseconds. */
const STATUS_WITHIN_MS = 2_000

/** The Lease, and then its replicas. */
export async function lookAt(cluster: Operable): Promise<{ lease: Lease; rows: readonly ReplicaRow[] }> {
  return { lease: await cluster.lease(), rows: await cluster.replicas(STATUS_WITHIN_MS) }
}

/** Rejects with an `OperationError` if the request is refused, after the time-out, and after Ctrl-C. */
export async function follow<Seen, Outcome>(
  clock: Clock,
  { timeoutMs, signal }: Limits,
  { look, saw, outcome, missing, giveUp }: Followed<Seen, Outcome>,
): Promise<Outcome> {
  const limit = new AbortController()
  const timer = clock.after(timeoutMs, () => limit.abort('timed_out'))
  using _ = addAbortListener(signal, () => limit.abort('interrupted'))
  const ended = new Promise<void>((resolve) => addAbortListener(limit.signal, () => resolve()))
  let problem = ''
  try {
    for (;;) {
      // After a failed read, such as during a restart of the API server, the next read may succeed.
      const seen = await Promise.race([look().catch((error: Error) => error), ended])
      if (seen !== undefined) problem = seen instanceof Error ? `: ${seen.message}` : ''
      if (seen !== undefined && !(seen instanceof Error)) saw(seen)
      const { aborted, reason } = limit.signal
      const reached = outcome(aborted)
      if (reached !== null) return reached
      if (aborted) {
        const late = `${missing} after ${formatDuration(timeoutMs)}${problem}`
        const cause = reason === 'timed_out' ? late : 'interrupted'
        throw new OperationError(reason, `${cause}: ${await giveUp()}`)
      }
      await pause(clock, LOOK_MS, ended)
    }
  } finally {
    timer.cancel()
  }
}

/** Phases as they are reached, in order. */
export class PhaseLog {
  readonly phases: Phase[] = []
  private readonly clock: Pick<Clock, 'mono'>
  private readonly tell: (phase: Phase) => void
  private readonly since: number

  constructor(clock: Pick<Clock, 'mono'>, tell: (phase: Phase) => void) {
    this.clock = clock
    this.tell = tell
    this.since = clock.mono()
  }

  /** Whether the leader has begun to obey. */
  get begun(): boolean {
    return this.phases.length > 1
  }

  /** Milliseconds from the first phase after the request to the last one. */
  get lastedMs(): number {
    return (this.phases.at(-1)?.afterMs ?? 0) - (this.phases[1]?.afterMs ?? 0)
  }

  /** A phase that was reached already, or an earlier one of the same pod, is left out. */
  reach(phase: Phase['phase'], pod: string): void {
    const last = this.phases.at(-1)
    if (last !== undefined && last.pod === pod && PHASES.indexOf(phase) <= PHASES.indexOf(last.phase)) return
    const reached = { phase, pod, afterMs: Math.round(this.clock.mono() - this.since) }
    this.phases.push(reached)
    this.tell(reached)
  }
}

/** `   1.3 s  released   langflow-0` */
export function phaseLine({ phase, pod, afterMs }: Phase): string {
  return `${seconds(afterMs).padStart(8)}  ${phase.padEnd(9)}  ${pod}\n`
}
