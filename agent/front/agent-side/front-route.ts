import { type CandidateConfig, type CandidateState, doubtAt } from '../../election/state.ts'
import type { Fault } from '../../fault.ts'
import { epochOf, type FrontAccess, frontOf, holderOf } from '../../lease/lease.ts'
import { podOf } from '../../lease/operator-annotations.ts'
import type { FrontRoute } from '../front-messages.ts'

const SILENT_MS = 5_000

export interface RouteFacts {
  readonly state: CandidateState
  readonly open: boolean
  readonly own: FrontAccess
  readonly config: Pick<CandidateConfig, 'identity' | 'renewDeadlineMs'>
}

/** The route of this replica's front. A Lease that looks expired changes nothing: its holder may still renew it. */
export function routeOf(facts: RouteFacts): FrontRoute {
  const { state, open, own, config } = facts
  const { term, seen, highestEpoch } = state
  if (term !== null) {
    const { epoch, renewedAt, stepDown, planned } = term
    const draining = stepDown?.stage === 'draining' ? stepDown : null
    if (draining === null && !(open && stepDown === null)) return { to: 'nobody', epoch, key: own.key }
    // A LangFlow that does not serve cannot finish any request.
    const closing = draining && (draining.served ? draining.drainDeadline : draining.closedAt)
    const until = doubtAt(config, renewedAt).mono
    return { to: 'langflow', epoch, key: own.key, until, closing, untilQuiet: planned !== null }
  }
  const lease = seen?.lease ?? null
  const epoch = lease === null ? highestEpoch : epochOf(lease)
  const note = lease === null || holderOf(lease) === config.identity ? null : frontOf(lease)
  if (note === null || note === 'closing' || note.address === own.address)
    return { to: 'nobody', epoch, key: null }
  return { to: 'leader', epoch, key: note.key, address: note.address }
}

export function leaderFault({ state, config }: Pick<RouteFacts, 'state' | 'config'>): Fault {
  const lease = state.term === null ? (state.seen?.lease ?? null) : null
  const holder = lease === null ? '' : holderOf(lease)
  if (lease === null || holder === '' || holder === config.identity) return null
  if (frontOf(lease) !== null) return null
  return `${podOf(holder)} leads without a front, so requests wait at this replica: set --traffic=front there, in a version that supports it`
}

/** The front at this address has answered no probe since `since` (monotonic ms). */
export interface LeaderSilence {
  readonly address: string
  readonly since: number
  readonly because: string
}

/** Only if the leader is well: it has renewed the Lease after its front was silent for 5 s. */
export function silenceFault(
  { state: { term, seen }, config }: Pick<RouteFacts, 'state' | 'config'>,
  silence: LeaderSilence | null,
  now: number,
): Fault {
  if (silence === null || term !== null || seen === null) return null
  const { address, since, because } = silence
  if (seen.changedAt < since + SILENT_MS || now >= seen.changedAt + config.renewDeadlineMs) return null
  return `the leader's front at ${address} does not answer (${because}), so requests wait at this replica: allow connections between the fronts of all replicas`
}
