import type { Clock } from '../clock.ts'
import type { CandidateState } from '../election/state.ts'
import type { OwnFront } from '../front/agent-side/steering.ts'
import type { ApiError } from '../kube/kube-errors.ts'
import { type KubeObjects, POD } from '../kube/kube-objects.ts'
import { holderOf } from '../lease/lease.ts'
import { podOf } from '../lease/operator-annotations.ts'
import type { Log, LogThrottle } from '../observe/log.ts'
import type { Peers } from './peers.ts'

export interface LostPodsOptions {
  readonly identity: string
  readonly leaseDurationMs: number
  readonly peers: Pick<Peers, 'answered'>
  /** The pods in this replica's own namespace. */
  readonly api: Pick<KubeObjects, 'patchStatus' | 'close'>
  readonly front: Pick<OwnFront, 'access' | 'probe'> | null
  readonly clock: Clock
  readonly log: Pick<Log, 'warn'>
  readonly repeats: Pick<LogThrottle, 'happened' | 'over'>
  readonly state: () => CandidateState
}

interface Replica {
  /** `null`: it was only seen as the holder of the Lease. */
  readonly host: string | null
  /** Monotonic ms of the last request that its agent answered. */
  readonly answeredAt: number
  readonly reported: boolean
}

const DEADLINE_MS = 5_000
const NEVER_ANSWERED: Replica = { host: null, answeredAt: Number.NEGATIVE_INFINITY, reported: false }
/** The pod was deleted or replaced, or its identity is no pod's. */
const NO_SUCH_POD: readonly ApiError['code'][] = ['not_found', 'conflict', 'invalid']

/**
 * The leader sets the Ready condition of a lost replica's pod to False, as the node controller does half a minute
 * later, so that its address leaves the Service. A kubelet that lives sets the condition back by itself.
 *
 * A replica is lost if its identity lost the Lease by expiry, or if neither its agent nor its front has answered for a
 * lease duration. Each loss is reported once. The own pod is never reported, so one pod stays Ready.
 */
export class LostPods {
  private readonly options: LostPodsOptions
  private readonly replicas = new Map<string, Replica>()
  private holder = ''
  private epoch: number | null = null

  constructor(options: LostPodsOptions) {
    this.options = options
  }

  /** After each change of the election. */
  electionChanged({ term, seen }: CandidateState): void {
    if (term === null) {
      this.holder = seen?.lease ? holderOf(seen.lease) : ''
      this.replicas.clear()
    } else if (this.holder !== '' && term.epoch !== this.epoch && term.record?.because === 'expired')
      void this.report(this.holder, 'it did not renew the Lease until the Lease expired')
    this.epoch = term?.epoch ?? null
  }

  /** After each poll of the peers, which only a leader makes. */
  asked(): void {
    const { peers, leaseDurationMs, clock, state } = this.options
    const since = state().term?.startedAt ?? Number.POSITIVE_INFINITY
    for (const { identity, at, askedAt } of peers.answered)
      if (askedAt >= since && askedAt !== this.replicas.get(identity)?.answeredAt)
        this.replicas.set(identity, { host: new URL(at).hostname, answeredAt: askedAt, reported: false })
    for (const [identity, { host, answeredAt, reported }] of [...this.replicas])
      if (!reported && clock.mono() - answeredAt >= leaseDurationMs) void this.silent(identity, host)
  }

  close(): void {
    this.options.api.close()
  }

  private async silent(identity: string, host: string | null): Promise<void> {
    const { front, leaseDurationMs } = this.options
    // All fronts listen on the same port.
    const port = front && new URL(`http://${front.access.address}`).port
    const before = this.replicas.get(identity)
    if (front && host !== null && (await front.probe(`${host}:${port}`)) === null) return
    // It may have answered, or the term may have ended, meanwhile.
    if (this.replicas.get(identity) === before)
      await this.report(identity, `it has not answered for ${leaseDurationMs / 1000} s`)
  }

  private async report(identity: string, why: string): Promise<void> {
    const { api, clock, log, repeats, state } = this.options
    const { term } = state()
    if (term === null || term.doubt || identity === this.options.identity) return
    const replica = this.replicas.get(identity) ?? NEVER_ANSWERED
    this.replicas.set(identity, { ...replica, reported: true })
    const pod = podOf(identity)
    const now = new Date(clock.now().wall).toISOString()
    const message = `${this.options.identity} leads, and reports ${pod} as lost: ${why}`
    const ready = { type: 'Ready', status: 'False', reason: 'LangflowLeaderLost', message }
    const conditions = [{ ...ready, lastTransitionTime: `${now.slice(0, 19)}Z` }]
    // With the UID, the API server refuses the patch of another pod with this name.
    const metadata = { name: pod, uid: identity.slice(pod.length + 1) }
    try {
      await api.patchStatus(POD, { metadata, status: { conditions } }, DEADLINE_MS)
      log.warn(`reported ${pod} as not Ready: ${why}`)
      repeats.over('lost pods', 'lost pods can be reported')
    } catch (error) {
      const { code, message } = error as ApiError
      if (NO_SUCH_POD.includes(code)) this.replicas.delete(identity)
      // The next poll tries again.
      else {
        this.replicas.set(identity, replica)
        repeats.happened('lost pods', `cannot report ${pod} as lost: ${message}`)
      }
    }
  }
}
