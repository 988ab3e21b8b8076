import { holderOf, type Lease, sameRecord } from '../../agent/lease/lease.ts'
import { RESTART } from '../../agent/lease/operator-annotations.ts'
import type { Member } from '../../agent/peers/peers.ts'
import type { Payload } from './agents-network.ts'
import type { Commit } from './api-server.ts'
import { Contents } from './content.ts'
import type { Fault } from './faults/fault.ts'
import { concerned, type FaultKind, mostStarts } from './faults/kinds.ts'
import { CLOCK_CHECK_MS, Guard, REACTION_MS } from './guard.ts'
import { isAcquisition, renewTimeOf } from './knowledge.ts'
import { LeaseRules } from './lease-rules.ts'
import type { Limit } from './limits.ts'
import type { Replica } from './replica.ts'
import { Revisions } from './revisions.ts'
import { Standings } from './standings.ts'
import { Versions } from './versions.ts'
import { Violation } from './violation.ts'
import type { Workload } from './workload.ts'
import type { World } from './world.ts'

/** /proc/uptime has steps of 10 ms. The product allows for two of them, and the model's clock is up to one behind. */
const BOOT_STEPS_MS = 30
const AT_ONCE_MS = 250
/** The shortest duration that clocks may measure as one. They are up to 0.02 % too fast, and this leaves some room. */
const SLOWEST_RATE = 0.9995
const GRANT_TAKES_MS = 500
/** An agent must notice this many foreign writes in its name. The first may be the record that it found at its start. */
const STRANGERS_NOTICED = 3
const UNSTEADY: readonly FaultKind[] = [
  'machine suspended',
  'machine paused, wall clock corrected',
  'machine paused, no clock shows it',
  'wall clock set',
]

/** Judges a run by the state of the model's processes and API server, not by the product's reports. */
export class Judge {
  readonly world: World
  private readonly rules: LeaseRules
  private readonly guard: Guard
  private readonly standings: Standings
  readonly versions = new Versions()
  readonly revisions: Revisions
  private readonly contents: Contents
  /** Replicas whose clocks no fault changes. */
  private readonly steady: ReadonlySet<Replica>
  private startsLeft: number
  highestStarted = 0
  private startedBy = ''
  /** An operator has asked for a restart in place, and none has happened since. */
  private restartAsked = false
  /** Identities that a person or another instance wrote into the Lease as its holder. */
  private readonly borrowed = new Set<string>()
  private readonly writers = new Map<string, string>()
  /** Workloads whose Lease was taken before its end, with the time and the limit that excuses it. */
  private readonly overtaken = new Map<Workload, { readonly at: number; readonly limit: Limit }>()
  /** Instances that began a term below the highest epoch, each with that epoch, because the Lease had lost it. */
  private readonly lostEpochs = new Set<string>()
  /** Replicas whose agent can't stop the workload at the moment. */
  private readonly hindered = new Set<Replica>()
  private readonly hinderedAt = new Map<Replica, number>()
  /** The documented limits that excused an incident of this run. */
  readonly limits = new Set<Limit>()
  /** A workload executed longer than its last write alone allows. */
  ledByConsent = false
  takeovers = 0
  /** Restarts in place: a workload was started in the same term as the one before. */
  restarts = 0

  constructor(world: World) {
    const { plan, replicas, voluntaryHandovers } = world
    this.world = world
    this.guard = new Guard(world)
    this.standings = new Standings(this)
    this.revisions = new Revisions(() => this.now)
    this.contents = new Contents(world)
    this.rules = new LeaseRules(this)
    this.startsLeft = mostStarts(plan, voluntaryHandovers)
    const unsteady = plan.filter(({ kind }) => UNSTEADY.includes(kind)).flatMap(({ targets }) => targets)
    this.steady = new Set(replicas.filter((_, index) => !unsteady.includes(index)))
  }

  private get now(): number {
    return this.world.timeline.now
  }

  /** The replica of this instance, even if the instance has been replaced. */
  replicaOf(instance: string): Replica | undefined {
    const { replicas } = this.world
    return (
      replicas.find((replica) => replica.instance === instance) ??
      replicas.find(({ name }) => name === instance.replace(/_\d+$/, ''))
    )
  }

  tookEarly(limit: Limit, owner: string | null): void {
    this.limits.add(limit)
    const workload = this.world.replicas.find(({ instance }) => instance === owner)?.workload
    if (workload) this.overtaken.set(workload, { at: this.now, limit })
  }

  lostEpoch(instance: string, epoch: number): void {
    this.limits.add('epoch lost')
    this.lostEpochs.add(`${instance} ${epoch}`)
  }

  struck(fault: Fault): void {
    this.standings.struck(fault)
    for (const index of concerned(fault, this.world.replicas.length))
      this.guard.struck(this.world.replicas[index] as Replica, fault)
  }

  /** Called after each step. */
  look(): void {
    const acting: Replica[] = []
    for (const replica of this.world.replicas) {
      // A replica that was hindered after the last step has been hindered until now.
      if (this.hindered.has(replica)) this.hinderedAt.set(replica, this.now)
      if (hindered(replica)) this.hindered.add(replica)
      else this.hindered.delete(replica)
      const { workload } = replica
      if (workload?.stopped) this.checkFreeze(replica, workload)
      if (!workload?.executes) continue
      this.checkDeadlines(replica, workload)
      for (const other of acting) this.checkPair(other, replica)
      acting.push(replica)
    }
    this.revisions.look(this.world.replicas)
    this.standings.look()
  }

  started(replica: Replica, workload: Workload, earlier: Workload | null): void {
    if (earlier?.present)
      throw new Violation('at most one acts', `${nameOf(replica)} started beside an earlier workload`)
    const { epoch } = workload
    const again =
      epoch === this.highestStarted && earlier?.epoch === epoch && this.startedBy === replica.instance
    this.startedBy = replica.instance
    if (again) this.checkRestart(replica, earlier)
    else if (epoch <= this.highestStarted && !this.lostEpochs.delete(`${replica.instance} ${epoch}`)) {
      // It is excused if it acquired the Lease without having read a later epoch.
      if (replica.knowledge.readBefore(epoch) >= this.highestStarted)
        throw new Violation('epochs grow', `epoch ${epoch} started after epoch ${this.highestStarted}`)
      this.limits.add('epoch lost')
    }
    if (replica.knowledge.isOutdated(epoch))
      throw new Violation(
        'rules 6, 7',
        `${nameOf(replica)} started after a creation that was sent before another holder was seen`,
      )
    this.highestStarted = Math.max(this.highestStarted, epoch)
    const limit = this.versions.started(replica)
    if (limit !== null) this.limits.add(limit)
    if (--this.startsLeft < 0)
      throw new Violation('availability', `${nameOf(replica)} started without a reason`)
  }

  sends(replica: Replica, lease: Lease): void {
    const { identity, instance, workload, knowledge, agent, kernel } = replica
    knowledge.sends(lease)
    const until = agent?.elector.state.term?.planned?.until ?? Number.POSITIVE_INFINITY
    if (kernel.mono() >= until)
      throw new Violation('quiet moment', `${instance} renews and waits longer than the quiet timeout`)
    if (identity !== instance) this.borrowed.add(identity)
    this.writers.set(renewTimeOf(lease), instance)
    if (holderOf(lease) === '') {
      if (workload?.present)
        throw new Violation(
          'rule 3',
          `${identity} released the Lease while a process of ${nameOf(replica)} existed`,
        )
    } else if (isAcquisition(lease) && knowledge.strangers.size >= STRANGERS_NOTICED) {
      throw new Violation('rule 8', `${identity} campaigns although another process writes in its name`)
    }
  }

  received(replica: Replica, lease: Lease | null): void {
    replica.knowledge.answeredRead()
    if (lease === null) return
    const writer = this.writers.get(renewTimeOf(lease))
    const byTwin = writer !== undefined && writer !== replica.instance
    replica.knowledge.received(lease, replica.identity, byTwin)
  }

  /** A member's answer has arrived. */
  consented(holder: Replica, member: Replica, asked: Payload, answer: Payload, sentAt: number): void {
    if (asked.kind === 'consent' && answer.agreed === true)
      holder.knowledge.consented(answer.from ?? member.identity, sentAt)
  }

  committed(commit: Commit): void {
    const { writer, before, after } = commit
    if (writer !== null && after !== null) this.replicaOf(writer)?.knowledge.stated(after)
    const edited = writer === null && after !== null && (before === null || !sameRecord(before, after))
    if (edited) this.borrowed.add(holderOf(after))
    // A second request may come before the workload has started again for the first one: the leader removes it when it obeys.
    const requested = (lease: Lease | null) => lease?.metadata.annotations?.[RESTART] !== undefined
    if (writer === null ? requested(after) : requested(before) && !requested(after)) this.restartAsked = true
    // A Lease that was recreated counts its epochs from 0 again: a later term may have the number of an earlier one.
    if (writer !== null && before !== null && holderOf(before) === '') this.startedBy = ''
    if (this.rules.committed(commit)) this.takeovers++
    this.versions.committed(commit)
    this.contents.committed(commit)
    this.revisions.committed(
      commit,
      this.world.replicas.find(({ instance }) => instance === writer),
    )
    this.standings.committed(commit)
  }

  answers(replica: Replica, { ready }: Member): void {
    if (ready) this.standings.reportsReady(replica)
  }

  /** The agent has exited. `terminated`: by a signal. */
  ended(replica: Replica, code: 0 | 1, terminated: boolean): void {
    const { identity, instance } = replica
    if (this.borrowed.has(identity) || identity !== instance || (terminated && code === 0)) return
    const what = terminated ? `with exit code ${code}` : 'without a signal'
    throw new Violation('rule 9', `the agent of ${instance} ended ${what}`)
  }

  /** Only a workload that has served for a lease duration may, unless an operator asked for it or no replica could follow. */
  private checkRestart(replica: Replica, earlier: Workload): void {
    this.restarts++
    if (this.restartAsked) {
      this.restartAsked = false
      return
    }
    const { consentedAt, acknowledgedAt } = replica.knowledge
    if (consentedAt > Math.min(earlier.startedAt, acknowledgedAt)) return
    const leastMs = (earlier.startMs + replica.config.leaseDurationMs) * SLOWEST_RATE
    const ageMs = this.now - earlier.startedAt
    if (ageMs < leastMs)
      throw new Violation(
        'availability',
        `${nameOf(replica)} was restarted in place after only ${Math.round(ageMs)} ms`,
      )
    this.contents.restarted(replica, earlier)
  }

  /**
   * If two workloads execute, the one that started first should have ended, so that only its excuses count. The second one's
   * count if it belongs to an earlier term and started late.
   */
  private checkPair(a: Replica, b: Replica): void {
    const of = ({ workload }: Replica) => workload as Workload
    const [first, second] = of(a).startedAt <= of(b).startedAt ? [a, b] : [b, a]
    const taking = this.overtaken.get(of(first))
    const overtaken = taking !== undefined && of(second).startedAt >= taking.at ? taking.limit : null
    const late = of(second).epoch < of(first).epoch ? this.guard.limit(second) : null
    const limit = this.guard.limit(first) ?? overtaken ?? late
    if (limit === null)
      throw new Violation('at most one acts', `${nameOf(a)} and ${nameOf(b)} execute at one instant`)
    this.limits.add(limit)
  }

  private checkDeadlines(replica: Replica, workload: Workload): void {
    const { leaseDurationMs, killMarginMs, renewDeadlineMs, onDoubt } = replica.config
    const { otherSeenAt, provenAt: acknowledgedAt } = replica.knowledge
    const { wokeAt, pausedUntil } = replica.kernel
    const byConsent = replica.knowledge.provenAt > replica.knowledge.acknowledgedAt
    if (byConsent && this.now > replica.knowledge.acknowledgedAt + leaseDurationMs) this.ledByConsent = true
    // The replica's own clocks count. A pause that they don't show is a limit, which matters only if another workload acts.
    const since = this.now - acknowledgedAt - replica.kernel.unseenSince(acknowledgedAt)
    // After a sleep, timers fire late. The launcher then notices the end of its grant when it next compares its clocks.
    const grace = REACTION_MS + (wokeAt > acknowledgedAt ? CLOCK_CHECK_MS + BOOT_STEPS_MS : 0)
    // In `run`, the agent kills the workload itself within half the kill margin if the launcher doesn't answer.
    const inactive = this.guard.isInactive(workload.guard)
    const late = since > leaseDurationMs - killMarginMs + grace + (inactive ? killMarginMs / 2 : 0)
    const doubted = since > renewDeadlineMs + grace && !inactive && pausedUntil < acknowledgedAt
    if (late || (doubted && onDoubt === 'freeze')) {
      const limit = this.guard.limit(replica)
      if (limit === null)
        throw new Violation(
          late ? 'rule 1' : 'doubt',
          `${nameOf(replica)} executes ${Math.round(since)} ms after its last acknowledged write was sent`,
        )
      this.limits.add(limit)
    }
    if (otherSeenAt === null || workload.startedAt > otherSeenAt) return
    const from = Math.max(otherSeenAt, this.hinderedAt.get(replica) ?? 0, replica.linkSlowUntil)
    if (this.now - from <= AT_ONCE_MS) return
    throw new Violation(
      'rule 5',
      `${nameOf(replica)} executes ${Math.round(this.now - otherSeenAt)} ms after its agent received another holder`,
    )
  }

  /** A workload must not be frozen while its Lease is renewed. A grant needs a moment to arrive, longer on a slow link. */
  private checkFreeze(replica: Replica, workload: Workload): void {
    const { acknowledgedAt, confirmedAt, otherSeenAt } = replica.knowledge
    const from = Math.max(this.hinderedAt.get(replica) ?? 0, replica.linkSlowUntil, confirmedAt)
    if (!this.steady.has(replica) || !workload.live || this.now - from <= GRANT_TAKES_MS) return
    const since = this.now - acknowledgedAt
    if (since > replica.config.renewDeadlineMs - REACTION_MS || otherSeenAt !== null) return
    throw new Violation(
      'availability',
      `${nameOf(replica)} is frozen only ${Math.round(since)} ms after an acknowledged write was sent`,
    )
  }
}

/** Whether a kill order of the agent can't reach the workload at the moment. */
function hindered({ agent, launcher, socket }: Replica): boolean {
  return !agent?.process.runs || !launcher?.process.runs || !socket.agent?.connected
}

function nameOf({ instance, workload }: Replica): string {
  return `the workload of ${instance} in epoch ${workload?.epoch}`
}
