import * as z from 'zod/mini'
import { PRESETS, type Timings } from '../config/timings.ts'
import type { PastTerm } from '../lease/lease-history.ts'
import type { EndedBecause } from '../lease/reasons.ts'
import type { StandbyMode, StandbyView, WorkloadState } from '../link/link-messages.ts'

// One definition of /status, for writing and for reading the status of a replica of another version. A field that came after
// 0.1.0 has a default. An operator's request has none, since an earlier version does not carry it out.

/** Fields that a later version adds are passed on; they are no part of the type. */
const object = <Shape extends z.core.$ZodLooseShape>(shape: Shape) =>
  z.looseObject(shape) as unknown as z.ZodMiniObject<Shape, z.core.$strip>
/** A word that a later version may have more of. */
const word = <T extends string>() => z.custom<T>((value) => typeof value === 'string')
const text = z.nullable(z.string())
const number = z.nullable(z.number())
const lacking = <T extends z.core.SomeType>(type: T) => z._default(z.nullable(type), null)

/** One named condition behind `/readyz?verbose`, in the words of `kubectl get --raw /readyz?verbose`. */
const Check = object({
  name: word<'leadership' | 'lease' | 'revision' | 'launcher' | 'workload' | 'gate'>(),
  ok: z.boolean(),
  detail: z.string(),
})

/** What a replica's front does. */
const Front = object({
  /** It takes requests. */
  listening: z.boolean(),
  /** Requests that wait for a serving leader, and for how long the oldest has, in milliseconds. */
  held: z.number(),
  oldestHeldMs: z.number(),
  /** Sent on and not answered to the end, without streams. */
  inFlight: z.number(),
  /** SSE answers and websockets. */
  streams: z.number(),
  /** Since its process began: answered to the end, by whom. */
  forwarded: object({ langflow: z.number(), leader: z.number() }),
  /** Since its process began, by reason. */
  failed: z.record(z.string(), z.number()),
  /** Ended for a planned takeover, since its process began. */
  streamsEnded: z.number(),
  rssBytes: z.number(),
  /** The address of the leader's front, which does not answer this one although the leader is well; `null`: it answers. */
  unreachable: lacking(z.string()),
})

const Peers = object({
  /** How many could take over, also while that is paused. */
  ready: z.number(),
  /** How many answered lately. */
  seen: z.number(),
})

const Switchover = object({
  /** The name of a pod, or `*`. */
  to: z.string(),
  /** `refused`: the leader took it back, and nothing was done. */
  state: word<'requested' | 'under way' | 'refused'>(),
  /** Of a refusal; one sentence. */
  reason: text,
})

/** A `PastTerm`. */
const Term = object({
  epoch: z.number(),
  holder: z.string(),
  began: z.string(),
  because: word<PastTerm['because']>(),
  phases: object({ detectMs: z.number(), acquireMs: z.number(), startMs: number, healthyMs: number }),
  gapMs: number,
  ended: text,
  endedBecause: z.nullable(word<NonNullable<PastTerm['endedBecause']>>()),
  stopMs: lacking(z.number()),
})

/** A `WorkloadView`, with the agent's own observations. */
const Workload = object({
  state: word<WorkloadState>(),
  epoch: number,
  identity: text,
  pid: number,
  killAt: number,
  deadmanFirings: z.number(),
  freezes: z.number(),
  orderedAt: number,
  servedSince: number,
  loss: z.nullable(object({ role: z.enum(['worker', 'master']), pids: z.array(z.number()) })),
  launcher: word<'connected' | 'missing' | 'silent'>(),
  healthy: z.boolean(),
  lastProbe: text,
  /** Why a planned stop waits, such as `1 connection from 10.1.2.3`; `null`: it does not. */
  draining: text,
})

/** For an earlier version, which does not report them. */
const USUAL_TIMINGS: Timings = { ...PRESETS.default, killMarginMs: 1_000 }

const Status = object({
  identity: z.string().check(z.regex(/^[\x21-\x7e]{1,512}$/)),
  version: z.string(),
  /** Of the template that the pod was made from; `null`: unknown. */
  revision: text,
  /**
   * Why its pod is not Ready for Kubernetes until its revision has served, or, with the code of the failure, why no replica makes
   * way for it any more; `null`: neither.
   */
  onTrial: lacking(object({ reason: z.string(), failed: z.nullable(word<EndedBecause>()) })),
  /** Since the first agent of the pod started; `null`: unknown. */
  podAgeMs: number,
  now: z.string(),
  role: z.enum(['leader', 'follower']),
  /** A follower that nothing keeps from taking over, but for a pause. */
  couldTakeOver: z.boolean(),
  /** Why a follower could not, in one sentence; `null`: it could, or it leads. */
  unable: lacking(z.string()),
  /** The last decision, as one sentence for people. */
  decision: z.string(),
  /** What keeps this replica from working as it should, e.g. a missing RBAC permission; `null`: nothing. */
  problem: text,
  lease: object({
    namespace: z.string(),
    name: z.string(),
    /** `null`: not seen yet, or the Lease does not exist. */
    holder: text,
    self: z.boolean(),
    epoch: z.number(),
    /** RFC 3339, when the holder acquired it; `null`: it has no holder. */
    since: text,
    watch: z.enum(['up', 'down']),
  }),
  leadership: object({
    doubt: z.boolean(),
    /** Milliseconds until the deadman stops the workload; `null` where this replica does not lead. */
    killInMs: number,
    steppingDown: text,
    /** Milliseconds until this replica campaigns again; `null`: no cool-down. */
    coolDownMs: number,
  }),
  workload: Workload,
  langflow: object({
    /** Of this replica, by its package's metadata; `null`: unknown. */
    version: text,
    /** The newest version that has led; `null`: not noted in the Lease. */
    newest: text,
    /** This replica's is older, so that it does not take the Lease. */
    outdated: z.boolean(),
  }),
  standby: object({
    wanted: word<StandbyMode>(),
    mode: word<StandbyMode>(),
    state: word<StandbyView['state']>(),
    reason: text,
    memoryBytes: number,
  }),
  /** `null`: no peer is asked, without `--peers` or because this replica does not lead. */
  peers: z.nullable(Peers),
  traffic: object({
    mode: z.string(),
    gate: word<'open' | 'closed'>(),
    /**
     * The pod that gets the traffic as far as this replica has observed; '': none; `null`: unknown, as always in readiness mode.
     */
    routedTo: text,
    /** `null`: there is none. */
    front: lacking(Front),
  }),
  timings: z._default(
    object({
      leaseDurationMs: z.number(),
      renewDeadlineMs: z.number(),
      retryPeriodMs: z.number(),
      killMarginMs: z.number(),
    }),
    USUAL_TIMINGS,
  ),
  /** An operator's request in the Lease; `null`: none; absent: its version does not carry it out. */
  pause: z.optional(z.nullable(object({ until: text, reason: text }))),
  switchover: z.optional(z.nullable(Switchover)),
  lastDrill: lacking(object({ at: z.string(), result: z.enum(['ok', 'missed', 'failed']) })),
  /** The last terms, newest first. */
  history: z._default(z.array(Term), []),
  /** Digest of the files that LangFlow loads its flows from, to compare replicas; `null`: no files, or unknown. */
  flowsDigest: lacking(z.string()),
  /** Digest keyed by LANGFLOW_SECRET_KEY: only shows whether two replicas have the same key; `null`: no key, or unknown. */
  secretKeyDigest: lacking(z.string()),
  /** In the order that `/readyz?verbose` prints them. */
  checks: z.array(Check),
})

type Immutable<T> = T extends readonly (infer One)[]
  ? readonly Immutable<One>[]
  : T extends object
    ? { readonly [Key in keyof T]: Immutable<T[Key]> }
    : T

/** The whole view of one replica, as `/status` and `langflow-leader status` show it. Never holds a secret. */
export type AgentStatus = Immutable<z.infer<typeof Status>>
export type Check = Immutable<z.infer<typeof Check>>
export type FrontView = Immutable<z.infer<typeof Front>>
export type PeersView = Immutable<z.infer<typeof Peers>>
export type SwitchoverView = Immutable<z.infer<typeof Switchover>>

/** Reads the `/status` of a replica of this or another version; `null`: it is no status. */
export function statusOf(answer: unknown): AgentStatus | null {
  const read = z.safeParse(Status, answer)
  return read.success ? read.data : null
}

/** One replica as an operator sees it. */
export interface ReplicaRow {
  /** The pod's name; outside of pods the identity, and before the first answer the address. */
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
  /** This replica first, then its peers, each asked now or less than a second ago. The same array until the next round. */
  replicas(): Promise<readonly ReplicaRow[]>
  /** False once the agent's own loop is stuck: `/livez`. Never false because the API server is away. */
  live(): boolean
  /** `/readyz`: the leader with a healthy LangFlow and an open gate. */
  ready(): boolean
  /** `/readyz?exclude=leadership`: could take over, or serves. */
  couldServe(): boolean
  /**
   * `/frontz`: why no client should be sent to this replica's front, in one sentence; `null`: it takes and forwards requests.
   */
  frontFault(): string | null
  /** `/workloadz`: the launcher answers. */
  launcherAnswers(): boolean
}
