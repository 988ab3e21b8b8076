import { isBefore } from '../election/quiet-moment.ts'
import { openRequest, type Term } from '../election/state.ts'
import type { Sentence } from '../fault.ts'
import type { OperatorRequest } from '../lease/operator-annotations.ts'
import { ANY_POD, describeAsked, isOfPod, podOf, targetFault } from '../lease/operator-annotations.ts'
import { ASK_AGAIN_MS, type HandoverOptions, type Peers } from './peers.ts'

export interface SwitchoverOptions extends HandoverOptions {
  readonly identity: string
  /** `null`: no peer is asked, so the operator has to verify that the target could take over. */
  readonly peers: Pick<Peers, 'present' | 'askAgain'> | null
}

/** Hands the Lease over if an operator requests it in the Lease. Refuses if no replica could serve afterwards. */
export class Switchover {
  private readonly options: SwitchoverOptions
  private request: (OperatorRequest & { readonly epoch: number }) | null = null

  constructor(options: SwitchoverOptions) {
    this.options = options
  }

  leaseChanged(): void {
    const { peers, state } = this.options
    const request = openRequest(state())
    const { term } = state()
    if (request?.what !== 'switchover' || term === null) {
      this.request = null
      return
    }
    const { to, epoch, now } = this.request ?? {}
    const isNew = to !== request.to || epoch !== term.epoch || now !== request.now
    if (isNew) this.request = { ...request, epoch: term.epoch }
    // The readiness of the others may be some seconds old, so they are asked again first.
    if (peers !== null && isNew) peers.askAgain()
    if (peers === null && (isNew || !isDecided(term, request.to))) this.asked()
  }

  /** While the leader waits for a quiet moment, each poll shows whether the target could still take over. */
  asked(): void {
    const { request } = this
    const { peers, state, dispatch } = this.options
    const { term } = state()
    // In doubt the outcome is open, so the request waits, as it does for the end of a restart in place.
    if (request === null || term === null || term.doubt || term.stepDown?.inPlace) return
    const { to, now } = request
    if (isDecided(term, to) && term.planned?.why.code !== 'switchover') return
    const target = this.target(to)
    if (typeof target === 'string') dispatch({ type: 'switchover_refused', to, reason: target })
    else dispatch({ type: 'step_down', code: 'switchover', reason: describeAsked(request), now, ...target })
    if (state().term?.planned?.why.code === 'switchover') peers?.askAgain(ASK_AGAIN_MS)
  }

  private target(to: string): { readonly to: string | null } | Sentence {
    const { identity, peers, state } = this.options
    const fault = state().paused ? 'the Lease is paused: resume it first' : targetFault(identity, to)
    if (fault !== null) return fault
    if (peers === null) return { to: to === ANY_POD ? null : to }
    const { present: members } = peers
    if (to === ANY_POD)
      return members.some(({ ready }) => ready) ? { to: null } : 'no other replica can take over now'
    const member = members.find((one) => isOfPod(one.identity, to))
    if (member?.ready) return { to: member.identity }
    const others = members.map((one) => podOf(one.identity)).join(', ')
    return member === undefined
      ? `no replica named ${to} answers; other replicas: ${others || 'none'}`
      : `${to} cannot take over now: see "unable" and "problem" in its /status`
  }
}

/** The leader obeys, ends anyway, or has refused. A wait that a doubt or a pause ended leaves the request undecided. */
function isDecided({ stepDown, planned, refusal }: Term, to: string): boolean {
  if (stepDown !== null || (planned !== null && !isBefore(planned.why.code, 'switchover'))) return true
  return refusal?.what === 'switchover' && refusal.to === to
}
