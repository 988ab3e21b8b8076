import { type Clock, pause } from '../clock.ts'
import type { ElectionState, StepDown } from '../election/state.ts'
import type { Log, LogThrottle } from '../observe/log.ts'
import type { Traffic, TrafficListener, TrafficView } from './traffic.ts'

/**
 * How long a planned stop waits until its front holds requests. A working front needs milliseconds, and a dead one
 * forwards no request.
 */
export const CLOSED_WITHIN_MS = 2_000

export interface SteeringOptions {
  readonly traffic: (listener: TrafficListener) => Traffic
  /** How long this process stays after the gate has closed, in milliseconds. */
  readonly lingerMs: number
  readonly clock: Clock
  readonly log: Pick<Log, 'info'>
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
  readonly state: () => ElectionState
  /** Reads the clock, because a late timer must not keep the gate open. */
  readonly ready: () => boolean
}

/** Aligns traffic with the gate, and delays a planned stop until traffic follows. */
export class Steering {
  private readonly options: SteeringOptions
  private readonly traffic: Traffic
  private routedTo: string | null = null
  private open = false
  /** Monotonic ms. */
  private closedAt = Number.NEGATIVE_INFINITY

  constructor(options: SteeringOptions) {
    this.options = options
    this.traffic = options.traffic({ state: options.state, changed: () => this.changed() })
  }

  get view(): TrafficView {
    return this.traffic.view
  }

  /** Must be called whenever the gate may have moved. */
  gateChanged(ready = this.options.ready()): void {
    if (this.open && !ready) this.closedAt = this.options.clock.mono()
    this.open = ready
    this.traffic.follow(ready)
  }

  /**
   * Drains or stops the workload when the front has acknowledged that the gate is closed, or its time is over. New
   * requests are thus held before the drain waits for those in flight, and before LangFlow is gone. The elector's own
   * timeout runs at the same time.
   *
   * @param go not called if the step down is in another stage or over, or if a kill came first
   */
  onceClosed(stage: StepDown['stage'], go: () => void): void {
    this.gateChanged()
    const closing = this.followed()
    if (closing === null) {
      go()
      return
    }
    const { state } = this.options
    const epoch = state().term?.epoch
    // A later term may be in the same stage.
    void closing.then(() => {
      const { term } = state()
      if (term?.epoch === epoch && term?.stepDown?.stage === stage) go()
    })
  }

  /**
   * Ends the traffic when the front has acknowledged that the gate is closed, or its time is over. It waits until the
   * Service's routes can have changed: a pod's network ends with its last container, and from then on a connection
   * hangs instead of being refused.
   *
   * @param hurry see `Traffic`
   */
  async end(hurry: Promise<void>): Promise<void> {
    const { clock, lingerMs } = this.options
    this.gateChanged()
    await this.followed(hurry)
    const left = this.closedAt + lingerMs - clock.mono()
    if (left > 0) await pause(clock, left, hurry)
    await this.traffic.close(hurry)
  }

  /**
   * Resolves when traffic follows the gate, the time for it is over, or `hurry` has resolved. `null`: it follows
   * already.
   */
  private followed(hurry?: Promise<void>): Promise<void> | null {
    const { settling } = this.traffic
    if (settling === null) return null
    const enough = hurry === undefined ? settling : Promise.race([settling, hurry])
    return pause(this.options.clock, CLOSED_WITHIN_MS, enough)
  }

  private changed(): void {
    const { log, repeats } = this.options
    const { problem, routedTo } = this.traffic.view
    if (problem !== null) repeats.happened('traffic', problem)
    else repeats.over('traffic', 'requests reach the leader again')
    if (routedTo === null || routedTo === this.routedTo) return
    this.routedTo = routedTo
    if (routedTo === '') log.info('requests are held, because no replica serves')
    else log.info('requests are sent to', { pod: routedTo })
  }
}
