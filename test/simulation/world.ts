import type { Member } from '../../agent/peers/peers.ts'
import type { Stage } from './agent-host.ts'
import { ApiServer } from './api-server.ts'
import { type Fault, MISSED } from './faults/fault.ts'
import { FAULTS, type FaultKind } from './faults/kinds.ts'
import { planFaults } from './faults/plan.ts'
import { Judge } from './judge.ts'
import { Random } from './random.ts'
import { type Recovered, Recovery } from './recovery.ts'
import { type Mode, Replica, type ReplicaConfig } from './replica.ts'
import { settled, Timeline } from './timeline.ts'
import { Timings } from './timings.ts'
import { Violation } from './violation.ts'
import type { Workload } from './workload.ts'

/** The first workload serves by then, and the faults begin. */
const FIRST_FAULT_MS = 6_000
const SPAN_MS = 45_000
/** A run has 1,500 or so; one that has far more turns in circles. */
const MOST_STEPS = 100_000
/** No seed of a run is that high. */
const CRASHES = 2 ** 40
const VERSIONS = 2 ** 41

export interface Outcome
  extends Pick<World, 'seed' | 'plan' | 'violation' | 'steps' | 'struck' | 'asked'>,
    Pick<Judge, 'takeovers' | 'restarts' | 'limits'> {
  readonly trace: readonly string[]
  /** Milliseconds of model time. */
  readonly simulatedMs: number
  /** How it went on after the last fault. */
  readonly recovery: Recovered | null
}

export interface WorldOptions {
  /** The ids of the faults that strike; `undefined`: all that the seed decides on. */
  readonly keep?: readonly number[] | undefined
  /** The seed decides on faults of these kinds only. */
  readonly among?: readonly FaultKind[] | undefined
  readonly trace?: boolean
}

/** One run: machines, network, API server, and the faults that a seed decides on. */
export class World {
  readonly seed: number
  readonly timeline = new Timeline()
  readonly random: Random
  readonly server: ApiServer
  readonly replicas: readonly Replica[]
  readonly judge: Judge
  /** What agents were at when they were told to end. */
  readonly asked: Stage[] = []
  /** The faults of the plan that found something to strike. */
  readonly struck: FaultKind[] = []
  /** What becomes of a workload that has failed. */
  readonly onCrash: 'handover' | 'restart'
  /** A leader asks the others. */
  readonly asks: boolean
  readonly plan: readonly Fault[]
  private readonly timings: Timings
  private readonly lines: string[] | null
  private readonly recovery: Recovery
  violation: Violation | null = null
  steps = 0

  constructor(seed: number, options: WorldOptions = {}) {
    this.seed = seed
    this.lines = options.trace ? [] : null
    this.random = new Random(seed)
    // Apart from the other draws.
    this.onCrash = new Random(seed + CRASHES).chance(0.5) ? 'restart' : 'handover'
    const mode: Mode = this.random.chance(0.7) ? 'pod' : 'run'
    const size = this.random.whole(2, 5)
    this.timings = new Timings(this.random, new Random(seed + VERSIONS))
    this.asks = this.random.chance(0.5)
    const leaseExists = this.random.chance(0.8)
    const plan = planFaults(this.random, size, FIRST_FAULT_MS, SPAN_MS, options.among)
    this.plan = plan.filter(({ id }) => options.keep?.includes(id) ?? true)
    this.server = new ApiServer(this.timeline, (commit) => {
      this.trace('api', () => describe(commit.after))
      if (commit.after !== null) this.recovery.written(commit.after)
      this.guard(() => this.judge.committed(commit))
    })
    this.replicas = Array.from({ length: size }, (_, index) => new Replica(this, index, mode))
    this.judge = new Judge(this)
    this.recovery = new Recovery(this)
    if (leaseExists) this.server.apply()
  }

  /** To one that is prepared, at its start and after each one that is replaced; to newer revisions any number of times. */
  get ownAccord(): number {
    if (!this.asks) return 0
    return this.timings.change ? Number.POSITIVE_INFINITY : 1 + this.plan.length
  }

  /** What the others of a replica answer to it. */
  others(asking: Replica): Member[] {
    return this.replicas.flatMap((replica) => {
      if (replica === asking || !replica.agent?.process.runs) return []
      const { member } = replica.agent
      this.guard(() => this.judge.answers(replica, member))
      return [member]
    })
  }

  /** Of the next instance of a replica; `again`: there was one before. */
  config(again: boolean): ReplicaConfig {
    return this.timings.next(again)
  }

  trace(who: string, line: () => string): void {
    this.lines?.push(`${(this.timeline.now / 1000).toFixed(3).padStart(8)} ${who.padEnd(5)} ${line()}`)
  }

  started(replica: Replica, workload: Workload, earlier: Workload | null): void {
    workload.continued = () => this.guard(() => this.judge.look())
    this.guard(() => this.judge.started(replica, workload, earlier))
  }

  /** Plays the run to its end. It must be the only one in the process meanwhile: it replaces `Math.random`. */
  async play(): Promise<Outcome> {
    const { random } = Math
    Math.random = this.random.next
    try {
      this.begin()
      await this.run(this.plan.at(-1)?.at ?? FIRST_FAULT_MS)
      await this.recovery.await((until) => this.run(until))
    } catch (error) {
      if (!(error instanceof Violation)) throw error
      this.violation ??= error
    } finally {
      Math.random = random
    }
    const { seed, plan, violation, steps, struck, asked } = this
    const { takeovers, restarts, limits } = this.judge
    const known = { seed, plan, violation, steps, struck, asked, takeovers, restarts, limits }
    const { lines, timeline, recovery } = this
    return { ...known, trace: lines ?? [], simulatedMs: timeline.now, recovery: recovery.result }
  }

  /** The product catches what its parts throw; a violation in there must not be lost. */
  guard(judge: () => void): void {
    try {
      judge()
    } catch (error) {
      this.violation ??= error as Violation
    }
  }

  private begin(): void {
    for (const replica of this.replicas)
      this.timeline.in(this.random.between(0, 1_000), () => replica.appear())
    for (const fault of this.plan) this.timeline.at(fault.at, () => this.strike(fault))
  }

  private strike(fault: Fault): void {
    const targets = fault.targets.map((index) => this.replicas[index] as Replica)
    const names = targets.map(({ name }) => name).join(', ')
    this.trace('fault', () => `#${fault.id} ${fault.kind}: ${names} for ${Math.round(fault.ms)} ms`)
    this.judge.struck(fault)
    this.recovery.faulty(this.timeline.now)
    const outcomes = targets.map((target) => FAULTS[fault.kind].strike(this, fault, target))
    if (outcomes.some((outcome) => outcome !== MISSED)) this.struck.push(fault.kind)
    const heals = outcomes.filter((outcome): outcome is () => void => typeof outcome === 'function')
    if (heals.length === 0) return
    this.recovery.faulty(fault.at + fault.ms + (FAULTS[fault.kind].trails?.(fault.degree) ?? 0))
    this.timeline.at(fault.at + fault.ms, () => {
      this.trace('fault', () => `#${fault.id} ${fault.kind}: over`)
      for (const heal of heals) heal()
    })
  }

  private async run(until: number): Promise<void> {
    while (this.timeline.step(until)) {
      this.steps++
      await settled()
      this.judge.look()
      if (this.steps > MOST_STEPS) throw new Violation('liveness', `${MOST_STEPS} steps, and no end`)
      if (this.violation !== null) throw this.violation
    }
  }
}

function describe(lease: ApiServer['lease']): string {
  if (lease === null) return 'the Lease is deleted'
  const { holderIdentity, leaseTransitions, leaseDurationSeconds } = lease.spec ?? {}
  return `version ${lease.metadata.resourceVersion}: held by '${holderIdentity ?? ''}', epoch ${leaseTransitions ?? 0}, ${leaseDurationSeconds ?? 0} s`
}
