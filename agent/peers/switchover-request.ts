import type { Fact, Term } from '../election/state.ts'
import {
  ANY_POD,
  describeAsked,
  isOfPod,
  type OperatorRequest,
  podOf,
  targetFault,
} from '../lease/operator-annotations.ts'
import type { Peers } from './peers.ts'

export interface SwitchoverOptions {
  readonly identity: string
  /** `null`: no peer is asked, so the operator has to verify that the target could take over. */
  readonly peers: Pick<Peers, 'members' | 'askAgain'> | null
  readonly term: () => Term | null
  /** The request in the Lease that awaits an answer. */
  readonly asked: () => OperatorRequest | null
  readonly paused: () => boolean
  readonly tell: (fact: Fact) => void
}

/** Hands the Lease over if an operator requests it in the Lease. Refuses if no replica could serve afterwards. */
export class Switchover {
  private readonly options: SwitchoverOptions
  /** The request in the Lease, pending or answered. `null`: no request. */
  private request: (OperatorRequest & { readonly epoch: number; answered: boolean }) | null = null

  constructor(options: SwitchoverOptions) {
    this.options = options
  }

  /** Must be called when the Lease may have changed. */
  leaseChanged(): void {
    const { term, peers } = this.options
    const asked = this.options.asked()
    const present = term()
    if (asked?.what !== 'switchover' || present === null) {
      this.request = null
      return
    }
    if (this.request?.to === asked.to && this.request.epoch === present.epoch) {
      if (peers === null) this.decide()
      return
    }
    this.request = { ...asked, epoch: present.epoch, answered: false }
    // The readiness of the others may be some seconds old, so they are asked again first.
    if (peers === null) this.decide()
    else peers.askAgain()
  }

  /** Must be called when all peers were asked once more. */
  asked(): void {
    this.decide()
  }

  private decide(): void {
    const { request } = this
    const { term, tell } = this.options
    const present = term()
    // In doubt the outcome is open, so the request waits.
    if (request === null || request.answered || present === null || present.doubt) return
    // A restart in place ends within seconds, so the request waits.
    if (present.stepDown?.inPlace) return
    request.answered = true
    if (present.stepDown !== null) return
    const { to } = request
    const target = this.target(to)
    if (typeof target === 'string') tell({ type: 'switchover_refused', to, reason: target })
    else
      tell({
        type: 'step_down',
        code: 'switchover',
        reason: describeAsked(request),
        note: request.reason,
        ...target,
      })
  }

  /** The successor to name, or the reason for a refusal in one sentence. */
  private target(to: string): { readonly to: string | null } | string {
    const { identity, peers, paused } = this.options
    const fault = paused() ? 'the Lease is paused: resume it first' : targetFault(identity, to)
    if (fault !== null) return fault
    if (peers === null) return { to: to === ANY_POD ? null : to }
    const { members } = peers
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
