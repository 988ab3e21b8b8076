import { isDeepStrictEqual } from 'node:util'
import { type Clock, pause, type Timer } from '../../clock.ts'
import type { CandidateState } from '../../election/state.ts'
import type { Fault } from '../../fault.ts'
import { type FrontAccess, holderOf } from '../../lease/lease.ts'
import { podOf } from '../../lease/operator-annotations.ts'
import type { LogThrottle } from '../../observe/log.ts'
import type { FrontView } from '../../status/agent-status.ts'
import type { FrontRoute } from '../front-messages.ts'
import type { FrontProcess } from './front-process.ts'
import { type LeaderSilence, leaderFault, type RouteFacts, routeOf, silenceFault } from './front-route.ts'

/** A working front needs milliseconds, and a dead one forwards no request. */
export const CLOSED_WITHIN_MS = 2_000
const PROBE_MS = 2_000

export interface OwnFront {
  readonly access: FrontAccess
  /** At the end of the agent, for requests that the front has accepted. */
  readonly holdTimeoutMs: number
  /** Why the front at this address does not answer. */
  readonly probe: (address: string) => Promise<Fault>
  readonly process: (changed: () => void) => Pick<FrontProcess, keyof FrontProcess>
}

export interface SteeringOptions {
  readonly front: OwnFront | null
  readonly config: RouteFacts['config']
  readonly lingerMs: number
  readonly clock: Clock
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
  readonly state: () => CandidateState
  /** Reads the clock, because a late timer must not keep the gate open. */
  readonly ready: () => boolean
  /** No request is in flight, while the leader waits for that. */
  readonly quiet: () => void
}

export interface TrafficView {
  /** The pod to which the front forwards. Empty: requests wait. `null`: unknown, or mode `readiness`. */
  readonly routedTo: string | null
  readonly problem: Fault
  readonly front: FrontView | null
}

export class Steering {
  private readonly options: SteeringOptions
  private readonly process: ReturnType<OwnFront['process']> | null
  private route: FrontRoute | null = null
  /** Resolves when the front follows the last route. `null`: it does, or this replica has no front. */
  private settling: Promise<void> | null = null
  private open = false
  private closedAt = Number.NEGATIVE_INFINITY
  private silence: LeaderSilence | null = null
  private probing: Timer | null = null
  private isEnded = false

  constructor(options: SteeringOptions) {
    this.options = options
    this.process = options.front?.process(() => this.changed()) ?? null
    this.probeLater()
  }

  get view(): TrafficView {
    const { process, route } = this
    const { front, config, clock } = this.options
    if (front === null || process === null) return { routedTo: null, problem: null, front: null }
    const state = this.options.state()
    const lease = state.seen?.lease ?? null
    const { listening, counts } = process
    const to = { langflow: config.identity, leader: lease === null ? '' : holderOf(lease), nobody: '' }
    return {
      routedTo: route === null ? null : podOf(to[route.to]),
      problem:
        process.problem ??
        leaderFault({ state, config }) ??
        silenceFault({ state, config }, this.silence, clock.mono()),
      front: { listening, ...counts },
    }
  }

  gateChanged(ready = this.options.ready()): void {
    const { front, config, clock, state } = this.options
    if (this.open && !ready) this.closedAt = clock.mono()
    this.open = ready
    if (front === null || this.process === null) return
    const route = routeOf({ state: state(), open: ready, own: front.access, config })
    if (isDeepStrictEqual(route, this.route)) return
    this.route = route
    this.silence = null
    const settling = this.process.follow(route).then(() => {
      if (this.settling === settling) this.settling = null
    })
    this.settling = settling
    this.lookForQuiet()
  }

  private lookForQuiet(): void {
    const { process, route } = this
    // A front that does not listen has no requests.
    const isQuiet = process !== null && (process.quiet || !process.listening)
    if (isQuiet && route?.to === 'langflow' && route.untilQuiet) this.options.quiet()
  }

  /** `null`: new requests are held already, so the drain can wait for those in flight. */
  closed(): Promise<void> | null {
    this.gateChanged()
    return this.followed()
  }

  /** Waits until the Service's routes can have changed: connections to an ended pod hang. */
  async end(hurry: Promise<void>): Promise<void> {
    const { front, clock, lingerMs } = this.options
    this.gateChanged()
    this.probing?.cancel()
    this.isEnded = true
    await this.followed(hurry)
    const now = clock.mono()
    if (front === null) {
      const left = this.closedAt + lingerMs - now
      if (left > 0) await pause(clock, left, hurry)
    } else {
      await pause(clock, lingerMs, hurry)
      await this.process?.end(now + lingerMs + front.holdTimeoutMs, hurry)
    }
  }

  private followed(hurry?: Promise<void>): Promise<void> | null {
    const { settling } = this
    if (settling === null) return null
    const enough = hurry === undefined ? settling : Promise.race([settling, hurry])
    return pause(this.options.clock, CLOSED_WITHIN_MS, enough)
  }

  /** An idle front would not notice that it cannot reach the leader's. */
  private async probeLeader({ probe }: OwnFront): Promise<void> {
    const { clock } = this.options
    const { route } = this
    const since = this.silence?.since ?? clock.mono()
    const address = route?.to === 'leader' ? route.address : null
    const because = address && (await probe(address))
    // A late answer of a former leader's front says nothing about the present one.
    if (route === this.route) this.silence = address && because ? { address, since, because } : null
    this.changed()
    this.probeLater()
  }

  private probeLater(): void {
    const { front, clock } = this.options
    if (front !== null && !this.isEnded)
      this.probing = clock.after(PROBE_MS, () => void this.probeLeader(front))
  }

  private changed(): void {
    const { repeats } = this.options
    const { problem } = this.view
    this.lookForQuiet()
    if (problem !== null) repeats.happened('traffic', problem)
    else repeats.over('traffic', 'requests reach the leader again')
  }
}
