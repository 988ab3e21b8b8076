import { durationOf, epochOf, holderOf, isVacant, type Lease, sameRecord } from '../../agent/lease/lease.ts'
import type { Commit } from './api-server.ts'
import { type Fault, type FaultKind, isHarsh, mostStarts } from './faults.ts'
import type { Process } from './process.ts'
import type { Replica } from './replica.ts'
import type { Workload } from './workload.ts'

export type Invariant =
  | 'one acts' // no two workloads execute at one instant
  | 'rule 1' // nothing executes past the deadline that the last acknowledged write earned
  | 'doubt' // nothing executes past the renew deadline of the last acknowledged write, in `freeze`
  | 'rule 3' // nothing is released while something of the workload lives
  | 'rule 4' // nobody writes over another holder
  | 'rule 5' // seeing another holder stops the workload at once
  | 'rules 6, 7' // a held, cleared or deleted Lease is waited out
  | 'epochs grow'
  | 'availability' // nothing is frozen while its Lease is renewed, or hands over for no reason
  | 'liveness' // after the last fault heals exactly one serves, and goes on serving

export class Violation extends Error {
  readonly invariant: Invariant

  constructor(invariant: Invariant, message: string) {
    super(`${invariant}: ${message}`)
    this.name = 'Violation'
    this.invariant = invariant
  }
}

export interface JudgeConfig {
  readonly leaseDurationMs: number
  readonly renewDeadlineMs: number
  readonly retryPeriodMs: number
  readonly killMarginMs: number
  readonly onDoubt: 'freeze' | 'stop'
}

/** A late timer (2), clocks that drift (3 in 15 s) and the kernel at work on SIGKILL (20), in milliseconds. */
const REACTION_MS = 30
/** How far two clocks within the assumed drift come apart in one lease duration. */
const DRIFT_MS = 5
/** The launcher compares its clocks this often: a machine that slept may execute for as long after it wakes up. */
const CLOCK_CHECK_MS = 205
/** /proc/uptime counts in steps; the product allows for two of them, and the model's clock is one behind. */
const BOOT_STEPS_MS = 30
const AT_ONCE_MS = 250
const NAMESPACE_ENDS_MS = 80
const GRANT_TAKES_MS = 500
const UNSTEADY: readonly FaultKind[] = ['suspended', 'paused', 'wall clock set']

/** Judges a run by what the model's processes and its API server really did, and by nothing that the product says. */
export class Judge {
  private readonly config: JudgeConfig
  private readonly replicas: readonly Replica[]
  private readonly now: () => number
  /** Whether something in this run can take a Lease away from a replica whose launcher is frozen. */
  private readonly harsh: boolean
  private readonly clocksAreSteady: boolean
  private startsLeft: number
  private changedAt = 0
  private lastHolder = ''
  private existed = false
  private deletedAt = 0
  private deletions = 0
  private highestEpoch = 0
  private readonly hindered = new Set<Replica>()
  private readonly hinderedAt = new Map<Replica, number>()
  /** Real time in which a workload executed although it should not, for a documented reason. */
  excused = 0

  constructor(config: JudgeConfig, replicas: readonly Replica[], now: () => number, plan: readonly Fault[]) {
    this.config = config
    this.replicas = replicas
    this.now = now
    this.harsh = isHarsh(plan)
    this.startsLeft = mostStarts(plan)
    this.clocksAreSteady = !plan.some(({ kind }) => UNSTEADY.includes(kind))
  }

  /** After each step. */
  look(): void {
    let other: Replica | null = null
    for (const replica of this.replicas) {
      // What hindered it at the last look did so until now.
      if (this.hindered.has(replica)) this.hinderedAt.set(replica, this.now())
      if (hindered(replica)) this.hindered.add(replica)
      else this.hindered.delete(replica)
      const { workload } = replica
      if (workload?.stopped) this.checkFreeze(replica, workload)
      if (!workload?.executes) continue
      this.checkDeadlines(replica, workload)
      if (other !== null) {
        const pair = `${nameOf(other)} and ${nameOf(replica)} execute at one instant`
        if (this.unguarded(replica) || this.unguarded(other)) this.excused++
        else throw new Violation('one acts', pair)
      }
      other = replica
    }
  }

  started(replica: Replica, workload: Workload, earlier: Workload | null): void {
    if (earlier?.present)
      throw new Violation('one acts', `${nameOf(replica)} started beside an earlier workload`)
    if (workload.epoch <= this.highestEpoch && this.deletions === 0) {
      throw new Violation('epochs grow', `epoch ${workload.epoch} started after epoch ${this.highestEpoch}`)
    }
    this.highestEpoch = Math.max(this.highestEpoch, workload.epoch)
    if (--this.startsLeft < 0) throw new Violation('availability', `${nameOf(replica)} started for no reason`)
  }

  sends(replica: Replica, lease: Lease): void {
    if (holderOf(lease) === '' && replica.workload?.present) {
      throw new Violation('rule 3', `${replica.identity} releases while ${nameOf(replica)} lives`)
    }
  }

  committed({ before, after, writer }: Commit): void {
    if (writer !== null && after !== null) this.checkWrite(before, after, writer)
    if (after === null) {
      this.deletedAt = this.now()
      this.deletions++
    } else {
      this.existed = true
      if (before === null || !sameRecord(before, after)) this.changedAt = this.now()
      if (holderOf(after) !== '') this.lastHolder = holderOf(after)
    }
  }

  private checkWrite(before: Lease | null, after: Lease, writer: string): void {
    const holder = before === null ? '' : holderOf(before)
    if (holderOf(after) === '') {
      if (holder !== '' && holder !== writer)
        throw new Violation('rule 4', `${writer} released what ${holder} holds`)
      return
    }
    if (before !== null && epochOf(after) < epochOf(before)) {
      throw new Violation('epochs grow', `${writer} wrote epoch ${epochOf(after)} over ${epochOf(before)}`)
    }
    if (holder === writer || (before !== null && isVacant(before))) return
    // The holder itself may take back what was deleted or cleared by hand, for as long as nobody else can hold it.
    const own = this.replicas.find(({ identity }) => identity === writer)
    const held = own !== undefined && this.now() - own.acknowledgedAt < this.config.leaseDurationMs
    if (holder === '' && (held || writer === this.lastHolder)) return
    if (before === null && !this.existed) return
    const needed =
      before === null ? this.config.leaseDurationMs : durationOf(before, this.config.leaseDurationMs)
    const waited = this.now() - (before === null ? this.deletedAt : this.changedAt)
    if (waited >= needed - DRIFT_MS) return
    const what =
      before === null ? 'a deleted Lease' : holder === '' ? 'a cleared Lease' : `the Lease of ${holder}`
    const rule = holder !== '' && waited < needed / 2 ? 'rule 4' : 'rules 6, 7'
    throw new Violation(rule, `${writer} took ${what} after ${Math.round(waited)} of ${needed} ms`)
  }

  private checkDeadlines(replica: Replica, workload: Workload): void {
    const { leaseDurationMs, killMarginMs, renewDeadlineMs, onDoubt } = this.config
    const since = this.now() - replica.acknowledgedAt
    const guarded = !this.unguarded(replica)
    // After a sleep its timers come late, and only the regular comparison of the clocks is left.
    const slept = replica.hiddenPauses > 0 || replica.kernel.wokeAt > replica.acknowledgedAt
    const grace = REACTION_MS + (slept ? CLOCK_CHECK_MS + BOOT_STEPS_MS : 0)
    // In `run` the agent does without a launcher that does not answer, within half the margin.
    const stands = this.stands(workload.guard)
    const reclaim = stands ? killMarginMs / 2 : 0
    if (since > leaseDurationMs - killMarginMs + grace + reclaim) {
      if (!guarded) this.excused++
      else
        throw new Violation('rule 1', `${nameOf(replica)} executes ${Math.round(since)} ms after the write`)
    } else if (since > renewDeadlineMs + grace && onDoubt === 'freeze' && guarded && !stands) {
      if (replica.hiddenPauses === 0) {
        throw new Violation('doubt', `${nameOf(replica)} executes ${Math.round(since)} ms after the write`)
      }
    }
    const { otherSeenAt } = replica
    if (otherSeenAt === null || workload.startedAt > otherSeenAt) return
    const from = Math.max(otherSeenAt, this.hinderedAt.get(replica) ?? 0, replica.linkSlowUntil)
    if (this.now() - from <= AT_ONCE_MS) return
    throw new Violation(
      'rule 5',
      `${nameOf(replica)} executes ${Math.round(this.now() - otherSeenAt)} ms after another holder was seen`,
    )
  }

  /** A grant takes a moment from the acknowledged write to the launcher; on a disturbed way longer. */
  private checkFreeze(replica: Replica, workload: Workload): void {
    const from = Math.max(this.hinderedAt.get(replica) ?? 0, replica.linkSlowUntil, replica.learntAt)
    if (!this.clocksAreSteady || !workload.live || this.now() - from <= GRANT_TAKES_MS) return
    const since = this.now() - replica.acknowledgedAt
    const renewed = this.config.renewDeadlineMs - REACTION_MS
    if (since > renewed || replica.otherSeenAt !== null) return
    throw new Violation('availability', `${nameOf(replica)} is frozen ${Math.round(since)} ms after a write`)
  }

  /**
   * The documented limits. Nothing guards a workload while its launcher is frozen (in `run` the agent does, unless it
   * cannot run either), nor before the launcher has compared its clocks after a sleep of the machine.
   */
  private unguarded({ kernel, launcher, agent, mode, workload }: Replica): boolean {
    const awakeFor = this.now() - kernel.wokeAt
    if (awakeFor < CLOCK_CHECK_MS + REACTION_MS) return true
    if (workload === null || !this.stands(workload.guard)) return false
    // The kernel ends the namespace of a launcher that is dead, a moment later.
    const { diedAt } = workload.guard
    if (mode === 'pod') return this.harsh && (launcher !== null || this.now() - diedAt < NAMESPACE_ENDS_MS)
    const patience = this.config.killMarginMs / 2 + CLOCK_CHECK_MS
    if (awakeFor < this.config.retryPeriodMs + patience) return true
    return agent === null || !agent.process.runs || this.now() - agent.process.thawedAt < patience
  }

  private stands(guard: Process): boolean {
    return !guard.runs || this.now() - guard.thawedAt < REACTION_MS
  }
}

/** Whether something keeps a kill that the agent orders from reaching the workload. */
function hindered({ agent, launcher, kernel, socket }: Replica): boolean {
  return (
    kernel.asleep ||
    agent === null ||
    launcher === null ||
    !agent.process.runs ||
    !launcher.process.runs ||
    socket.agent === null ||
    !socket.agent.connected
  )
}

function nameOf({ identity, workload }: Replica): string {
  return `the workload of ${identity} in epoch ${workload?.epoch}`
}
