import type { Sentence } from '../fault.ts'
import {
  ANY_POD,
  describeAsked,
  type OperatorRequest,
  requestOf,
  targetFault,
} from '../lease/operator-annotations.ts'
import type { CandidateConfig, CandidateState, StepDownReason } from './state.ts'

const FAILOVER_GRACE_MS = 2_000

interface Order {
  readonly request: OperatorRequest
  /** How the leader obeys, or why it refuses. */
  readonly answer: StepDownReason | Sentence
}

/** The most urgent request in the Lease that awaits an answer. */
export function openRequest({ seen, requestsStay }: CandidateState): OperatorRequest | null {
  return requestsStay ? null : requestOf(seen?.lease ?? null)
}

/**
 * A request in the Lease that the leader obeys without asking another replica: a failover or a restart in place. It
 * depends on nothing but the Lease, so it also works if this replica's HTTP server and LangFlow hang. A switchover is
 * decided in `peers/`. A request may have to wait for the end of a doubt or of another restart.
 */
export function operatorOrder(
  { identity }: Pick<CandidateConfig, 'identity'>,
  state: CandidateState,
): Order | null {
  const { term, paused } = state
  const request = openRequest(state)
  if (request === null || request.what === 'switchover') return null
  if (term === null || term.doubt) return null
  const { what, to } = request
  const isRestart = what === 'restart'
  if (isRestart && (term.restartAnswered || term.stepDown !== null || !term.startOrdered)) return null
  const fault = isRestart ? null : targetFault(identity, to)
  const refused = paused ? 'the Lease is paused: resume it first' : fault
  if (refused !== null) return { request, answer: refused }
  const why = { code: what, reason: describeAsked(request) }
  if (isRestart) return { request, answer: { ...why, inPlace: true } }
  const target = to === ANY_POD ? null : to
  return { request, answer: { ...why, to: target, drainMs: 0, graceMs: FAILOVER_GRACE_MS } }
}
