import type { Member, Peers } from '../../agent/peers/peers.ts'
import type { Stage } from './agent-host.ts'
import { AgentsNetwork, addressOf } from './agents-network.ts'
import { ApiServer } from './api-server.ts'
import { type Fault, MISSED } from './faults/fault.ts'
import { FAULTS, type FaultKind } from './faults/kinds.ts'
import { planFaults, planOutages } from './faults/plan.ts'
import { Judge } from './judge.ts'
import { Random } from './random.ts'
import { type Recovered, Recovery } from './recovery.ts'
import { type Mode, Replica, type ReplicaConfig } from './replica.ts'
import { settled, Timeline } from './timeline.ts'
import { Timings } from './timings.ts'
import { Violation } from './violation.ts'
import type { Workload } from './workload.ts'

/** Longest time from a change of the files until a replica has them. */
const FILES_ARRIVE_MS = 45_000
/** When faults may begin. The first workload serves before that. */
const FIRST_FAULT_MS = 6_000
const SPAN_MS = 45_000
/** A run takes about 1,500 steps. A run with far more is in an endless loop. */
const MOST_STEPS = 100_000
/** Offsets for separate random generators. They are above all seeds of runs. */
const CRASHES = 2 ** 40
const VERSIONS = 2 ** 41
const FAILSAFE = 2 ** 42

export interface Outcome
  extends Pick<World, 'seed' | 'plan' | 'violation' | 'steps' | 'struck' | 'terminatedAt'>,
    Pick<Judge, 'takeovers' | 'restarts' | 'limits' | 'ledByConsent'> {
  readonly trace: readonly string[]
  readonly simulatedMs: number
  readonly recovery: Recovered | null
}

export interface WorldOptions {
  /** The ids of the faults that strike. `undefined`: all faults of the seed. */
  readonly keep?: readonly number[] | undefined
  /** The only kinds from which the seed chooses faults. */
  readonly among?: readonly FaultKind[] | undefined
  readonly trace?: boolean
}

/** One run: machines, network, API server, and the faults that the seed chooses. */
export class World {
  readonly seed: number
  readonly timeline = new Timeline()
  readonly random: Random
  readonly server: ApiServer
  readonly replicas: readonly Replica[]
  readonly agents: AgentsNetwork
  readonly judge: Judge
  readonly terminatedAt: Stage[] = []
  /** The faults of the plan that found a target. */
  readonly struck: FaultKind[] = []
  readonly onCrash: 'handover' | 'restart'
  readonly asksPeers: boolean
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
    // This has a generator of its own, so that it doesn't shift the other draws of a seed.
    this.onCrash = new Random(seed + CRASHES).chance(0.5) ? 'restart' : 'handover'
    const mode: Mode = this.random.chance(0.7) ? 'pod' : 'run'
    const size = this.random.whole(2, 5)
    const failsafe = new Random(seed + FAILSAFE)
    this.timings = new Timings(this.random, new Random(seed + VERSIONS), failsafe)
    this.asksPeers = this.random.chance(0.5)
    const leaseExists = this.random.chance(0.8)
    const drawn = planFaults(this.random, size, FIRST_FAULT_MS, SPAN_MS, options.among)
    const outages = this.failsafe ? planOutages(failsafe, size, FIRST_FAULT_MS, SPAN_MS) : []
    const plan = [...drawn, ...outages].sort((a, b) => a.at - b.at)
    this.plan = plan.filter(({ id }) => options.keep?.includes(id) ?? true)
    this.server = new ApiServer(this.timeline, (commit) => {
      this.trace('api', () => describe(commit.after))
      if (commit.after !== null) this.recovery.written(commit.after)
      this.guard(() => this.judge.committed(commit))
    })
    this.replicas = Array.from({ length: size }, (_, index) => new Replica(this, index, mode))
    this.agents = new AgentsNetwork(this, failsafe, FIRST_FAULT_MS, SPAN_MS)
    this.judge = new Judge(this)
    this.recovery = new Recovery(this)
    if (this.failsafe) this.recovery.faulty(this.agents.healedAt)
    if (leaseExists) this.server.apply()
  }

  /** Whether a replica may have failsafe. */
  get failsafe(): boolean {
    return this.asksPeers && this.timings.failsafe
  }

  /** The most handovers that leaders start without a fault: any number to newer revisions. */
  get voluntaryHandovers(): number {
    return this.asksPeers && this.timings.change ? Number.POSITIVE_INFINITY : 0
  }

  others(asking: Replica): Member[] {
    return this.replicas.flatMap((replica) => {
      if (replica === asking || !replica.agent?.process.runs) return []
      const { member } = replica.agent
      this.guard(() => this.judge.answers(replica, member))
      return [member]
    })
  }

  addresses(asking: Replica): Peers['answered'] {
    const askedAt = asking.kernel.mono()
    return this.replicas
      .filter((replica) => replica !== asking && replica.agent?.process.runs)
      .map((replica) => ({ identity: replica.identity, at: `http://${addressOf(replica)}`, askedAt }))
  }

  /** The configuration of a replica's next instance. `again`: the replica had an instance before. */
  config(again: boolean): ReplicaConfig {
    const config = this.timings.next(again)
    return this.asksPeers ? config : { ...config, failsafe: 'none' }
  }

  private version = 0

  /** New files arrive at each replica in its own time. */
  changeFiles(degree: number): void {
    const version = ++this.version
    for (const [index, replica] of this.replicas.entries())
      this.timeline.in(FILES_ARRIVE_MS * ((degree * (index + 1) * 7) % 1), () => replica.changeFiles(version))
  }

  trace(who: string, line: () => string): void {
    this.lines?.push(`${(this.timeline.now / 1000).toFixed(3).padStart(8)} ${who.padEnd(5)} ${line()}`)
  }

  started(replica: Replica, workload: Workload, earlier: Workload | null): void {
    workload.continued = () => this.guard(() => this.judge.look())
    this.guard(() => this.judge.started(replica, workload, earlier))
  }

  /** Plays the run to its end. Runs must not overlap in one process, because each replaces `Math.random`. */
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
    const { seed, plan, violation, steps, struck, terminatedAt } = this
    const { takeovers, restarts, limits, ledByConsent } = this.judge
    const judged = { takeovers, restarts, limits, ledByConsent }
    const common = { seed, plan, violation, steps, struck, terminatedAt, ...judged }
    const { lines, timeline, recovery } = this
    return { ...common, trace: lines ?? [], simulatedMs: timeline.now, recovery: recovery.result }
  }

  /** Records a violation. It may be thrown under code of the product, which catches errors, and would be lost there. */
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
      if (this.steps > MOST_STEPS)
        throw new Violation('liveness', `the run has not ended after ${MOST_STEPS} steps`)
      if (this.violation !== null) throw this.violation
    }
  }
}

function describe(lease: ApiServer['lease']): string {
  if (lease === null) return 'the Lease was deleted'
  const { holderIdentity, leaseTransitions, leaseDurationSeconds } = lease.spec ?? {}
  return `version ${lease.metadata.resourceVersion}: held by '${holderIdentity ?? ''}', epoch ${leaseTransitions ?? 0}, ${leaseDurationSeconds ?? 0} s`
}
