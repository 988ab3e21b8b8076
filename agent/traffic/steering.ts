import { type Clock, pause, type Timer } from '../clock.ts'
import type { ElectionState, StepDown } from '../election/state.ts'
import { holderOf } from '../lease/lease.ts'
import type { Log } from '../observe/log.ts'
import type { LogThrottle } from '../observe/log-throttle.ts'
import type { Traffic, TrafficListener, TrafficView, Wanted } from './traffic.ts'

/**
 * How long a planned stop waits for the API server to take traffic away. One that answers needs milliseconds; while it is
 * away nobody would learn of it either, and of the 5 s for draining most must be left.
 */
export const CLOSED_WITHIN_MS = 2_000

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
  /** Monotonic ms: by then the launcher's deadman has ended whatever an earlier agent left. */
  private readonly knownFrom: number
  /** What traffic is to be: from the first moment in which this process leads, or cannot go on leading. */
  private known = false
  /** Of the Lease that this replica was last seen to hold. */
  private leaseUid: string | undefined
  private timer: Timer | null = null
  private routedTo: string | null = null
  private open = false
  /** Monotonic ms. */
  private closedAt = Number.NEGATIVE_INFINITY
  /** Of the step down that began last; `null`: it has not to be waited for. */
  private closing: Promise<void> | null = null

  constructor(options: SteeringOptions) {
    this.options = options
    this.knownFrom = options.clock.mono() + options.leaseDurationMs
    this.traffic = options.traffic({
      look: () => this.look(),
      state: options.state,
      changed: () => this.changed(),
    })
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
    if (this.open && !ready) this.closedAt = this.options.clock.mono()
    this.open = ready
    this.traffic.want(this.wanted(ready))
  }

  private wanted(ready: boolean): Wanted {
    const { identity, clock } = this.options
    const [state, inDoubt] = [this.options.state(), this.options.inDoubt()]
    const { term } = state
    this.known ||= ready || clock.mono() >= this.knownFrom || !mayGoOn(state, identity, inDoubt)
    if (!this.known) return { gate: 'unknown' }
    if (term === null) return { gate: 'closed', epoch: null }
    const led = { epoch: term.epoch, ...this.heldLease(state) }
    if (ready) return { gate: 'open', ...led }
    // On its way out a leader takes nothing from anybody.
    if (term.stepDown !== null) return { gate: 'closed', epoch: null }
    // A pause for whoever is on the way here, and no reason to be sent elsewhere: there is nobody else as yet. What would be
    // written while the API server is away would arrive when the doubt is over.
    if (inDoubt || term.doubt) return { gate: 'unknown' }
    return { gate: 'closed', ...led }
  }

  /** One that was deleted, or made anew by others, is not held yet. */
  private heldLease({ seen }: ElectionState): { leaseUid?: string } {
    const lease = seen?.lease ?? null
    if (lease !== null && holderOf(lease) === this.options.identity) this.leaseUid = lease.metadata.uid
    return this.leaseUid === undefined ? {} : { leaseUid: this.leaseUid }
  }

  /**
   * A step down begins: no new request is to come before those that came are waited for. The elector's own timeout runs
   * meanwhile.
   *
   * @param drain not called where the step down has gone on without it
   */
  drain(drain: () => void): void {
    this.look()
    this.closing = this.followed()
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
   * Ends it once whoever leads traffic has acknowledged that the gate is closed, or the time for it is up, and no sooner than
   * whoever routes can have heard of it: a pod's network ends with its last container, and then a connection hangs that
   * would have been refused.
   *
   * @param hurry see `Traffic`
   */
  async end(hurry: Promise<void>): Promise<void> {
    const { clock, lingerMs } = this.options
    this.timer?.cancel()
    this.look()
    await this.followed()
    const left = this.closedAt + lingerMs - clock.mono()
    if (left > 0) await pause(clock, left)
    await this.traffic.close(hurry)
  }

  /** Resolves once the API server follows the gate, or the time for it is up; `null`: it follows already. */
  private followed(): Promise<void> | null {
    const { settling } = this.traffic
    if (settling === null) return null
    const late = Promise.withResolvers<void>()
    const timer = this.options.clock.after(CLOSED_WITHIN_MS, late.resolve)
    return Promise.race([settling, late.promise]).finally(() => timer.cancel())
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
    else repeats.over('traffic', 'traffic is led as the gate says')
    if (routedTo === null || routedTo === this.routedTo) return
    this.routedTo = routedTo
    log.info('traffic is led to', { pod: routedTo || 'nobody, or another pod' })
  }
}

/** Whether an earlier agent of this pod may have served, and this one may take that over without a gap. */
function mayGoOn(state: ElectionState, identity: string, inDoubt: boolean): boolean {
  const { term, seen, workload, killOrdered, ending } = state
  if (ending !== null || killOrdered) return false
  if (term !== null) {
    const undisturbed = term.stepDown === null && !term.doubt && !inDoubt && term.restarting === null
    return term.startOrdered && undisturbed && workload.alive !== 'no'
  }
  if (seen === null) return true
  // A launcher that is idle keeps no grant to take back.
  return seen.lease !== null && holderOf(seen.lease) === identity && !workload.canRun
}
