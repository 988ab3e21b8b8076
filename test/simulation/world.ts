import { coolDownEnds } from '../../agent/election/cool-down.ts'
import { ApiServer } from './api-server.ts'
import { FAULTS, type Fault, planFaults } from './faults.ts'
import { Judge, Violation } from './judge.ts'
import { Random } from './random.ts'
import { type Mode, Replica, type ReplicaWorld } from './replica.ts'
import { settled, Timeline } from './timeline.ts'

const TIMINGS = {
  leaseDurationMs: 15_000,
  renewDeadlineMs: 10_000,
  retryPeriodMs: 2_000,
  killMarginMs: 1_000,
  drainTimeoutMs: 5_000,
  stopTimeoutMs: 6_000,
} as const

/** The first workload serves by then, and the faults begin. */
const FIRST_FAULT_MS = 6_000
const SPAN_MS = 45_000
const LOOK_MS = 500
/** One that serves must go on for this long to count. */
const STEADY_MS = 4_000
const LONGEST_START_MS = 3_200
/** A request sent before the last fault healed may hang for as long. */
const REQUEST_MS = 5_000
/** SIGTERM to a whole pod, and whatever starts again. */
const RESTART_MS = 3_000
/** A run has 1,500 or so; one that has far more turns in circles. */
const MOST_STEPS = 100_000
/** No run is longer than this after its last fault; cool-downs included. */
const PATIENCE_MS = 200_000

export interface Outcome {
  readonly seed: number
  readonly plan: readonly Fault[]
  readonly violation: Violation | null
  readonly trace: readonly string[]
  readonly steps: number
  /** How often two workloads acted, or one acted too long, within the documented limits. */
  readonly excused: number
}

/** One run: machines, network, API server, and the faults that a seed decides on. */
export class World implements ReplicaWorld {
  readonly timeline = new Timeline()
  readonly random: Random
  readonly server: ApiServer
  readonly replicas: readonly Replica[]
  readonly config: ReplicaWorld['config']
  readonly judge: Judge
  private readonly plan: readonly Fault[]
  private readonly seed: number
  private readonly lines: string[] | null
  private healedAt = FIRST_FAULT_MS
  private steps = 0

  /** `keep`: the ids of the faults that strike; `undefined`: all that the seed decides on. */
  constructor(seed: number, options: { keep?: readonly number[] | undefined; trace?: boolean } = {}) {
    this.seed = seed
    this.lines = options.trace ? [] : null
    this.random = new Random(seed)
    const mode: Mode = this.random.chance(0.7) ? 'pod' : 'run'
    const size = this.random.whole(2, 4)
    this.config = { ...TIMINGS, onDoubt: this.random.chance(0.75) ? 'freeze' : 'stop' }
    const leaseExists = this.random.chance(0.8)
    const plan = planFaults(this.random, size, FIRST_FAULT_MS, SPAN_MS)
    this.plan = plan.filter(({ id }) => options.keep?.includes(id) ?? true)
    this.server = new ApiServer(this.timeline, (commit) => {
      this.trace('api', () => describe(commit.after))
      this.judge.committed(commit)
    })
    this.replicas = Array.from({ length: size }, (_, index) => new Replica(this, index, mode))
    this.judge = new Judge(this.config, this.replicas, () => this.timeline.now, this.plan)
    if (leaseExists) this.server.create({ metadata: {}, spec: {} }, 'deploy', 0)
  }

  trace(who: string, line: () => string): void {
    this.lines?.push(`${(this.timeline.now / 1000).toFixed(3).padStart(8)} ${who.padEnd(5)} ${line()}`)
  }

  started: ReplicaWorld['started'] = (replica, workload, earlier) => {
    workload.continued = () => this.guard(() => this.judge.look())
    this.guard(() => this.judge.started(replica, workload, earlier))
  }

  sends: ReplicaWorld['sends'] = (replica, lease) => this.guard(() => this.judge.sends(replica, lease))

  /** Plays the run to its end. It must be the only one in the process meanwhile: it replaces `Math.random`. */
  async play(): Promise<Outcome> {
    const { random } = Math
    Math.random = this.random.next
    try {
      this.begin()
      await this.run(FIRST_FAULT_MS + SPAN_MS)
      await this.settle()
    } catch (error) {
      if (!(error instanceof Violation)) throw error
      this.violation ??= error
    } finally {
      Math.random = random
    }
    const { seed, plan, violation, steps } = this
    return { seed, plan, violation, trace: this.lines ?? [], steps, excused: this.judge.excused }
  }

  private violation: Violation | null = null

  /** The product catches what its parts throw; a violation in there must not be lost. */
  private guard(judge: () => void): void {
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
    this.trace(
      'fault',
      () =>
        `#${fault.id} ${fault.kind}: ${targets.map(({ name }) => name).join(', ')} for ${Math.round(fault.ms)} ms`,
    )
    this.healedAt = Math.max(this.healedAt, fault.at + fault.ms)
    for (const target of targets) {
      const heal: unknown = FAULTS[fault.kind](this, fault, target)
      if (typeof heal === 'function') this.timeline.in(fault.ms, () => heal())
    }
    this.timeline.in(fault.ms, () => this.trace('fault', () => `#${fault.id} ${fault.kind}: over`))
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

  /** After the last fault exactly one must serve in time, and go on. */
  private async settle(): Promise<void> {
    await this.run(Math.max(this.timeline.now, this.healedAt))
    const patienceEnds = this.timeline.now + PATIENCE_MS
    let steadySince: number | null = null
    let serving: Replica | null = null
    for (;;) {
      await this.run(this.timeline.now + LOOK_MS)
      const now = this.replicas.filter(({ ready }) => ready)
      const one = now.length === 1 ? (now[0] as Replica) : null
      if (one !== serving) steadySince = this.timeline.now
      serving = one
      if (serving !== null && this.timeline.now - (steadySince as number) >= STEADY_MS) return
      const due = Math.min(this.dueAt(), patienceEnds)
      if (serving === null && this.timeline.now > due) {
        throw new Violation(
          'liveness',
          `${now.length} serve ${Math.round(this.timeline.now - this.healedAt)} ms after the last fault`,
        )
      }
    }
  }

  /** When somebody must serve at the latest, in real time. */
  private dueAt(): number {
    const { leaseDurationMs, retryPeriodMs, drainTimeoutMs, stopTimeoutMs } = this.config
    const had = (...kinds: Fault['kind'][]) => this.plan.some(({ kind }) => kinds.includes(kind))
    let ms = leaseDurationMs + retryPeriodMs + LONGEST_START_MS + REQUEST_MS + RESTART_MS
    // A handover may be under way, with a drain and a slow stop.
    ms += drainTimeoutMs + stopTimeoutMs
    // A watch that died without a word is noticed by its silence, and the Lease is waited out from then on.
    if (had('cut', 'watch silent', 'writes late, watch silent')) ms += leaseDurationMs + retryPeriodMs
    // A restarted agent lets no new launcher in for a lease duration.
    if (had('agent killed', 'agent ended', 'epoch raised', 'holder is another replica')) ms += leaseDurationMs
    const cool = this.replicas.map(({ agent, kernel }) =>
      agent === null ? 0 : kernel.realTimeOf(coolDownEnds(agent.host.elector.state)),
    )
    return Math.max(this.healedAt, Math.min(...cool)) + ms
  }
}

function describe(lease: ApiServer['lease']): string {
  if (lease === null) return 'the Lease is deleted'
  const { holderIdentity, leaseTransitions, leaseDurationSeconds } = lease.spec ?? {}
  return `version ${lease.metadata.resourceVersion}: held by '${holderIdentity ?? ''}', epoch ${leaseTransitions ?? 0}, ${leaseDurationSeconds ?? 0} s`
}
