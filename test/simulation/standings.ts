import { coolDownEnds } from '../../agent/election/follower.ts'
import { holderOf, type Lease, successorOf } from '../../agent/lease/lease.ts'
import { pauseOf } from '../../agent/lease/operator-annotations.ts'
import { ASK_MS } from './agent-host.ts'
import type { Commit } from './api-server.ts'
import type { Fault } from './faults/fault.ts'
import { concerned, FAULTS, LEASE_KINDS } from './faults/kinds.ts'
import type { Judge } from './judge.ts'
import { isAcquisition } from './knowledge.ts'
import type { Replica } from './replica.ts'
import { Violation } from './violation.ts'

/** Timers, answers, and what two clocks differ by in a lease duration. */
const SLACK_MS = 150
/** From the write that acquires to the start, and from health to the probe that notices it. */
const STEPS_MS = 500
/** For reading, or opening a watch, before it is tried again. */
const REQUEST_MS = 5_000
/** Silence of a watch that is looked into, and the look. */
const SILENT_RETRIES = 2.5
const LOOK_MS = 500
/** A leader has asked the others twice. */
const ASKED_MS = 2 * ASK_MS + SLACK_MS
/** Two of one identity: until both have noticed, and were started again. */
const TWINS_MS = 60_000

interface Standing {
  /** Real time until which a fault concerns it. */
  disturbedUntil: number
  /** Real time since when it could take over, with nothing in its way; `null`: it could not. */
  fitSince: number | null
  /** Real time at which a connection of its was dead for the last time. */
  deadAt: number
  /** Real time at which it was prepared for the last time. */
  preparedAt: number
}

interface Taking {
  readonly by: Replica
  readonly instance: string
  readonly takenAt: number
  /** Real time by which it must serve. */
  readonly servesBy: number
}

/**
 * Rule 11, judged all along, whatever happens to others: a candidate that is prepared, and that nothing disturbs, leads
 * within lease duration and retry period of the last renewal, before any that is not prepared, and serves after its start.
 */
export class Standings {
  private readonly judge: Judge
  private readonly standings: ReadonlyMap<Replica, Standing>
  /** Real time of the last write, and for how long the Lease must be left alone from then on. */
  private writtenAt = 0
  private waitMs = 0
  /** People wrote it last: for whoever waits for it, its wait may begin only when it looks the next time. */
  private edited = true
  private lease: Lease | null = null
  private taking: Taking | null = null
  /** Who leads, was not prepared, and has not served yet. */
  private starting: { readonly by: Replica; readonly since: number } | null = null
  /** Agents that have led: one that handed over of its own accord does so again only much later. */
  private readonly led = new WeakSet<object>()
  /** The longest duration that a record has said. */
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
    // They are writes like others, and judged as such.
    if (LEASE_KINDS.includes(kind)) return
    const until = at + ms + (FAULTS[kind].trails?.(degree) ?? 0) + (kind === 'twin' ? TWINS_MS : 0)
    for (const index of concerned(fault, this.replicas.length)) {
      const standing = this.of(this.replicas[index] as Replica)
      // Of dead connections nobody is told; others are as good as ever, and so is this replica.
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
    // A release that undoes a person's epoch is believed by nobody who was shown that.
    else this.waitMs = wasEdited ? this.longestMs : 0
    this.writtenAt = this.now
    this.lease = after
    if (this.edited) this.taking = null
  }

  /** Whoever says that it could take over has heard from the API server lately. */
  saidReady({ instance, config, knowledge, kernel, agent }: Replica): void {
    // A Lease that nobody holds is renewed by nobody: that its watch brings nothing is as it should be.
    if (this.waitMs === 0 || knowledge.holder === '') return
    const toleratedMs = Math.max(config.leaseDurationMs, this.waitMs, this.longestMs) + config.retryPeriodMs
    // What stood still in the middle of a turn takes for new what it heard before.
    const goneOnAt = agent?.process.stoodInTurn ? agent.process.thawedAt : Number.NEGATIVE_INFINITY
    const heardAt = Math.max(knowledge.heardAt, goneOnAt)
    const deafMs = this.now - heardAt - kernel.untoldSince(heardAt)
    if (deafMs > toleratedMs + SLACK_MS)
      throw new Violation(
        'rule 11',
        `${instance} says that it could take over, and has not heard from the API server for ${Math.round(deafMs)} ms`,
      )
  }

  /** After each step. */
  look(): void {
    const { now } = this
    for (const replica of this.replicas) {
      const standing = this.of(replica)
      if (replica.network.blackHoled) standing.deadAt = now
      if (replica.prepared) standing.preparedAt = now
      const { versions, revisions } = this.judge
      const competes = !versions.keepsAway(replica.config) && !revisions.yields(replica.config)
      const fit = isFit(replica) && !this.isPaused(replica) && competes
      if (now < standing.disturbedUntil || !fit) standing.fitSince = null
      else standing.fitSince ??= now
      if (standing.fitSince !== null && now > this.leadsBy(replica, standing)) this.late(replica, standing)
    }
    this.checkTaking(now)
    this.checkStarting(now)
  }

  private isPaused({ kernel }: Replica): boolean {
    return this.lease?.metadata.annotations !== undefined && pauseOf(this.lease, kernel.now().wall) !== null
  }

  private leadsBy({ config, identity }: Replica, { fitSince, deadAt }: Standing): number {
    const { retryPeriodMs, renewDeadlineMs, leaseDurationMs } = config
    const { writtenAt, waitMs, edited, lease } = this
    const since = fitSince as number
    // One that was disturbed, or has only just begun, looks at the Lease first.
    const from = Math.max(writtenAt, since + REQUEST_MS + retryPeriodMs)
    // What a person has edited is left alone for as long as its holder may have been promised.
    const wait = edited ? Math.max(this.longestMs, leaseDurationMs) + 2 * retryPeriodMs : waitMs
    // A holder whose record says a longer duration than one's own renews more rarely.
    const silence = SILENT_RETRIES * retryPeriodMs * Math.max(1, this.longestMs / leaseDurationMs)
    const dead = Math.max(silence, renewDeadlineMs / 5) + LOOK_MS
    const named = lease === null ? null : successorOf(lease)
    const courtesy = waitMs === 0 && named !== null && named !== identity ? retryPeriodMs : 0
    return from + wait + (deadAt >= writtenAt ? dead + courtesy : retryPeriodMs) + SLACK_MS
  }

  private late(replica: Replica, { fitSince, deadAt }: Standing): never {
    const ago = (time: number) => `${Math.round(this.now - time)} ms`
    const dead = deadAt >= this.writtenAt ? ', over connections that had died,' : ''
    throw new Violation(
      'rule 11',
      `${replica.instance} is prepared, and nothing has disturbed it for ${ago(fitSince as number)}${dead} but it does not lead ${ago(this.writtenAt)} after the last write`,
    )
  }

  private taken(before: Lease | null, after: Lease, writer: string): void {
    const by = this.replicas.find(({ instance }) => instance === writer)
    this.taking = this.starting = null
    if (by === undefined) return
    const { agent } = by
    const first = agent !== null && !this.led.has(agent)
    if (agent !== null) this.led.add(agent)
    if (first && !by.prepared && this.judge.world.asks) this.starting = { by, since: this.now }
    const { fitSince, preparedAt } = this.of(by)
    // What it was when it decided to, not what it is by now.
    const sentAt = by.knowledge.sentAs(after)?.at ?? this.now
    if (fitSince !== null && fitSince <= sentAt) {
      const startMs = by.config.standby === 'cold' ? by.behaviour.startMs : by.behaviour.preparedStartMs
      const takenAt = this.now
      this.taking = { by, instance: writer, takenAt, servesBy: takenAt + startMs + STEPS_MS }
    } else if (!by.prepared && preparedAt < sentAt && !agent?.elector.state.workload.prepared) {
      // Nor what it has not heard of yet, such as the end of its launcher.
      this.checkPrecedence(before, by)
    }
  }

  /** One that is not prepared has taken the Lease. */
  private checkPrecedence(before: Lease | null, by: Replica): void {
    if (this.edited || before === null) return
    // What was given to it, or was its own.
    if (successorOf(before) === by.identity || holderOf(before) === by.identity) return
    for (const other of this.replicas) {
      const { fitSince, deadAt } = this.of(other)
      const { retryPeriodMs } = other.config
      if (other === by || other.config.standby === 'cold' || fitSince === null) continue
      const undisturbed = fitSince + REQUEST_MS + retryPeriodMs < this.writtenAt && deadAt < this.writtenAt
      // Of different retry periods the shorter one may be over first.
      if (!undisturbed || 2 * by.config.retryPeriodMs < retryPeriodMs + SLACK_MS) continue
      throw new Violation(
        'rule 11',
        `${by.instance} took the Lease unprepared, although ${other.instance} stood by prepared`,
      )
    }
  }

  private checkTaking(now: number): void {
    if (this.taking === null) return
    const { by, instance, takenAt, servesBy } = this.taking
    const goesOn = by.instance === instance && this.leads(by, takenAt)
    if (by.ready || !goesOn) this.taking = null
    else if (now > servesBy)
      throw new Violation('rule 11', `${instance} took the Lease prepared, and does not serve in time`)
  }

  /** A leader that asks the others does not go on starting from nothing where another one would serve at once. */
  private checkStarting(now: number): void {
    if (this.starting === null) return
    const { by, since } = this.starting
    if (by.ready || this.edited || !this.leads(by, since)) this.starting = null
    else
      for (const other of this.replicas) {
        const { fitSince } = this.of(other)
        const { standby, revision, retryPeriodMs } = other.config
        if (standby === 'cold' || revision !== by.config.revision || fitSince === null) continue
        const from = Math.max(since, fitSince + REQUEST_MS + retryPeriodMs)
        if (now > from + ASKED_MS)
          throw new Violation(
            'rule 11',
            `${by.instance} still starts, although ${other.instance} is prepared`,
          )
      }
  }

  /** One that took the Lease, undisturbed, and does not hand it over; of its success it hears a moment later. */
  private leads(replica: Replica, takenAt: number): boolean {
    if (!isUndisturbed(replica) || this.now < this.of(replica).disturbedUntil) return false
    const { term } = replica.agent?.elector.state ?? { term: null }
    return term === null ? this.now - takenAt < SLACK_MS : term.stepDown === null
  }

  private of(replica: Replica): Standing {
    return this.standings.get(replica) as Standing
  }
}

/** It could begin at any moment. */
function isFit(replica: Replica): boolean {
  const { agent, workload } = replica
  if (!isUndisturbed(replica) || workload?.present || !replica.prepared) return false
  const { state } = agent?.elector ?? {}
  if (state === undefined || agent === null || state.term !== null || state.ending !== null) return false
  return coolDownEnds(state) <= agent.process.kernel.mono()
}

function isUndisturbed({ agent, launcher, socket, instance, identity, ending }: Replica): boolean {
  if (!agent?.process.runs || !launcher?.process.runs || !socket.agent?.connected) return false
  return identity === instance && !ending
}
