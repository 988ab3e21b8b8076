import type { ElectionState } from '../election/state.ts'
import { holderOf } from '../lease/lease.ts'
import type { Wanted } from './traffic.ts'

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
