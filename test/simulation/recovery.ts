import { durationOf, holderOf, type Lease } from '../../agent/lease/lease.ts'
import { ASK_MS, START_TIMEOUT_MS } from './agent-host.ts'
import { isVacant } from './knowledge.ts'
import type { Replica } from './replica.ts'
import { Violation } from './violation.ts'
import type { World } from './world.ts'

const LOOK_MS = 100
/** A replica counts as recovered after it has served for this long. */
const STEADY_MS = 4_000
/** Allowance for probes of a starting workload, for messages, and for the polling in this file. */
const STEPS_MS = 300
/** The longest grace period plus the longest delay before a lost replica is replaced. */
const LAST_RESTART_MS = 60_000

/** Reasons why a recovery may take longer than lease duration + retry period + start. */
export const DELAYS = {
  'longer duration recorded':
    'Rule 6: a candidate waits for the recorded lease duration, and a person wrote a longer one than the candidates have.',
  'Lease absent':
    'Rule 7: candidates look for an absent Lease once per retry period. One period may pass before the wait begins, and one after it has ended.',
  'cooling down':
    'The workload has failed on each replica. The cool-down before the next start grows with each failure.',
  'revision failed':
    'A revision whose first start failed leaves the Lease to the others for a lease duration.',
  'standby hangs':
    'A replica with a hanging standby was ordered to start. It waits for the standby for the start timeout, and then hands over.',
  'standby being prepared':
    'A replica whose standby is being prepared was ordered to start. It waits for the standby. On a real machine that takes no longer than a cold start.',
  'voluntary handover': 'A leader that asks its peers hands over without a failure, to a newer revision.',
  'no member':
    'F3: a replica that the last holder has not enrolled waits for the failsafe’s limit after the last write.',
  'request in flight': 'An agent waits until the deadline of a request that it sent before the faults ended.',
} as const
export type Delay = keyof typeof DELAYS

export interface Recovered {
  /** Milliseconds from the time when all faults were over and all processes ran, until a replica served permanently. */
  readonly ms: number
  /** The delays that this recovery needed in order to be in time. */
  readonly delays: readonly Delay[]
}

/** Judges that exactly one replica serves in time after the last fault, and continues. */
export class Recovery {
  private readonly world: World
  private healedAt = 0
  private recordedMs = 0
  private recordedAt = ''
  /** Real time at which the first replica has cooled down. */
  private coolFrom = 0
  result: Recovered | null = null

  constructor(world: World) {
    this.world = world
  }

  faulty(until: number): void {
    this.healedAt = Math.max(this.healedAt, until)
  }

  written(lease: Lease): void {
    if (isVacant(lease)) return
    // Only the holder may shorten the recorded duration. A write by a person doesn't reduce the wait.
    const renewTime = lease.spec?.renewTime ?? ''
    const edited = holderOf(lease) === '' || renewTime === this.recordedAt
    this.recordedMs = Math.max(durationOf(lease, 0), edited ? this.recordedMs : 0)
    this.recordedAt = renewTime
  }

  async await(run: (until: number) => Promise<void>): Promise<void> {
    const { timeline, replicas } = this.world
    await run(this.healedAt)
    const { recordedMs } = this
    const waiting = replicas.some(({ agent }) => agent?.elector.state.inFlight)
    const hangs = replicas.some(({ launcher }) => launcher?.standbyHangs)
    const { revisions } = this.world.judge
    const goneMs = this.world.server.lease === null ? this.longest('retryPeriodMs') : 0
    const requestMs = waiting ? this.longest('renewDeadlineMs') / 2 : 0
    const hangingMs = hangs ? START_TIMEOUT_MS + this.longest('stopTimeoutMs') : 0
    let preparedMs = 0
    let since = timeline.now
    let serving: Replica | null = null
    for (;;) {
      this.coolFrom = Math.max(this.coolFrom, this.coolDownEnd)
      const ready = replicas.filter((replica) => replica.ready)
      const one = ready.length === 1 ? (ready[0] as Replica) : null
      if (one !== serving) since = timeline.now
      serving = one
      for (const { agent, launcher, behaviour, workload } of replicas)
        if (agent?.elector.state.term?.startOrdered && !workload?.present && launcher?.standbyPrepares)
          preparedMs = Math.max(preparedMs, behaviour.prepareMs + behaviour.preparedStartMs)
      const ms = (serving === null ? timeline.now : since) - this.start
      // These use the current timings, because a replica may have come back with others.
      const allowed: Record<Delay, number> = {
        'longer duration recorded': Math.max(0, recordedMs - this.longest('leaseDurationMs')),
        'Lease absent': goneMs,
        'cooling down': Math.max(0, this.coolFrom - this.start),
        'revision failed': replicas.some(({ config }) => revisions.yields(config))
          ? this.longest('leaseDurationMs')
          : 0,
        'request in flight': requestMs,
        'no member': this.world.failsafe ? this.longest('failsafeMaxMs') : 0,
        'standby hangs': hangingMs,
        'standby being prepared': preparedMs,
        'voluntary handover': this.world.asksPeers ? this.handoverMs : 0,
      }
      const delays = needed(allowed, ms - this.plainMs)
      if (delays === null)
        throw new Violation(
          'liveness',
          `${ready.length} replicas serve ${Math.round(ms)} ms after the last fault`,
        )
      if (serving !== null && timeline.now - since >= STEADY_MS) {
        this.result = { ms, delays }
        return
      }
      await run(timeline.now + LOOK_MS)
    }
  }

  /** Real time at which the faults are over and all processes that they ended run again. */
  private get start(): number {
    const resumed = Math.max(...this.world.replicas.map(({ resumedAt }) => resumedAt))
    return Math.max(this.healedAt, Math.min(resumed, this.healedAt + LAST_RESTART_MS))
  }

  /** Lease duration, retry period and start. */
  private get plainMs(): number {
    const startMs = Math.max(...this.world.replicas.map(({ behaviour }) => behaviour.startMs))
    return this.longest('leaseDurationMs') + this.longest('retryPeriodMs') + startMs + STEPS_MS
  }

  private get handoverMs(): number {
    const endMs =
      this.longest('quietTimeoutMs') + this.longest('drainTimeoutMs') + this.longest('stopTimeoutMs')
    return ASK_MS + endMs + this.plainMs
  }

  /** The longest of all replicas, because any of them may be the next leader. */
  private longest(
    timing: `${'failsafeMax' | 'leaseDuration' | 'renewDeadline' | 'retryPeriod' | `${'quiet' | 'drain' | 'stop'}Timeout`}Ms`,
  ): number {
    return Math.max(...this.world.replicas.map(({ config }) => config[timing]))
  }

  /** Real time at which the first replica has cooled down. 0: a replica has no cool-down. */
  private get coolDownEnd(): number {
    const competing = this.world.replicas.filter(
      (replica) => !this.world.judge.versions.keepsAway(replica.config),
    )
    const ends = competing.map(({ agent, kernel }) => {
      const end = agent?.elector.state.coolDown?.until ?? 0
      return end === 0 ? 0 : kernel.realTimeOf(end)
    })
    return Math.min(...ends)
  }
}

/** The delays that explain the excess over the plain time. `null`: they don't suffice. */
function needed(allowed: Readonly<Record<Delay, number>>, tooLongMs: number): Delay[] | null {
  let left = tooLongMs
  const delays: Delay[] = []
  for (const delay of Object.keys(allowed) as Delay[]) {
    const most = allowed[delay]
    if (left > 0 && most > 0) delays.push(delay)
    left -= most
  }
  return left > 0 ? null : delays
}
