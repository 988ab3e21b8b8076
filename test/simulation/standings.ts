import { holderOf, type Lease, successorOf } from '../../agent/lease/lease.ts'
import { pauseOf } from '../../agent/lease/operator-annotations.ts'
import type { Commit } from './api-server.ts'
import type { Fault } from './faults/fault.ts'
import { concerned, FAULTS, LEASE_KINDS } from './faults/kinds.ts'
import type { Judge } from './judge.ts'
import { isAcquisition } from './knowledge.ts'
import type { Replica } from './replica.ts'
import { Violation } from './violation.ts'

/** Allowance for timers, replies, and the drift between two clocks in a lease duration. */
const SLACK_MS = 150
/** Allowance from the acquiring write to the start, and from the first healthy moment to the probe that notices it. */
const STEPS_MS = 500
/** Deadline of a read, or of opening a watch, before the next attempt. */
const REQUEST_MS = 5_000
/** Retry periods of silence on the watch, after which the product checks it. */
const SILENT_RETRIES = 2.5
const LOOK_MS = 500
/** Time in which two agents with one identity have both noticed the conflict, and have been restarted. */
const IDENTITY_CONFLICT_MS = 60_000

interface Standing {
  /** Real time until which a fault affects it. */
  disturbedUntil: number
  /** Real time since which it can take over, undisturbed. `null`: it can't. */
  fitSince: number | null
  deadAt: number
  preparedAt: number
}

interface Taking {
  readonly by: Replica
  readonly instance: string
  readonly takenAt: number
  readonly servesBy: number
}

/**
 * Judges rule 11 after each step: an undisturbed prepared candidate takes the Lease within lease duration + retry period of
 * the last renewal, before each unprepared one, and serves in time. Faults of the other replicas don't excuse it.
 */
export class Standings {
  private readonly judge: Judge
  private readonly standings: ReadonlyMap<Replica, Standing>
  private writtenAt = 0
  /** How long candidates must wait after it. */
  private waitMs = 0
  /** A person wrote the Lease last. A candidate's wait may then begin only at its next read. */
  private edited = true
  private lease: Lease | null = null
  private taking: Taking | null = null
  private longestMs = 0

  constructor(judge: Judge) {
    this.judge = judge
    const never = Number.NEGATIVE_INFINITY
    this.standings = new Map(
      this.replicas.map((replica) => [
        replica,
        { disturbedUntil: 0, fitSince: null, deadAt: never, preparedAt: 0 },
      ]),
    )
  }

  private get now(): number {
    return this.judge.world.timeline.now
  }

  private get replicas(): readonly Replica[] {
    return this.judge.world.replicas
  }

  struck(fault: Fault): void {
    const { kind, at, ms, degree } = fault
    // A person's edit disturbs no replica. `committed` judges it as a write.
    if (LEASE_KINDS.includes(kind)) return
    const until =
      at +
      ms +
      (FAULTS[kind].trails?.(degree) ?? 0) +
      (kind === 'identity used twice' ? IDENTITY_CONFLICT_MS : 0)
    for (const index of concerned(fault, this.replicas.length)) {
      const standing = this.of(this.replicas[index] as Replica)
      // A dead connection doesn't excuse a replica. It must notice that, and its other connections still work.
      if (FAULTS[kind].connections) continue
      standing.disturbedUntil = Math.max(standing.disturbedUntil, until)
      standing.fitSince = null
    }
  }

  committed({ before, after, writer }: Commit): void {
    if (writer !== null && after !== null && isAcquisition(after)) this.taken(before, after, writer)
    const recorded = (lease: Lease | null) => (lease?.spec?.leaseDurationSeconds ?? 0) * 1_000
    const wasEdited = this.edited
    this.edited = writer === null
    this.longestMs = Math.max(this.longestMs, recorded(after))
    if (this.edited) this.waitMs = Math.max(this.waitMs, recorded(before), recorded(after))
    else if (after !== null && holderOf(after) !== '') this.waitMs = recorded(after)
    // A release after a person's edit may undo the epoch of the edit. Candidates that have read the edit don't accept it.
    else this.waitMs = wasEdited ? this.longestMs : 0
    this.writtenAt = this.now
    this.lease = after
    if (this.edited) this.taking = null
  }

  /** A replica that reports that it could take over must have had a recent answer from the API server. */
  reportsReady({ instance, config, knowledge, kernel, agent }: Replica): void {
    // A Lease without a holder isn't renewed, so that its watch is silent.
    if (this.waitMs === 0 || knowledge.holder === '') return
    const toleratedMs = Math.max(config.leaseDurationMs, this.waitMs, this.longestMs) + config.retryPeriodMs
    // An agent that was blocked in the middle of a turn still counts an earlier answer as new.
    const resumedAt = agent?.process.stoodInTurn ? agent.process.thawedAt : Number.NEGATIVE_INFINITY
    const answeredAt = Math.max(knowledge.answeredAt, resumedAt)
    const silentMs = this.now - answeredAt - kernel.unseenOrWallOnlySince(answeredAt)
    if (silentMs > toleratedMs + SLACK_MS)
      throw new Violation(
        'rule 11',
        `${instance} reports that it could take over, but had no answer from the API server for ${Math.round(silentMs)} ms`,
      )
  }

  /** Called after each step. */
  look(): void {
    const { now } = this
    for (const replica of this.replicas) {
      const standing = this.of(replica)
      if (replica.network.blackHoled) standing.deadAt = now
      if (replica.prepared) standing.preparedAt = now
      const { versions, revisions } = this.judge
      const competes = !versions.keepsAway(replica.config) && !revisions.yields(replica.config)
      // With failsafe, a leader may go on without renewals, and only members take over in time.
      const { failsafe } = this.judge.world
      const fit = isFit(replica) && !this.isPaused(replica) && competes && !failsafe
      if (now < standing.disturbedUntil || !fit) standing.fitSince = null
      else standing.fitSince ??= now
      if (standing.fitSince !== null && now > this.leadsBy(replica, standing)) this.late(replica, standing)
    }
    this.checkTaking(now)
  }

  private isPaused({ kernel }: Replica): boolean {
    return this.lease?.metadata.annotations !== undefined && pauseOf(this.lease, kernel.now().wall) !== null
  }

  private leadsBy({ config, identity }: Replica, { fitSince, deadAt }: Standing): number {
    const { retryPeriodMs, renewDeadlineMs, leaseDurationMs } = config
    const { writtenAt, waitMs, edited, lease } = this
    const since = fitSince as number
    // A replica that was disturbed, or has just started, reads the Lease first.
    const from = Math.max(writtenAt, since + REQUEST_MS + retryPeriodMs)
    // After an edit, candidates wait for the longest duration that the holder may count on.
    const wait = edited ? Math.max(this.longestMs, leaseDurationMs) + 2 * retryPeriodMs : waitMs
    // A holder with a longer lease duration renews less often.
    const silence = SILENT_RETRIES * retryPeriodMs * Math.max(1, this.longestMs / leaseDurationMs)
    const dead = Math.max(silence, renewDeadlineMs / 5) + LOOK_MS
    const named = lease === null ? null : successorOf(lease)
    const courtesy = waitMs === 0 && named !== null && named !== identity ? retryPeriodMs : 0
    return from + wait + (deadAt >= writtenAt ? dead + courtesy : retryPeriodMs) + SLACK_MS
  }

  private late(replica: Replica, { fitSince, deadAt }: Standing): never {
    const ago = (time: number) => `${Math.round(this.now - time)} ms`
    const dead = deadAt >= this.writtenAt ? ', although some connections were dead,' : ''
    throw new Violation(
      'rule 11',
      `${replica.instance} is prepared and undisturbed for ${ago(fitSince as number)}${dead} but doesn't lead ${ago(this.writtenAt)} after the last write`,
    )
  }

  private taken(before: Lease | null, after: Lease, writer: string): void {
    const by = this.replicas.find(({ instance }) => instance === writer)
    this.taking = null
    if (by === undefined) return
    const { agent } = by
    const { fitSince, preparedAt } = this.of(by)
    // Its state when it sent the write counts, not its current one.
    const sentAt = by.knowledge.sentAs(after)?.at ?? this.now
    if (fitSince !== null && fitSince <= sentAt) {
      const startMs = by.config.standby === 'cold' ? by.behaviour.startMs : by.behaviour.preparedStartMs
      const takenAt = this.now
      this.taking = { by, instance: writer, takenAt, servesBy: takenAt + startMs + STEPS_MS }
    } else if (!by.prepared && preparedAt < sentAt && !agent?.elector.state.workload.prepared) {
      // It is excused if it had been prepared when it sent the write, or if its agent still counts it as prepared.
      this.checkPrecedence(before, by)
    }
  }

  /** Checks that an unprepared replica didn't take the Lease before an undisturbed prepared one. */
  private checkPrecedence(before: Lease | null, by: Replica): void {
    if (this.edited || before === null) return
    // Candidates that have read a person's edit do not accept the release that follows it.
    if (holderOf(before) === '' && this.waitMs > 0) return
    // It was the named successor, or the holder itself.
    if (successorOf(before) === by.identity || holderOf(before) === by.identity) return
    for (const other of this.replicas) {
      const { fitSince, deadAt } = this.of(other)
      const { retryPeriodMs } = other.config
      if (other === by || other.config.standby === 'cold' || fitSince === null) continue
      const undisturbed = fitSince + REQUEST_MS + retryPeriodMs < this.writtenAt && deadAt < this.writtenAt
      // With different retry periods, the unprepared replica's delay may end first.
      if (!undisturbed || 2 * by.config.retryPeriodMs < retryPeriodMs + SLACK_MS) continue
      throw new Violation(
        'rule 11',
        `${by.instance} took the Lease unprepared, although ${other.instance} was prepared and undisturbed`,
      )
    }
  }

  private checkTaking(now: number): void {
    if (this.taking === null) return
    const { by, instance, takenAt, servesBy } = this.taking
    const leads = by.instance === instance && this.leads(by, takenAt)
    if (by.ready || !leads) this.taking = null
    else if (now > servesBy)
      throw new Violation(
        'rule 11',
        `${instance} was prepared when it took the Lease, but doesn't serve in time`,
      )
  }

  /** Whether the replica still leads, undisturbed, and isn't handing over. Its term begins shortly after `takenAt`. */
  private leads(replica: Replica, takenAt: number): boolean {
    if (!isUndisturbed(replica) || this.now < this.of(replica).disturbedUntil) return false
    const { term } = replica.agent?.elector.state ?? { term: null }
    return term === null ? this.now - takenAt < SLACK_MS : term.stepDown === null
  }

  private of(replica: Replica): Standing {
    return this.standings.get(replica) as Standing
  }
}

/** Whether the replica could take the Lease now: it is prepared, without a term or workload, and without a cool-down. */
function isFit(replica: Replica): boolean {
  const { agent, workload } = replica
  if (!isUndisturbed(replica) || workload?.present || !replica.prepared) return false
  const { state } = agent?.elector ?? {}
  if (state === undefined || agent === null || state.term !== null || state.ending !== null) return false
  return (state.coolDown?.until ?? 0) <= agent.process.kernel.mono()
}

function isUndisturbed({ agent, launcher, socket, instance, identity, ending }: Replica): boolean {
  if (!agent?.process.runs || !launcher?.process.runs || !socket.agent?.connected) return false
  return identity === instance && !ending
}
