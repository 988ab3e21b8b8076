import { isDeepStrictEqual } from 'node:util'
import { type Clock, pause } from '../clock.ts'
import { type CandidateConfig, doubtAt, type ElectionState } from '../election/state.ts'
import type { FrontRoute, Unheard } from '../front/front-messages.ts'
import { epochOf, type FrontAccess, frontOf, holderOf } from '../lease/lease.ts'
import { podOf } from '../lease/operator-annotations.ts'
import type { FrontProcess } from './front-process.ts'
import type { Traffic, TrafficListener, TrafficView } from './traffic.ts'

export interface FrontTrafficOptions {
  readonly process: (changed: () => void) => Pick<FrontProcess, keyof FrontProcess>
  readonly own: FrontAccess
  readonly config: RouteFacts['config']
  /** How long a terminating pod still receives requests, in ms. */
  readonly lingerMs: number
  /** The time at its end for requests that it has accepted. */
  readonly endMs: number
  readonly clock: Clock
  readonly listener: TrafficListener
}

/**
 * Traffic through the fronts: each front forwards to the leader's front, which forwards to LangFlow or holds the
 * requests.
 */
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
      front: {
        listening: process.listening,
        ...process.counts,
        unreachable: unreachable?.address ?? null,
      },
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

  /** Accepted requests are forwarded until the end, and new ones until clients can have noticed that this pod ends. */
  async close(hurry: Promise<void>): Promise<void> {
    const { clock, lingerMs, endMs } = this.options
    const until = clock.mono() + endMs
    await pause(clock, lingerMs, hurry)
    await this.process.end(until, hurry)
  }
}

function silence({ address, because }: Unheard): string {
  return `the leader's front at ${address} does not answer (${because}), so requests wait at this replica: allow connections between the fronts of all replicas`
}

/** How long the leader's front may leave hops unanswered. */
const UNHEARD_MS = 5_000

export interface RouteFacts {
  readonly state: ElectionState
  /** Whether the gate is open: this replica leads, and its LangFlow serves. */
  readonly open: boolean
  readonly own: FrontAccess
  readonly config: Pick<CandidateConfig, 'identity' | 'renewDeadlineMs'>
}

/** The route of this replica's front. A Lease that looks expired changes nothing: its holder may still renew it. */
export function routeOf(facts: RouteFacts): FrontRoute {
  const { state, open, own, config } = facts
  const { term, seen, highestEpoch } = state
  if (term !== null) {
    const { epoch, renewedAt, stepDown } = term
    const draining = stepDown?.stage === 'draining' ? stepDown : null
    if (draining === null && !(open && stepDown === null)) return { to: 'nobody', epoch, key: own.key }
    // A LangFlow that does not serve cannot finish any request.
    const closing = draining && (draining.served ? draining.drainDeadline : draining.closedAt)
    return { to: 'langflow', epoch, key: own.key, until: doubtAt(config, renewedAt).mono, closing }
  }
  const lease = seen?.lease ?? null
  const epoch = lease === null ? highestEpoch : epochOf(lease)
  const note = lease === null || holderOf(lease) === config.identity ? null : frontOf(lease)
  if (note === null || note === 'closing' || note.address === own.address)
    return { to: 'nobody', epoch, key: null }
  return { to: 'leader', epoch, key: note.key, address: note.address }
}

/** Why this replica's front has no destination although another replica leads, in one sentence. `null`: it has one. */
export function leaderFault({ state, own, config }: Omit<RouteFacts, 'open'>): string | null {
  const lease = state.term === null ? (state.seen?.lease ?? null) : null
  const holder = lease === null ? '' : holderOf(lease)
  if (lease === null || holder === '' || holder === config.identity) return null
  const note = frontOf(lease)
  if (note === null)
    return `${podOf(holder)} leads without a front, so requests wait at this replica: set --traffic=front there, in a version that supports it`
  if (note === 'closing' || note.address !== own.address) return null
  return `${podOf(holder)} leads and publishes the front address of this replica (${own.address}): give each replica its own --front-address`
}

/**
 * Whether the leader's front cannot be reached from here although the leader is well: it has renewed the Lease after
 * its front had not answered for 5 s. A leader that does not renew is in doubt, and requests wait for its successor.
 */
export function isUnreachable(
  { state: { term, seen }, config }: Pick<RouteFacts, 'state' | 'config'>,
  unheard: Unheard | null,
  now: number,
): unheard is Unheard {
  if (unheard === null || term !== null || seen === null) return false
  const { changedAt } = seen
  return changedAt >= unheard.since + UNHEARD_MS && now < changedAt + config.renewDeadlineMs
}
