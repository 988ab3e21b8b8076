import { isDeepStrictEqual } from 'node:util'
import type { Clock } from '../clock.ts'
import { pause } from '../clock.ts'
import type { FrontCounts, FrontRoute, Unheard } from '../front/front-messages.ts'
import type { FrontAccess } from '../lease/lease.ts'
import { holderOf } from '../lease/lease.ts'
import { podOf } from '../lease/operator-annotations.ts'
import type { FrontView } from '../observe/agent-status.ts'
import type { FrontProcess } from './front-process.ts'
import { isUnreachable, leaderFault, type RouteFacts, routeOf } from './front-route.ts'
import type { Traffic, TrafficListener, TrafficView } from './traffic.ts'

export interface FrontTrafficOptions {
  readonly process: (changed: () => void) => Pick<FrontProcess, keyof FrontProcess>
  readonly own: FrontAccess
  readonly config: RouteFacts['config']
  /** For how long a pod that ends still is sent requests, in ms. */
  readonly lingerMs: number
  /** How long the front goes on at its end for what it had accepted. */
  readonly endMs: number
  readonly clock: Clock
  readonly listener: TrafficListener
}

/** Traffic through the fronts: each forwards to the leader, whose front forwards to LangFlow, or lets requests wait. */
export class FrontTraffic implements Traffic {
  private readonly options: FrontTrafficOptions
  private readonly process: Pick<FrontProcess, keyof FrontProcess>
  private route: FrontRoute | null = null
  settling: Promise<void> | null = null

  constructor(options: FrontTrafficOptions) {
    this.options = options
    this.process = options.process(() => options.listener.changed())
  }

  get view(): TrafficView {
    const { own, config, listener, clock } = this.options
    const { process, route } = this
    const state = listener.state()
    const lease = state.seen?.lease ?? null
    const unreachable = isUnreachable({ state, config }, process.unheard, clock.mono())
      ? process.unheard
      : null
    const to = { langflow: config.identity, leader: lease === null ? '' : holderOf(lease), nobody: '' }
    return {
      routedTo: route === null ? null : podOf(to[route.to]),
      problem:
        process.problem ?? leaderFault({ state, own, config }) ?? (unreachable && silence(unreachable)),
      front: { ...viewOf(process), unreachable: unreachable?.address ?? null },
    }
  }

  follow(gateOpen: boolean): void {
    const { own, config, listener } = this.options
    const route = routeOf({ state: listener.state(), open: gateOpen, own, config })
    if (isDeepStrictEqual(route, this.route)) return
    this.route = route
    const settling = this.process.follow(route).then(() => {
      if (this.settling === settling) this.settling = null
    })
    this.settling = settling
  }

  /** What was accepted is forwarded until the end, and so is what comes while others do not know yet that this pod ends. */
  async close(hurry: Promise<void>): Promise<void> {
    const { clock, lingerMs, endMs } = this.options
    const until = clock.mono() + endMs
    await pause(clock, lingerMs, hurry)
    await this.process.end(until, hurry)
  }
}

const NONE: FrontCounts = {
  held: 0,
  oldestHeldMs: 0,
  inFlight: 0,
  streams: 0,
  forwarded: { langflow: 0, leader: 0 },
  failed: { hold_timeout: 0, hold_limit: 0, outcome_unknown: 0, cut: 0, client_gone: 0 },
  streamsEnded: 0,
  rssBytes: 0,
}

function silence({ address, because }: Unheard): string {
  return `the leader's front at ${address} does not answer (${because}), so that requests wait here: let the replicas reach each other's fronts`
}

function viewOf({
  listening,
  counts,
}: Pick<FrontProcess, 'listening' | 'counts'>): Omit<FrontView, 'unreachable'> {
  return { listening, ...(counts ?? NONE) }
}
