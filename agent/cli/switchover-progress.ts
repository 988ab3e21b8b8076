import { type Clock, pause, type Timer } from '../clock.ts'
import { formatDuration } from '../config/values.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import { historyOf, type Phases } from '../lease/lease-history.ts'
import { ANYBODY, podOf, switchoverOf } from '../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../observe/agent-status.ts'
import type { Operable } from './annotate-lease.ts'
import { OperationError } from './exit-codes.ts'
import { FrontsSeen, type Held, mostOf } from './held-requests.ts'
import { serves } from './overview.ts'
import { isHandingOver, type Plan, withdraw } from './switchover.ts'

/** What a switchover goes through, in this order; one that was too short to be seen is left out. */
const PHASES = ['requested', 'draining', 'stopped', 'released', 'acquired', 'serving'] as const

export type PhaseName = (typeof PHASES)[number]

export interface Phase {
  readonly phase: PhaseName
  /** Whose it is. */
  readonly pod: string
  /** Milliseconds since the request was written, as seen from here. */
  readonly afterMs: number
  /** What was seen to wait at the fronts since the phase before; `null`: no replica has one. */
  readonly held: Held | null
}

/** A switchover that is over: somebody else serves. */
export interface Switched {
  readonly from: string
  /** Who serves; another one than was asked for where that one did not take over. */
  readonly to: string
  readonly epoch: number
  /** The leader ended before it could hand over, so that the Lease had to expire. */
  readonly crashed: boolean
  /** How long nobody served, in milliseconds. */
  readonly gapMs: number
  /** Who measured that: the new leader, or whoever looked on from here, in steps of `LOOK_MS`. */
  readonly gapFrom: 'leader' | 'seen'
  readonly phases: readonly Phase[]
  /** What was seen to wait at the fronts, all in all; `null`: no replica has one. */
  readonly held: Held | null
  /** What the gap consists of, in milliseconds, as both leaders noted it; `null`: unknown. */
  readonly took: ({ readonly stopMs: number | null } & Phases) | null
}

/** Time between two looks at the Lease, or at one replica, in milliseconds. */
const LOOK_MS = 250
/** How many retry periods the new leader has for writing how long nobody served. */
const NOTED_WITHIN_RETRIES = 2

/** Puts together what is seen of Lease and replicas. */
export class SwitchoverProgress {
  /** Who matters now: the leader, then whoever follows it. */
  subject: string
  /** The leader has taken the request out of the Lease, so that it knows it. */
  answered = false
  readonly phases: Phase[] = []
  private readonly plan: Plan
  private readonly clock: Clock
  private readonly tell: (phase: Phase) => void
  private readonly done = Promise.withResolvers<Switched>()
  private readonly since: number
  private epoch: number
  private fronts = new FrontsSeen()
  private held: Held | null = null
  private lease: Lease | null = null
  private served: AgentStatus | null = null
  private patience: Timer | null = null

  /** From now on; the request has just been written. `tell`: called for each phase. */
  constructor(plan: Plan, clock: Clock, tell: (phase: Phase) => void) {
    this.plan = plan
    this.clock = clock
    this.tell = tell
    this.since = clock.mono()
    this.subject = plan.from
    this.epoch = plan.epoch
    this.reach('requested', plan.to === ANYBODY ? plan.candidates.join(' or ') : plan.to)
  }

  /** Rejects with an `OperationError` where it came to nothing. */
  get switched(): Promise<Switched> {
    return this.done.promise
  }

  get begun(): boolean {
    return this.phases.length > 1
  }

  sawLease(lease: Lease): void {
    this.lease = lease
    const holder = holderOf(lease)
    const epoch = epochOf(lease)
    if (holder === '') this.reach('released', this.subject)
    else if (epoch > this.epoch) {
      this.epoch = epoch
      this.subject = podOf(holder)
      this.served = null
      this.patience?.cancel()
      // Whoever took over from the one that was meant begins anew.
      this.reach('acquired', this.subject)
    } else if (this.subject === this.plan.from && switchoverOf(lease) !== this.plan.to) this.answered = true
    if (this.served !== null) this.conclude(this.served)
  }

  /** Whether any of them may have a front. */
  sawFronts(rows: readonly ReplicaRow[]): boolean {
    return this.fronts.saw(rows) || rows.every(({ status }) => status === null)
  }

  /** @param knew whether the leader had taken the request out of the Lease before it was asked */
  sawStatus(pod: string, status: AgentStatus, knew: boolean): void {
    if (pod !== this.subject || this.served !== null) return
    if (this.epoch > this.plan.epoch) {
      if (serves(status) && status.lease.epoch === this.epoch) this.conclude(status)
    } else if (isHandingOver(status)) {
      this.reach('draining', pod)
      if (status.workload.state === 'idle') this.reach('stopped', pod)
    } else if (knew && status.lease.self) this.fail(status)
  }

  /** Once it serves, the new leader writes how long nobody did; where it does not, what was seen has to do. */
  private conclude(status: AgentStatus): void {
    if (this.served === null) {
      this.served = status
      this.reach('serving', this.subject)
      const { retryPeriodMs } = status.timings
      this.patience = this.clock.after(NOTED_WITHIN_RETRIES * retryPeriodMs, () => this.hurry())
    }
    const noted = this.term(this.epoch)?.gapMs ?? null
    if (noted !== null) this.end(noted, 'leader')
  }

  /** Whoever waits for the new leader's word alone waits no more. */
  hurry(): void {
    if (this.served !== null) this.end(this.seenGap(), 'seen')
  }

  /** Nothing comes any more. */
  close(): void {
    this.patience?.cancel()
  }

  private end(gapMs: number, gapFrom: Switched['gapFrom']): void {
    this.patience?.cancel()
    const { from, epoch } = this.plan
    const before = this.term(epoch)
    const after = this.term(this.epoch)
    this.done.resolve({
      from,
      to: this.subject,
      epoch: this.epoch,
      crashed: before?.endedBecause === 'expired',
      gapMs: Math.round(gapMs),
      gapFrom,
      phases: this.phases,
      held: this.heldSoFar(),
      took: after === undefined ? null : { stopMs: before?.stopMs ?? null, ...after.phases },
    })
  }

  private fail({ switchover }: AgentStatus): void {
    const { from, to } = this.plan
    const why =
      switchover?.state === 'refused' && switchover.to === to
        ? `${from} refuses to hand over: ${switchover.reason}`
        : `somebody else took the request back before ${from} had begun with it`
    this.done.reject(new OperationError('refused', why))
  }

  private term(epoch: number) {
    return historyOf(this.lease).find((term) => term.epoch === epoch)
  }

  private seenGap(): number {
    const first = this.phases.find(({ phase }) => phase !== 'requested') as Phase
    return (this.phases.at(-1) as Phase).afterMs - first.afterMs
  }

  private heldSoFar(): Held | null {
    return this.fronts.held === null ? this.held : mostOf(this.held, this.fronts.held)
  }

  private reach(phase: PhaseName, pod: string): void {
    const last = this.phases.at(-1)
    const place = PHASES.indexOf(phase)
    if (last !== undefined && place <= PHASES.indexOf(last.phase) && last.pod === pod) return
    const { held } = this.fronts
    this.held = this.heldSoFar()
    this.fronts = new FrontsSeen()
    const reached = { phase, pod, afterMs: Math.round(this.clock.mono() - this.since), held }
    this.phases.push(reached)
    this.tell(reached)
  }
}

interface Limits {
  /** Milliseconds from the request to the time-out. */
  readonly timeoutMs: number
  /** Ctrl-C. */
  readonly signal: AbortSignal
}

/**
 * Looks on from the moment of the request until somebody else serves. Rejects with an `OperationError` where it came to nothing,
 * and after time-out and Ctrl-C; the request is taken back then, unless the leader has begun with it.
 */
export async function followSwitchover(
  cluster: Operable,
  clock: Clock,
  plan: Plan,
  { timeoutMs, signal, tell }: Limits & { readonly tell: (phase: Phase) => void },
): Promise<Switched> {
  const progress = new SwitchoverProgress(plan, clock, tell)
  const given = Promise.withResolvers<'timed_out' | 'interrupted'>()
  const giveUp = (why: 'timed_out' | 'interrupted') => {
    progress.hurry()
    given.resolve(why)
  }
  const timer = clock.after(timeoutMs, () => giveUp('timed_out'))
  const interrupt = () => giveUp('interrupted')
  signal.addEventListener('abort', interrupt)
  if (signal.aborted) interrupt()
  let over = false
  let problem = ''
  const keepLooking = async (look: () => Promise<unknown>) => {
    while (!over) {
      // What cannot be seen for a moment, such as an API server that starts anew, is looked at again.
      const done = await look().catch((error: Error) => error)
      problem = done instanceof Error ? done.message : ''
      if (done === false) return
      await pause(clock, LOOK_MS)
    }
  }
  const atLease = async () => {
    progress.sawLease(await cluster.lease())
  }
  const atReplica = async () => {
    const { subject, answered } = progress
    progress.sawStatus(subject, await cluster.status(subject), answered)
  }
  void keepLooking(atLease)
  void keepLooking(atReplica)
  // What no replica has is looked at once.
  void keepLooking(async () => progress.sawFronts(await cluster.replicas()))
  try {
    const end = await Promise.race([progress.switched, given.promise])
    if (typeof end === 'object') return end
    over = true
    const cause =
      end === 'interrupted'
        ? end
        : `nobody else serves after ${formatDuration(timeoutMs)}${problem && `: ${problem}`}`
    throw new OperationError(end, `${cause}: ${await givenUp(cluster, plan, progress)}`)
  } finally {
    over = true
    timer.cancel()
    progress.close()
    signal.removeEventListener('abort', interrupt)
  }
}

/** Takes the request back, and says what became of it. */
async function givenUp(cluster: Operable, plan: Plan, progress: SwitchoverProgress): Promise<string> {
  const { from } = plan
  const fate = await withdraw(cluster, plan).catch((error: Error) => error.message)
  if (progress.begun || fate === 'begun')
    return `${from} had begun to hand over already, which goes on; see langflow-leader status`
  return fate === 'withdrawn' ? 'the request is taken back' : fate
}
