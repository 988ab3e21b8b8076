import { type Clock, systemClock } from '../clock.ts'
import { listed, seconds } from '../config/values.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import { historyOf, type Phases } from '../lease/lease-history.ts'
import { ANY_POD, podOf, REQUEST_REASON, requestOf, SWITCHOVER_TO } from '../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../status/agent-status.ts'
import type { Operable } from './cluster.ts'
import { OperationError } from './exit-codes.ts'
import { type Follow, follow, lookAt, type Phase, PhaseLog, phaseLine } from './following.ts'
import { serves } from './overview.ts'
import type { Request } from './request-run.ts'
import { isHandingOver, type Plan, planSwitchover, whyUnable, withdraw } from './switchover.ts'

/** A completed switchover: a leader serves again. */
export interface Switched {
  readonly from: string
  /** The pod that serves. It differs from the requested pod if that pod did not take over. */
  readonly to: string
  readonly epoch: number
  /** Whether the leader ended before it released the Lease, so that the Lease had to expire. */
  readonly crashed: boolean
  /** The time without a server, in milliseconds. */
  readonly gapMs: number
  /** The source of `gapMs`: the new leader, or this program, which reads four times a second. */
  readonly gapFrom: 'leader' | 'seen'
  readonly phases: readonly Phase[]
  /** Why the old leader cannot take over yet, in one sentence; `null` if it can, or if it leads again. */
  readonly unready: string | null
  /** The parts of the gap, in milliseconds, as both leaders recorded them; `null` if unknown. */
  readonly took: ({ readonly stopMs: number | null } & Phases) | null
}

/** Deadline for the new leader to record the time without a server in the Lease, in retry periods. */
const NOTED_WITHIN_RETRIES = 2

/** A switchover. @param to the name of a pod, or `*` */
export function switchover(
  to: string,
  reason: string | null,
  clock: Clock = systemClock,
): Request<Plan, Switched> {
  return {
    notes: { [SWITCHOVER_TO]: to, [REQUEST_REASON]: reason },
    plan: (lease, rows) => planSwitchover(lease, rows, to, clock.now().wall),
    question: ({ from, candidates }) => `Switch over from ${from} to ${listed(candidates, 'or')}?`,
    describe: ({ from, candidates }) => `a handover from ${from} to ${listed(candidates, 'or')}`,
    requested: ({ from, candidates }) => ({ asked: to, from, candidates }),
    follow: (cluster, plan, follow) => followSwitchover(cluster, clock, plan, follow),
    phaseLine: switchoverLine,
    outcome: (switched, plan) => {
      const ok = !isElsewhere(switched, plan)
      const result = { result: ok ? 'switched' : 'elsewhere', asked: to, ...switched }
      return { ok, result, text: describeSwitched(switched, plan) }
    },
  }
}

/**
 * Reads Lease and replicas from the request until a leader serves. Rejects with an `OperationError` if the switchover is refused,
 * after the time-out, and after Ctrl-C. After time-out and Ctrl-C, the request is withdrawn unless the handover has already started.
 */
export async function followSwitchover(
  cluster: Operable,
  clock: Clock,
  plan: Plan,
  { tell, ...limits }: Follow,
): Promise<Switched> {
  const progress = new SwitchoverProgress(plan, clock, tell)
  return follow(clock, limits, {
    look: () => lookAt(cluster),
    saw: ({ lease, rows }) => progress.saw(lease, rows),
    outcome: (isLast) => progress.outcome(isLast),
    missing: 'no other replica serves',
    giveUp: () => givenUp(cluster, plan, progress.begun),
  })
}

/** Withdraws the request. Resolves to the result, for a sentence. */
async function givenUp(cluster: Operable, plan: Plan, begun: boolean): Promise<string> {
  const fate = await withdraw(cluster, plan).catch((error: Error) => error.message)
  if (begun || fate === 'begun')
    return `${plan.from} has already started the handover, which continues; see langflow-leader status`
  return fate === 'withdrawn' ? 'the request was withdrawn' : fate
}

/** The phases of a switchover so far, and its outcome. */
class SwitchoverProgress {
  private readonly plan: Plan
  private readonly clock: Clock
  private readonly log: PhaseLog
  private lease: Lease | null = null
  private rows: readonly ReplicaRow[] = []
  private epoch: number
  /** The pod of the old leader, until another replica acquires the Lease; then that replica's pod. */
  private subject: string
  /** Deadline for the new leader to record the time without a server, in monotonic ms; `null` until the new leader serves. */
  private notedBy: number | null = null

  /** To be called immediately after the request is written. */
  constructor(plan: Plan, clock: Clock, tell: (phase: Phase) => void) {
    this.plan = plan
    this.clock = clock
    this.log = new PhaseLog(clock, tell)
    this.epoch = plan.epoch
    this.subject = plan.from
    this.log.reach('requested', plan.candidates.join(' or '))
  }

  /** Whether the leader has started the handover. */
  get begun(): boolean {
    return this.log.begun
  }

  /** Throws an `OperationError` if the leader refuses the switchover. @param rows read after the Lease */
  saw(lease: Lease, rows: readonly ReplicaRow[]): void {
    this.lease = lease
    this.rows = rows
    if (holderOf(lease) === '') this.log.reach('released', this.subject)
    else if (epochOf(lease) > this.epoch) {
      // Another replica may take over from the new leader. The phases then start again from `acquired`.
      this.epoch = epochOf(lease)
      this.subject = podOf(holderOf(lease))
      this.notedBy = null
      this.log.reach('acquired', this.subject)
    }
    const status = rows.find(({ pod }) => pod === this.subject)?.status ?? null
    if (status === null || this.notedBy !== null) return
    if (this.epoch > this.plan.epoch) {
      if (!serves(status) || status.lease.epoch !== this.epoch) return
      this.log.reach('serving', this.subject)
      this.notedBy = this.clock.mono() + NOTED_WITHIN_RETRIES * status.timings.retryPeriodMs
    } else if (isHandingOver(status)) {
      this.log.reach('draining', this.subject)
      if (status.workload.state === 'idle') this.log.reach('stopped', this.subject)
    } else if (!isRequested(lease, this.plan) && status.lease.self) {
      throw new OperationError('refused', whyRefused(status, this.plan))
    }
  }

  /** `null` until a leader serves. @param isLast do not wait for the new leader's record; use the time as read from here */
  outcome(isLast: boolean): Switched | null {
    if (this.notedBy === null) return null
    const terms = historyOf(this.lease)
    const before = terms.find(({ epoch }) => epoch === this.plan.epoch)
    const after = terms.find(({ epoch }) => epoch === this.epoch)
    const notedMs = after?.gapMs ?? null
    if (notedMs === null && !isLast && this.clock.mono() < this.notedBy) return null
    return {
      from: this.plan.from,
      to: this.subject,
      epoch: this.epoch,
      crashed: before?.endedBecause === 'expired',
      gapMs: Math.round(notedMs ?? this.log.lastedMs),
      gapFrom: notedMs === null ? 'seen' : 'leader',
      phases: this.log.phases,
      unready:
        this.subject === this.plan.from
          ? null
          : whyUnable(this.rows.find(({ pod }) => pod === this.plan.from)),
      took: after === undefined ? null : { stopMs: before?.stopMs ?? null, ...after.phases },
    }
  }
}

function isRequested(lease: Lease, { to }: Plan): boolean {
  const asked = requestOf(lease)
  return asked?.what === 'switchover' && asked.to === to
}

function whyRefused({ switchover }: AgentStatus, { from, to }: Plan): string {
  return switchover?.state === 'refused' && switchover.to === to
    ? `${from} refuses to hand over: ${switchover.reason}`
    : `another operator withdrew the request before ${from} started the handover`
}

/** Whether the leader is not the requested pod, or is the same pod as before. */
export function isElsewhere(
  { from, to }: { readonly from: string; readonly to: string },
  { to: asked }: { readonly to: string },
): boolean {
  return to === from || (asked !== ANY_POD && to !== asked)
}

/** The new leader, and the one before, for a sentence. */
export function describeLeader({ from, to }: { readonly from: string; readonly to: string }): string {
  return to === from ? `${to} leads and serves again` : `${to} leads and serves instead of ${from}`
}

/** After the last phase, the command still waits for the new leader's record. */
export function switchoverLine(phase: Phase): string {
  const line = phaseLine(phase)
  return phase.phase === 'serving'
    ? line.replace('\n', ', which now records the time without a server\n')
    : line
}

/** The result for people, one sentence a line. */
export function describeSwitched(switched: Switched, plan: Plan): string {
  const { from, crashed, gapMs, gapFrom, unready, took } = switched
  const parts = Object.entries(took ?? {}).flatMap(([name, ms]) =>
    ms === null ? [] : [`${name.slice(0, -'Ms'.length)} ${seconds(ms)}`],
  )
  const gap = `${gapFrom === 'seen' ? 'about ' : ''}${seconds(gapMs)}${parts.length > 0 ? ` (${parts.join(', ')})` : ''}`
  const lines = [`${describeLeader(switched)}; no replica served for ${gap}`]
  if (crashed) lines.push(`${from} ended before it released the Lease, so the Lease had to expire`)
  if (isElsewhere(switched, plan))
    lines.push(`${listed(plan.candidates, 'or')} did not become the leader: see langflow-leader history`)
  if (unready !== null) lines.push(`${from} cannot take over yet: ${unready}; see langflow-leader status`)
  return `${lines.join('\n')}\n`
}
