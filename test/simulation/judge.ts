import { holderOf, type Lease, sameRecord } from '../../agent/lease/lease.ts'
import type { Member } from '../../agent/peers/peers.ts'
import type { Commit } from './api-server.ts'
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

/** /proc/uptime counts in steps; the product allows for two of them, and the model's clock is one behind. */
const BOOT_STEPS_MS = 30
const AT_ONCE_MS = 250
/** Clocks go up to 0.02 % too fast. */
const SLOWEST_RATE = 0.9995
const GRANT_TAKES_MS = 500
/** Writes of another one in its name after which an agent must have noticed: the first may be what it finds. */
const STRANGERS_NOTICED = 3
const UNSTEADY: readonly FaultKind[] = ['suspended', 'paused', 'stands still', 'wall clock set']

/** Judges a run by what the model's processes and its API server really did, and by nothing that the product says. */
export class Judge {
  readonly world: World
  private readonly rules: LeaseRules
  private readonly guard: Guard
  private readonly standings: Standings
  readonly versions = new Versions()
  readonly revisions: Revisions
  /** Those whose clocks are never tampered with. */
  private readonly steady: ReadonlySet<Replica>
  private startsLeft: number
  /** The highest epoch in which a workload was started, and the instance that started one last. */
  highestStarted = 0
  private startedBy = ''
  /** Identities that somebody else wrote into the Lease as its holder. */
  private readonly borrowed = new Set<string>()
  /** Which instance wrote a renew time. */
  private readonly writers = new Map<string, string>()
  /** Whose Lease was taken although they still counted on it, when, and by which limit. */
  private readonly overtaken = new Map<Workload, { readonly at: number; readonly limit: Limit }>()
  /** Instances and epochs that began again below the highest one. */
  private readonly forgotten = new Set<string>()
  private readonly hindered = new Set<Replica>()
  private readonly hinderedAt = new Map<Replica, number>()
  /** The documented limits that this run came to. */
  readonly limits = new Set<Limit>()
  /** How often the Lease went from one instance to another. */
  takeovers = 0
  /** Workloads that were started again in the term of the one before. */
  restarts = 0

  constructor(world: World) {
    const { plan, replicas, ownAccord } = world
    this.world = world
    this.guard = new Guard(world)
    this.standings = new Standings(this)
    this.revisions = new Revisions(() => this.now)
    this.rules = new LeaseRules(this)
    this.startsLeft = mostStarts(plan, ownAccord)
    const unsteady = plan.filter(({ kind }) => UNSTEADY.includes(kind)).flatMap(({ targets }) => targets)
    this.steady = new Set(replicas.filter((_, index) => !unsteady.includes(index)))
  }

  private get now(): number {
    return this.world.timeline.now
  }

  /** The replica that is, or once was, the instance of this name. */
  replicaOf(instance: string): Replica | undefined {
    const { replicas } = this.world
    return (
      replicas.find((replica) => replica.instance === instance) ??
      replicas.find(({ name }) => name === instance.replace(/_\d+$/, ''))
    )
  }

  /** The Lease was taken from `owner`, who still counts on it. */
  tookEarly(limit: Limit, owner: string | null): void {
    this.limits.add(limit)
    const workload = this.world.replicas.find(({ instance }) => instance === owner)?.workload
    if (workload) this.overtaken.set(workload, { at: this.now, limit })
  }

  /** `instance` counts from an epoch that is not the highest. */
  forgot(instance: string, epoch: number): void {
    this.limits.add('epoch forgotten')
    this.forgotten.add(`${instance} ${epoch}`)
  }

  struck(fault: Fault): void {
    this.standings.struck(fault)
    for (const index of concerned(fault, this.world.replicas.length))
      this.guard.struck(this.world.replicas[index] as Replica, fault)
  }

  /** After each step. */
  look(): void {
    const acting: Replica[] = []
    for (const replica of this.world.replicas) {
      // What hindered it at the last look did so until now.
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
      throw new Violation('one acts', `${nameOf(replica)} started beside an earlier workload`)
    const { epoch } = workload
    const again =
      epoch === this.highestStarted && earlier?.epoch === epoch && this.startedBy === replica.instance
    this.startedBy = replica.instance
    if (again) this.checkRestart(replica, earlier)
    else if (epoch <= this.highestStarted && !this.forgotten.delete(`${replica.instance} ${epoch}`)) {
      // Acquired before the other had started, after a Lease that it was never shown.
      if (replica.knowledge.knownBefore(epoch) >= this.highestStarted)
        throw new Violation('epochs grow', `epoch ${epoch} started after epoch ${this.highestStarted}`)
      this.limits.add('epoch forgotten')
    }
    if (replica.knowledge.isOutdated(epoch))
      throw new Violation('rules 6, 7', `${nameOf(replica)} started upon a creation of before another holder`)
    this.highestStarted = Math.max(this.highestStarted, epoch)
    const limit = this.versions.started(replica)
    if (limit !== null) this.limits.add(limit)
    if (--this.startsLeft < 0) throw new Violation('availability', `${nameOf(replica)} started for no reason`)
  }

  sends(replica: Replica, lease: Lease): void {
    const { identity, instance, workload, knowledge } = replica
    knowledge.sends(lease)
    if (identity !== instance) this.borrowed.add(identity)
    this.writers.set(renewTimeOf(lease), instance)
    if (holderOf(lease) === '') {
      if (workload?.present)
        throw new Violation('rule 3', `${identity} releases while ${nameOf(replica)} lives`)
    } else if (isAcquisition(lease) && knowledge.strangers.size >= STRANGERS_NOTICED) {
      throw new Violation('rule 8', `${identity} campaigns although another one writes in its name`)
    }
  }

  shown(replica: Replica, lease: Lease | null): void {
    replica.knowledge.looked()
    if (lease === null) return
    const writer = this.writers.get(renewTimeOf(lease))
    const byTwin = writer !== undefined && writer !== replica.instance
    replica.knowledge.shown(lease, replica.identity, byTwin)
  }

  committed(commit: Commit): void {
    const { writer, before, after } = commit
    const edited = writer === null && after !== null && (before === null || !sameRecord(before, after))
    if (edited) this.borrowed.add(holderOf(after))
    if (this.rules.committed(commit)) this.takeovers++
    this.versions.committed(commit)
    this.revisions.committed(
      commit,
      this.world.replicas.find(({ instance }) => instance === writer),
    )
    this.standings.committed(commit)
  }

  /** To a leader that asks it whether it could take over. */
  answers(replica: Replica, { ready }: Member): void {
    if (ready) this.standings.saidReady(replica)
  }

  /** `told`: it was asked to end. */
  ended(replica: Replica, code: 0 | 1, told: boolean): void {
    const { identity, instance } = replica
    if (this.borrowed.has(identity) || identity !== instance || (told && code === 0)) return
    const what = told ? `with exit code ${code}` : 'although nobody asked for it'
    throw new Violation('rule 9', `the agent of ${instance} ended ${what}`)
  }

  /** Only one that had served for a lease duration is worth another try in the same term. */
  private checkRestart(replica: Replica, earlier: Workload): void {
    const leastMs = (earlier.startMs + replica.config.leaseDurationMs) * SLOWEST_RATE
    const ageMs = this.now - earlier.startedAt
    if (ageMs < leastMs)
      throw new Violation('availability', `${nameOf(replica)} is started again after ${Math.round(ageMs)} ms`)
    this.restarts++
  }

  /**
   * Of two the one that began first should have ended: what excuses the other one is no excuse, unless that is of an earlier
   * term, and began late.
   */
  private checkPair(a: Replica, b: Replica): void {
    const of = ({ workload }: Replica) => workload as Workload
    const [first, second] = of(a).startedAt <= of(b).startedAt ? [a, b] : [b, a]
    const taking = this.overtaken.get(of(first))
    const overtaken = taking !== undefined && of(second).startedAt >= taking.at ? taking.limit : null
    const late = of(second).epoch < of(first).epoch ? this.guard.limit(second) : null
    const limit = this.guard.limit(first) ?? overtaken ?? late
    if (limit === null)
      throw new Violation('one acts', `${nameOf(a)} and ${nameOf(b)} execute at one instant`)
    this.limits.add(limit)
  }

  private checkDeadlines(replica: Replica, workload: Workload): void {
    const { leaseDurationMs, killMarginMs, renewDeadlineMs, onDoubt } = replica.config
    const { acknowledgedAt, otherSeenAt } = replica.knowledge
    const { wokeAt, pausedUntil } = replica.kernel
    // By its own clocks, which is all that it can be held to: the rest is a limit where another one acts.
    const since = this.now - acknowledgedAt - replica.kernel.unseenSince(acknowledgedAt)
    // After a sleep its timers come late, and only the regular comparison of the clocks is left.
    const grace = REACTION_MS + (wokeAt > acknowledgedAt ? CLOCK_CHECK_MS + BOOT_STEPS_MS : 0)
    // In `run` the agent does without a launcher that does not answer, within half the margin.
    const stands = this.guard.stands(workload.guard)
    const late = since > leaseDurationMs - killMarginMs + grace + (stands ? killMarginMs / 2 : 0)
    const doubted = since > renewDeadlineMs + grace && !stands && pausedUntil < acknowledgedAt
    if (late || (doubted && onDoubt === 'freeze')) {
      const limit = this.guard.limit(replica)
      if (limit === null)
        throw new Violation(
          late ? 'rule 1' : 'doubt',
          `${nameOf(replica)} executes ${Math.round(since)} ms after the write`,
        )
      this.limits.add(limit)
    }
    if (otherSeenAt === null || workload.startedAt > otherSeenAt) return
    const from = Math.max(otherSeenAt, this.hinderedAt.get(replica) ?? 0, replica.linkSlowUntil)
    if (this.now - from <= AT_ONCE_MS) return
    throw new Violation(
      'rule 5',
      `${nameOf(replica)} executes ${Math.round(this.now - otherSeenAt)} ms after another holder was seen`,
    )
  }

  /** A grant takes a moment from the acknowledged write to the launcher; on a disturbed way longer. */
  private checkFreeze(replica: Replica, workload: Workload): void {
    const { acknowledgedAt, learntAt, otherSeenAt } = replica.knowledge
    const from = Math.max(this.hinderedAt.get(replica) ?? 0, replica.linkSlowUntil, learntAt)
    if (!this.steady.has(replica) || !workload.live || this.now - from <= GRANT_TAKES_MS) return
    const since = this.now - acknowledgedAt
    if (since > replica.config.renewDeadlineMs - REACTION_MS || otherSeenAt !== null) return
    throw new Violation('availability', `${nameOf(replica)} is frozen ${Math.round(since)} ms after a write`)
  }
}

/** Whether something keeps a kill that the agent orders from reaching the workload. */
function hindered({ agent, launcher, socket }: Replica): boolean {
  return !agent?.process.runs || !launcher?.process.runs || !socket.agent?.connected
}

function nameOf({ instance, workload }: Replica): string {
  return `the workload of ${instance} in epoch ${workload?.epoch}`
}
