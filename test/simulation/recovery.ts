import { coolDownEnds } from '../../agent/election/follower.ts'
import { durationOf, holderOf, type Lease } from '../../agent/lease/lease.ts'
import { ASK_MS, START_TIMEOUT_MS } from './agent-host.ts'
import { isVacant } from './knowledge.ts'
import type { Replica } from './replica.ts'
import { Violation } from './violation.ts'
import type { World } from './world.ts'

const LOOK_MS = 100
/** One that serves must go on for this long to count. */
const STEADY_MS = 4_000
/** Probes of a starting workload, messages, and the looks of this file. */
const STEPS_MS = 300
/** The longest grace period, and the longest pause before a lost replica is replaced. */
const LAST_RESTART_MS = 60_000

/** What may take longer than lease duration, retry period and start together, and why. */
export const DELAYS = {
  'record says longer':
    'Rule 6: a candidate waits for as long as the record says, and a person wrote a longer duration than the candidates have.',
  'Lease is gone':
    'Rule 7: an absent Lease is looked for each retry period. One may pass before the wait begins, and one after it has ended.',
  'cooling down': 'A workload that failed on each replica is tried again later, and later each time.',
  'revision failed':
    'A revision whose first start failed leaves the Lease to the others for a lease duration.',
  'standby never gets ready':
    'Who was ordered to start while its standby hangs waits for it as long as a start may take, and hands over.',
  'standby is prepared':
    'Who was ordered to start while its standby is being prepared waits for that, which takes no longer than a start from nothing on a real machine.',
  'hands over':
    'A leader that asks the others hands over of its own accord: to a newer revision, or to one that serves sooner than it starts.',
  'request under way':
    'A request that was sent before the faults were over is waited for until its deadline.',
} as const
export type Delay = keyof typeof DELAYS

export interface Recovered {
  /** Milliseconds from when all faults were over, and everything ran again, to when one served for good. */
  readonly ms: number
  /** The delays without which it would have been too late. */
  readonly delays: readonly Delay[]
}

/** After the last fault exactly one must serve in time, and go on. */
export class Recovery {
  private readonly world: World
  private healedAt = 0
  private recordedMs = 0
  private recordedAt = ''
  /** Real time from which some replica has cooled down. */
  private coolFrom = 0
  result: Recovered | null = null

  constructor(world: World) {
    this.world = world
  }

  faulty(until: number): void {
    this.healedAt = Math.max(this.healedAt, until)
  }

  /** The Lease was written. */
  written(lease: Lease): void {
    if (isVacant(lease)) return
    // Only what its holder wrote may be shorter than what it said before.
    const renewTime = lease.spec?.renewTime ?? ''
    const edited = holderOf(lease) === '' || renewTime === this.recordedAt
    this.recordedMs = Math.max(durationOf(lease, 0), edited ? this.recordedMs : 0)
    this.recordedAt = renewTime
  }

  async await(run: (until: number) => Promise<void>): Promise<void> {
    const { timeline, replicas } = this.world
    await run(this.healedAt)
    const waiting = replicas.some(({ agent }) => agent?.elector.state.inFlight)
    const hangs = replicas.some(({ launcher }) => launcher?.standbyHangs)
    const { recordedMs } = this
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
      // With the timings of now: those of a replica that has come back may be others.
      const allowed: Record<Delay, number> = {
        'record says longer': Math.max(0, recordedMs - this.longest('leaseDurationMs')),
        'Lease is gone': goneMs,
        'cooling down': Math.max(0, this.coolFrom - this.start),
        'revision failed': this.anyYields ? this.longest('leaseDurationMs') : 0,
        'request under way': requestMs,
        'standby never gets ready': hangingMs,
        'standby is prepared': preparedMs,
        'hands over': this.world.asks ? this.handoverMs : 0,
      }
      const delays = needed(allowed, ms - this.plainMs)
      if (delays === null)
        throw new Violation('liveness', `${ready.length} serve ${Math.round(ms)} ms after the last fault`)
      if (serving !== null && timeline.now - since >= STEADY_MS) {
        this.result = { ms, delays }
        return
      }
      await run(timeline.now + LOOK_MS)
    }
  }

  /** The faults are over, and whatever they ended was started again. */
  private get start(): number {
    const resumed = Math.max(...this.world.replicas.map(({ resumedAt }) => resumedAt))
    return Math.max(this.healedAt, Math.min(resumed, this.healedAt + LAST_RESTART_MS))
  }

  /** Lease duration, retry period and start. */
  private get plainMs(): number {
    const startMs = Math.max(...this.world.replicas.map(({ behaviour }) => behaviour.startMs))
    return this.longest('leaseDurationMs') + this.longest('retryPeriodMs') + startMs + STEPS_MS
  }

  private get anyYields(): boolean {
    return this.world.replicas.some(({ config }) => this.world.judge.revisions.yields(config))
  }

  private get handoverMs(): number {
    return ASK_MS + this.longest('drainTimeoutMs') + this.longest('stopTimeoutMs') + this.plainMs
  }

  /** Of all replicas: any of them may be the next one. */
  private longest(
    timing: 'leaseDurationMs' | 'renewDeadlineMs' | 'retryPeriodMs' | 'drainTimeoutMs' | 'stopTimeoutMs',
  ): number {
    return Math.max(...this.world.replicas.map(({ config }) => config[timing]))
  }

  /** Real time; 0: some replica does not cool down. */
  private get coolDownEnd(): number {
    const competing = this.world.replicas.filter(
      (replica) => !this.world.judge.versions.keepsAway(replica.config),
    )
    const ends = competing.map(({ agent, kernel }) => {
      const end = agent === null ? 0 : coolDownEnds(agent.elector.state)
      return end === 0 ? 0 : kernel.realTimeOf(end)
    })
    return Math.min(...ends)
  }
}

/** The delays that it cannot do without; `null`: it is too long all the same. */
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
