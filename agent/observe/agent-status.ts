import type { Timings } from '../config/timings.ts'
import type { PastTerm } from '../lease/lease-history.ts'
import type { LastDrill, Pause } from '../lease/operator-annotations.ts'
import type { EndedBecause } from '../lease/reasons.ts'
import type { StandbyMode, StandbyView, WorkloadView } from '../link/link-messages.ts'

/** One named condition behind `/readyz?verbose`, in the words of `kubectl get --raw /readyz?verbose`. */
export interface Check {
  readonly name: 'leadership' | 'lease' | 'revision' | 'launcher' | 'workload' | 'gate'
  readonly ok: boolean
  readonly detail: string
}

/** What a replica's front does. */
export interface FrontView {
  /** It takes requests. */
  readonly listening: boolean
  /** Requests that wait for somebody to serve them, and for how long the oldest has, in milliseconds. */
  readonly held: number
  readonly oldestHeldMs: number
  /** Sent on and not answered to the end, without streams. */
  readonly inFlight: number
  /** SSE answers and websockets. */
  readonly streams: number
  /** Since its process began: answered to the end, by whom. */
  readonly forwarded: { readonly langflow: number; readonly leader: number }
  /** Since its process began, by reason. */
  readonly failed: Readonly<Record<string, number>>
  /** Ended for a planned takeover, since its process began. */
  readonly streamsEnded: number
  readonly rssBytes: number
  /** The address of the leader's front, which does not answer this one although the leader is well; `null`: it answers. */
  readonly unreachable: string | null
}

export interface PeersView {
  /** How many could take over, also while that is paused. */
  readonly ready: number
  /** How many answered lately. */
  readonly seen: number
}

/** The whole view of one replica: what `/status` and `langflow-leader status` show. Never holds a secret. */
export interface AgentStatus {
  readonly identity: string
  readonly version: string
  /** Of the template that the pod was made from; `null`: unknown. */
  readonly revision: string | null
  /**
   * Why its pod is not Ready for Kubernetes until its revision has served, or, with the code of the failure, no replica makes
   * way for it any more; `null`: neither.
   */
  readonly onTrial: { readonly reason: string; readonly failed: EndedBecause | null } | null
  /** Since the first agent of the pod started; `null`: unknown. */
  readonly podAgeMs: number | null
  readonly now: string
  readonly role: 'leader' | 'follower'
  /** A follower that nothing keeps from taking over, but for a pause. */
  readonly couldTakeOver: boolean
  /** Why a follower could not, in one sentence; `null`: it could, or it leads. */
  readonly unable: string | null
  /** The last decision, as one sentence for people. */
  readonly decision: string
  /** What keeps this replica from working as it should, e.g. a missing RBAC permission; `null`: nothing. */
  readonly problem: string | null
  readonly lease: {
    readonly namespace: string
    readonly name: string
    /** `null`: not seen yet, or the Lease does not exist. */
    readonly holder: string | null
    readonly self: boolean
    readonly epoch: number
    /** RFC 3339, when the holder acquired it; `null`: nobody holds it. */
    readonly since: string | null
    readonly watch: 'up' | 'down'
  }
  readonly leadership: {
    readonly doubt: boolean
    /** Milliseconds until the deadman stops the workload; `null` where this replica does not lead. */
    readonly killInMs: number | null
    readonly steppingDown: string | null
    /** Milliseconds until this replica campaigns again; `null`: no cool-down. */
    readonly coolDownMs: number | null
  }
  readonly workload: Omit<WorkloadView, 'standby'> & {
    readonly launcher: 'connected' | 'missing' | 'silent'
    readonly healthy: boolean
    readonly lastProbe: string | null
    /** What a planned stop waits for, such as `1 connection from 10.1.2.3`; `null`: nothing. */
    readonly draining: string | null
  }
  readonly langflow: {
    /** Of this replica, by its package's metadata; `null`: unknown. */
    readonly version: string | null
    /** The newest that has led; `null`: the Lease does not say. */
    readonly newest: string | null
    /** This replica's is older, so that it does not take the Lease. */
    readonly outdated: boolean
  }
  readonly standby: StandbyView & { readonly wanted: StandbyMode }
  /** `null`: nobody is asked, without `--peers` or because this replica does not lead. */
  readonly peers: PeersView | null
  readonly traffic: {
    readonly mode: string
    readonly gate: 'open' | 'closed'
    /**
     * The pod to which traffic was last known to be led; '': none that this replica knows of; `null`: not known, as always in
     * readiness mode, where the kubelet tells it.
     */
    readonly routedTo: string | null
    /** `null`: there is none. */
    readonly front: FrontView | null
  }
  readonly timings: Timings
  /** What operators asked for through the Lease; `null`: nothing; absent: this version does not listen. */
  readonly pause: Pause | null | undefined
  readonly switchover: SwitchoverView | null | undefined
  readonly lastDrill: LastDrill | null
  /** The last terms, newest first; see `PastTerm`. */
  readonly history: readonly PastTerm[]
  /** Of the files that LangFlow loads its flows from, by which replicas can be compared; `null`: it loads none, or unknown. */
  readonly flowsDigest: string | null
  /** Of LANGFLOW_SECRET_KEY, which it keys: tells nothing but whether two replicas have the same; `null`: none, or unknown. */
  readonly secretKeyDigest: string | null
  /** In the order that `/readyz?verbose` prints them. */
  readonly checks: readonly Check[]
}

export interface SwitchoverView {
  /** The name of a pod, or `*`. */
  readonly to: string
  /** `refused`: it was taken back by the leader, and nothing was done. */
  readonly state: 'requested' | 'under way' | 'refused'
  /** Of a refusal; one sentence. */
  readonly reason: string | null
}

/** One replica as an operator sees it. */
export interface ReplicaRow {
  /** The pod's name; outside of pods the identity, and where nothing is known of it its address. */
  readonly pod: string
  /** `null`: unknown. */
  readonly node: string | null
  /** `null`: it does not answer, or not with a status. */
  readonly status: AgentStatus | null
  /** Why there is no status, in one sentence; `null`: there is one. */
  readonly problem: string | null
}

export interface StatusSource {
  status(): AgentStatus
  /**
   * This replica first, then its peers, each asked now or less than a second ago. The very same array as long as it is
   * that look's.
   */
  replicas(): Promise<readonly ReplicaRow[]>
  /** False once the agent's own loop is stuck: `/livez`. Never false because the API server is away. */
  live(): boolean
  /** `/readyz`: the leader with a healthy LangFlow and an open gate. */
  ready(): boolean
  /** `/readyz?exclude=leadership`: could take over, or serves. */
  couldServe(): boolean
  /** `/frontz`: why no client is to be sent to this replica's front, in one sentence; `null`: it takes and forwards requests. */
  frontFault(): string | null
  /** `/workloadz`: the launcher answers. */
  launcherAnswers(): boolean
}
