import { addAbortListener } from 'node:events'
import { type Clock, pause } from '../clock.ts'
import { formatDuration, seconds } from '../config/values.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import { historyOf, type Phases } from '../lease/lease-history.ts'
import { ANYBODY, podOf, switchoverOf } from '../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../observe/agent-status.ts'
import type { Operable } from './cluster.ts'
import { OperationError } from './exit-codes.ts'
import { serves } from './overview.ts'
import { isHandingOver, type Plan, withdraw } from './switchover.ts'

/** The phases of a switchover, in this order; one that was too short to be seen is left out. */
const PHASES = ['requested', 'draining', 'stopped', 'released', 'acquired', 'serving'] as const

export interface Phase {
  readonly phase: (typeof PHASES)[number]
  /** Whose it is. */
  readonly pod: string
  /** Milliseconds since the request was written, as seen from here. */
  readonly afterMs: number
}

/** A switchover that is over: a leader serves again. */
export interface Switched {
  readonly from: string
  /** The pod that serves; another one than was asked for if that one did not take over. */
  readonly to: string
  readonly epoch: number
  /** The leader ended before it could hand over, so that the Lease had to expire. */
  readonly crashed: boolean
  /** The time without a server, in milliseconds. */
  readonly gapMs: number
  /** Who measured that: the new leader, or this program, in steps of `LOOK_MS`. */
  readonly gapFrom: 'leader' | 'seen'
  readonly phases: readonly Phase[]
  /** What the gap consists of, in milliseconds, as both leaders noted it; `null`: unknown. */
  readonly took: ({ readonly stopMs: number | null } & Phases) | null
}

/** Time between two looks at Lease and replicas, and how long a replica may take to answer, in milliseconds. */
const LOOK_MS = 250
const STATUS_WITHIN_MS = 2_000
/** How many retry periods the new leader has to note the time without a server in the Lease. */
const NOTED_WITHIN_RETRIES = 2

interface Follow {
  /** Milliseconds from the request to the time-out. */
  readonly timeoutMs: number
  /** Ctrl-C. */
  readonly signal: AbortSignal
  /** Called for each phase, the first time it is seen. */
  readonly tell: (phase: Phase) => void
}

/**
 * Looks at Lease and replicas again and again, from the moment of the request until a leader serves. Rejects with an `OperationError`
 * if it came to nothing, and after time-out and Ctrl-C; then the request is taken back, unless the leader has begun with it.
 */
export async function followSwitchover(
  cluster: Operable,
  clock: Clock,
  plan: Plan,
  { timeoutMs, signal, tell }: Follow,
): Promise<Switched> {
  const progress = new SwitchoverProgress(plan, clock, tell)
  const limit = new AbortController()
  const timer = clock.after(timeoutMs, () => limit.abort('timed_out'))
  using _ = addAbortListener(signal, () => limit.abort('interrupted'))
  const ended = new Promise<void>((resolve) => addAbortListener(limit.signal, () => resolve()))
  let problem = ''
  const look = async () => ({
    lease: await cluster.lease(),
    rows: await cluster.replicas(STATUS_WITHIN_MS),
  })
  try {
    for (;;) {
      // If nothing can be read for a moment, such as during a restart of the API server, the next look may succeed.
      const seen = await Promise.race([look().catch((error: Error) => error), ended])
      if (seen !== undefined) problem = seen instanceof Error ? `: ${seen.message}` : ''
      if (seen !== undefined && !(seen instanceof Error)) progress.saw(seen.lease, seen.rows)
      const { aborted, reason } = limit.signal
      const switched = progress.outcome(aborted)
      if (switched !== null) return switched
      if (aborted) {
        const late = `nobody else serves after ${formatDuration(timeoutMs)}${problem}`
        const cause = reason === 'timed_out' ? late : 'interrupted'
        throw new OperationError(reason, `${cause}: ${await givenUp(cluster, plan, progress.begun)}`)
      }
      await pause(clock, LOOK_MS, ended)
    }
  } finally {
    timer.cancel()
  }
}

/** Takes the request back, and says what became of it. */
async function givenUp(cluster: Operable, plan: Plan, begun: boolean): Promise<string> {
  const fate = await withdraw(cluster, plan).catch((error: Error) => error.message)
  if (begun || fate === 'begun')
    return `${plan.from} had begun to hand over already, which goes on; see langflow-leader status`
  return fate === 'withdrawn' ? 'the request is taken back' : fate
}

/** The phases that were seen of a switchover, and its outcome. */
class SwitchoverProgress {
  private readonly plan: Plan
  private readonly clock: Clock
  private readonly tell: (phase: Phase) => void
  private readonly since: number
  private readonly phases: Phase[] = []
  private lease: Lease | null = null
  private epoch: number
  /** The pod of the leader, or of the one that follows it. */
  private subject: string
  /** Deadline for the new leader's note on the time without a server, in monotonic milliseconds; `null`: it does not serve yet. */
  private notedBy: number | null = null

  /** The request has just been written. */
  constructor(plan: Plan, clock: Clock, tell: (phase: Phase) => void) {
    this.plan = plan
    this.clock = clock
    this.tell = tell
    this.since = clock.mono()
    this.epoch = plan.epoch
    this.subject = plan.from
    this.reach('requested', plan.candidates.join(' or '))
  }

  /** The leader has begun to hand over. */
  get begun(): boolean {
    return this.phases.length > 1
  }

  /** Throws an `OperationError` if nothing will come of it. @param rows read after the Lease */
  saw(lease: Lease, rows: readonly ReplicaRow[]): void {
    this.lease = lease
    if (holderOf(lease) === '') this.reach('released', this.subject)
    else if (epochOf(lease) > this.epoch) {
      // If another replica takes over from the new leader, it begins anew.
      this.epoch = epochOf(lease)
      this.subject = podOf(holderOf(lease))
      this.notedBy = null
      this.reach('acquired', this.subject)
    }
    const status = rows.find(({ pod }) => pod === this.subject)?.status ?? null
    if (status === null || this.notedBy !== null) return
    if (this.epoch > this.plan.epoch) {
      if (!serves(status) || status.lease.epoch !== this.epoch) return
      this.reach('serving', this.subject)
      this.notedBy = this.clock.mono() + NOTED_WITHIN_RETRIES * status.timings.retryPeriodMs
    } else if (isHandingOver(status)) {
      this.reach('draining', this.subject)
      if (status.workload.state === 'idle') this.reach('stopped', this.subject)
    } else if (switchoverOf(lease) !== this.plan.to && status.lease.self) {
      throw new OperationError('refused', whyRefused(status, this.plan))
    }
  }

  /** `null`: it is not over. @param isLast do not wait for the new leader's note: the time that was seen has to do */
  outcome(isLast: boolean): Switched | null {
    if (this.notedBy === null) return null
    const terms = historyOf(this.lease)
    const before = terms.find(({ epoch }) => epoch === this.plan.epoch)
    const after = terms.find(({ epoch }) => epoch === this.epoch)
    const notedMs = after?.gapMs ?? null
    if (notedMs === null && !isLast && this.clock.mono() < this.notedBy) return null
    const seenMs = (this.phases.at(-1)?.afterMs ?? 0) - (this.phases[1]?.afterMs ?? 0)
    return {
      from: this.plan.from,
      to: this.subject,
      epoch: this.epoch,
      crashed: before?.endedBecause === 'expired',
      gapMs: Math.round(notedMs ?? seenMs),
      gapFrom: notedMs === null ? 'seen' : 'leader',
      phases: this.phases,
      took: after === undefined ? null : { stopMs: before?.stopMs ?? null, ...after.phases },
    }
  }

  private reach(phase: Phase['phase'], pod: string): void {
    const last = this.phases.at(-1)
    if (last !== undefined && last.pod === pod && PHASES.indexOf(phase) <= PHASES.indexOf(last.phase)) return
    const reached = { phase, pod, afterMs: Math.round(this.clock.mono() - this.since) }
    this.phases.push(reached)
    this.tell(reached)
  }
}

function whyRefused({ switchover }: AgentStatus, { from, to }: Plan): string {
  return switchover?.state === 'refused' && switchover.to === to
    ? `${from} refuses to hand over: ${switchover.reason}`
    : `somebody else took the request back before ${from} had begun with it`
}

/** Another pod leads than was asked for, or the same as before. */
export function isElsewhere({ from, to }: Switched, { to: asked }: Plan): boolean {
  return to === from || (asked !== ANYBODY && to !== asked)
}

/** `   1.3 s  released   langflow-0` */
export function phaseLine({ phase, pod, afterMs }: Phase): string {
  return `${seconds(afterMs).padStart(8)}  ${phase.padEnd(9)}  ${pod}\n`
}

/** What came of it, for people: one sentence each line. */
export function describeSwitched(switched: Switched, plan: Plan): string {
  const { from, to, crashed, gapMs, gapFrom, took } = switched
  const parts = Object.entries(took ?? {}).flatMap(([name, ms]) =>
    ms === null ? [] : [`${name.slice(0, -'Ms'.length)} ${seconds(ms)}`],
  )
  const gap = `${gapFrom === 'seen' ? 'about ' : ''}${seconds(gapMs)}${parts.length > 0 ? ` (${parts.join(', ')})` : ''}`
  const leads = to === from ? `${to} leads and serves again` : `${to} leads and serves instead of ${from}`
  const lines = [`${leads}; nobody served for ${gap}`]
  if (crashed) lines.push(`${from} ended before it could hand over: its Lease had to expire`)
  if (isElsewhere(switched, plan))
    lines.push(`${plan.candidates.join(' or ')} was to lead, and does not: see langflow-leader history`)
  return `${lines.join('\n')}\n`
}
