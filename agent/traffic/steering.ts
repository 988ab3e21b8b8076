import { type Clock, pause, type Timer } from '../clock.ts'
import type { ElectionState, StepDown } from '../election/state.ts'
import { holderOf } from '../lease/lease.ts'
import type { Log } from '../observe/log.ts'
import type { LogThrottle } from '../observe/log-throttle.ts'
import {
  CLOSED_WITHIN_MS,
  type Traffic,
  type TrafficListener,
  type TrafficView,
  type Wanted,
} from './traffic.ts'

export interface SteeringOptions {
  readonly traffic: (listener: TrafficListener) => Traffic
  readonly identity: string
  readonly leaseDurationMs: number
  /** For how long after the gate has closed this process stays, in milliseconds. */
  readonly lingerMs: number
  readonly clock: Clock
  readonly log: Pick<Log, 'info'>
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
  readonly state: () => ElectionState
  /** Both ask the clock: a timer that is late must not hold the gate open. */
  readonly ready: () => boolean
  readonly inDoubt: () => boolean
}

/** Keeps traffic in line with the gate, and a planned stop behind it. */
export class Steering {
  private readonly options: SteeringOptions
  private readonly traffic: Traffic
  private readonly intention: Intention
  private timer: Timer | null = null
  private routedTo: string | null = null
  private open = false
  /** Monotonic ms. */
  private closedAt = Number.NEGATIVE_INFINITY
  /** Of the step down that began last; `null`: it has not to be waited for. */
  private closing: Promise<void> | null = null

  constructor(options: SteeringOptions) {
    this.options = options
    this.intention = new Intention(options.clock.mono() + options.leaseDurationMs)
    this.traffic = options.traffic({ look: () => this.look(), changed: () => this.changed() })
  }

  get view(): TrafficView {
    return this.traffic.view
  }

  start(): void {
    const { clock, leaseDurationMs } = this.options
    // By then it is known what traffic is to be, whatever was heard.
    this.timer = clock.after(leaseDurationMs, () => this.look())
  }

  /** To be called whenever the gate may have moved. */
  look(ready = this.options.ready()): void {
    const { state, identity, inDoubt, clock } = this.options
    if (this.open && !ready) this.closedAt = clock.mono()
    this.open = ready
    this.traffic.want(
      this.intention.of({ state: state(), identity, ready, inDoubt: inDoubt(), now: clock.mono() }),
    )
  }

  /**
   * A step down begins: no new request is to come before those that came are waited for. The elector's own timeout runs
   * meanwhile.
   *
   * @param drain not called where the step down has gone on without it
   */
  drain(drain: () => void): void {
    this.look()
    this.closing = followed(this.traffic, this.options.clock)
    this.onceClosed('draining', drain)
  }

  /**
   * With a short drain the stop comes before the API server knows; until it does, or the time for it is up, requests
   * would meet nothing.
   *
   * @param stop not called once nothing is left to be stopped, or a kill has overtaken it
   */
  stop(stop: () => void): void {
    this.onceClosed('stopping', stop)
  }

  /**
   * Ends it once the API server has acknowledged that the gate is closed, or the time for it is up, and no sooner than
   * whoever routes can have heard of it: a pod's network ends with its last container, and then a connection hangs that
   * would have been refused.
   */
  async end(): Promise<void> {
    const { clock, lingerMs } = this.options
    this.timer?.cancel()
    this.look()
    await followed(this.traffic, clock)
    const left = this.closedAt + lingerMs - clock.mono()
    if (left > 0) await pause(clock, left)
    this.traffic.close()
  }

  private onceClosed(stage: StepDown['stage'], go: () => void): void {
    if (this.closing === null) {
      go()
      return
    }
    const { state } = this.options
    const epoch = state().term?.epoch
    // A later term may be in the same stage.
    void this.closing.then(() => {
      const { term } = state()
      if (term?.epoch === epoch && term?.stepDown?.stage === stage) go()
    })
  }

  private changed(): void {
    const { log, repeats } = this.options
    const { problem, routedTo } = this.traffic.view
    if (problem !== null) repeats.happened('traffic', problem)
    else repeats.over('traffic', 'the API server leads traffic as the gate says')
    if (routedTo === null || routedTo === this.routedTo) return
    this.routedTo = routedTo
    log.info('the API server leads traffic to', { pod: routedTo || 'nobody, or another pod' })
  }
}

/** Resolves once the API server follows the gate, or the time for it is up; `null`: it follows already. */
function followed(traffic: Pick<Traffic, 'isSettled' | 'settled'>, clock: Clock): Promise<void> | null {
  return traffic.isSettled ? null : inTime(traffic, clock)
}

async function inTime(traffic: Pick<Traffic, 'settled'>, clock: Clock): Promise<void> {
  const late = Promise.withResolvers<void>()
  const timer = clock.after(CLOSED_WITHIN_MS, late.resolve)
  await Promise.race([traffic.settled(), late.promise])
  timer.cancel()
}

export interface IntentionFacts {
  readonly state: Pick<ElectionState, 'term' | 'seen' | 'workload' | 'killOrdered' | 'ending'>
  readonly identity: string
  /** `/readyz`: the leader, whose LangFlow is healthy. */
  readonly ready: boolean
  /** By the clock, whether or not the election has noticed. */
  readonly inDoubt: boolean
  /** Monotonic ms. */
  readonly now: number
}

const UNKNOWN: Wanted = { gate: 'unknown' }

/** What traffic is to be. Known from the first moment in which this process leads, or cannot go on leading. */
export class Intention {
  private readonly until: number
  private known = false
  private leaseUid: string | undefined

  /** @param until monotonic ms: by then the launcher's deadman has ended whatever an earlier agent left */
  constructor(until: number) {
    this.until = until
  }

  of(facts: IntentionFacts): Wanted {
    const { term } = facts.state
    this.known ||= facts.ready || facts.now >= this.until || !mayGoOn(facts)
    if (!this.known) return UNKNOWN
    if (term === null) return { gate: 'closed', epoch: null }
    const led = { epoch: term.epoch, ...this.heldLease(facts) }
    if (facts.ready) return { gate: 'open', ...led }
    // On its way out a leader takes nothing from anybody.
    if (term.stepDown !== null) return { gate: 'closed', epoch: null }
    // A pause for whoever is on the way here, and no reason to be sent elsewhere: there is nobody else as yet. What would be
    // written while the API server is away would arrive when the doubt is over.
    if (facts.inDoubt || term.doubt) return UNKNOWN
    return { gate: 'closed', ...led }
  }

  /** One that was deleted, or made anew by others, is not held yet. */
  private heldLease({ state, identity }: IntentionFacts): { leaseUid?: string } {
    const lease = state.seen?.lease ?? null
    if (lease !== null && holderOf(lease) === identity) this.leaseUid = lease.metadata.uid
    return this.leaseUid === undefined ? {} : { leaseUid: this.leaseUid }
  }
}

/** Whether an earlier agent of this pod may have served, and this one may take that over without a gap. */
function mayGoOn({
  state: { term, seen, workload, killOrdered, ending },
  identity,
  inDoubt,
}: IntentionFacts): boolean {
  if (ending !== null || killOrdered) return false
  if (term !== null) {
    const undisturbed = term.stepDown === null && !term.doubt && !inDoubt && term.restarting === null
    return term.startOrdered && undisturbed && workload.alive !== 'no'
  }
  if (seen === null) return true
  // A launcher that is idle keeps no grant to take back.
  return seen.lease !== null && holderOf(seen.lease) === identity && !workload.canRun
}
