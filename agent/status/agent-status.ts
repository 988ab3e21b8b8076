import * as z from 'zod/mini'
import { type PastTerm, Term } from '../lease/lease-history.ts'
import type { OperatorRequest } from '../lease/operator-annotations.ts'
import type { EndedBecause } from '../lease/reasons.ts'
import type { StandbyMode, StandbyView, WorkloadState } from '../link/link-messages.ts'

// One definition of /status, for writing the status and for reading that of a replica of another version. A field that
// is added after 0.1.0 needs a default. No version may remove a field or make it nullable: an earlier version would not
// count the replica as able to take over.

/** Fields that a later version adds are passed on, but are not part of the type. */
const object = <Shape extends z.core.$ZodLooseShape>(shape: Shape) =>
  z.looseObject(shape) as unknown as z.ZodMiniObject<Shape, z.core.$strip>
/** A word. A later version may have more values. */
const word = <T extends string>() => z.custom<T>((value) => typeof value === 'string')
/** `null`: unknown, or there is none. */
const text = z.nullable(z.string())
/** The same for a number. Times are in milliseconds. */
const number = z.nullable(z.number())

/** One named condition of `/readyz?verbose`, in the format of `kubectl get --raw /readyz?verbose`. */
const Check = object({
  name: word<'leadership' | 'lease' | 'revision' | 'launcher' | 'workload' | 'gate'>(),
  ok: z.boolean(),
  detail: z.string(),
})

const Front = object({
  listening: z.boolean(),
  held: z.number(),
  oldestHeldMs: z.number(),
  inFlight: z.number(),
  streams: z.number(),
  forwarded: object({ langflow: z.number(), leader: z.number() }),
  failed: z.record(z.string(), z.number()),
  streamsEnded: z.number(),
  answeredAt: z._default(z.number(), 0),
  rssBytes: z.number(),
})

/** Of the peers that answered recently (`seen`), those that could take over, also while takeovers are paused. */
const Peers = object({ ready: z.number(), seen: z.number() })

const Status = object({
  identity: z.string().check(z.regex(/^[\x21-\x7e]{1,512}$/)),
  version: z.string(),
  revision: text,
  /** Why its pod is not Ready until its revision has served; after a failure, why no replica makes way for it now. */
  onTrial: z.nullable(object({ reason: z.string(), failed: z.nullable(word<EndedBecause>()) })),
  podAgeMs: number,
  now: z.string(),
  role: z.enum(['leader', 'follower']),
  couldTakeOver: z.boolean(),
  unable: text,
  decision: z.string(),
  problem: text,
  lease: object({
    namespace: z.string(),
    name: z.string(),
    /** `null`: not seen yet, or the Lease does not exist. */
    holder: text,
    self: z.boolean(),
    epoch: z.number(),
    since: text,
    watch: word<'up' | 'down'>(),
    /** Time until this follower counts the held Lease as expired, if no renewal comes. */
    freeInMs: number,
  }),
  leadership: object({
    doubt: z.boolean(),
    killInMs: number,
    steppingDown: text,
    /** A planned end that waits for a moment without requests in flight, at most `leftMs`. */
    planned: z._default(z.nullable(object({ reason: z.string(), leftMs: z.number() })), null),
    coolDownMs: number,
  }),
  /** `null`: this replica does not lead, or has no failsafe. `byConsent`: for how long, and until when at most. */
  failsafe: z._default(
    z.nullable(
      object({
        members: z.array(z.string()),
        byConsent: z.nullable(object({ awayMs: z.number(), leftMs: z.number() })),
      }),
    ),
    null,
  ),
  workload: object({
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
    /** For how long it has not answered `/health` although it works, and the CPU time that it used. */
    busy: z._default(z.nullable(object({ ms: z.number(), cpuMs: z.number() })), null),
  }),
  /** `newest`: the newest version that has led. `outdated`: `version` is older, so that it does not take the Lease. */
  langflow: object({ version: text, newest: text, outdated: z.boolean() }),
  standby: object({
    wanted: word<StandbyMode>(),
    mode: word<StandbyMode>(),
    state: word<StandbyView['state']>(),
    reason: text,
  }),
  /** `null`: no peer is asked, because `--peers` is not set or this replica does not lead. */
  peers: z.nullable(Peers),
  traffic: object({
    mode: z.string(),
    gate: word<'open' | 'closed'>(),
    /** The pod that receives the traffic, as observed by this replica. Empty: no pod. Always `null` in readiness mode. */
    routedTo: text,
    front: z.nullable(Front),
  }),
  timings: object({
    leaseDurationMs: z.number(),
    renewDeadlineMs: z.number(),
    retryPeriodMs: z.number(),
    killMarginMs: z.number(),
  }),
  // The operators' requests in the Lease.
  pause: z.nullable(object({ until: text, reason: text })),
  switchover: z.nullable(
    object({
      what: word<OperatorRequest['what']>(),
      to: z.string(),
      /** `refused`, for the reason: the leader removed the request, and did nothing. */
      state: word<'requested' | 'under way' | 'refused'>(),
      reason: text,
    }),
  ),
  lastDrill: z.nullable(object({ at: z.string(), result: word<'ok' | 'missed' | 'failed'>() })),
  history: z.array(
    object({
      ...Term.shape,
      because: word<PastTerm['because']>(),
      endedBecause: z.nullable(word<NonNullable<PastTerm['endedBecause']>>()),
    }),
  ),
  /** Digest of the files from which LangFlow loads its flows, to compare replicas. */
  flowsDigest: text,
  /** Digest keyed by LANGFLOW_SECRET_KEY. It only shows whether two replicas have the same key. */
  secretKeyDigest: text,
  content: z.nullable(object({ digest: text, ageMs: number, running: text, problem: text })),
  checks: z.array(Check),
})

type Immutable<T> = T extends readonly (infer One)[]
  ? readonly Immutable<One>[]
  : T extends object
    ? { readonly [Key in keyof T]: Immutable<T[Key]> }
    : T

/** The whole view of one replica, as `/status` and `langflow-leader status` show it. It never contains a secret. */
export type AgentStatus = Immutable<z.infer<typeof Status>>
export type Check = Immutable<z.infer<typeof Check>>
export type FrontView = Immutable<z.infer<typeof Front>>
export type PeersView = Immutable<z.infer<typeof Peers>>
export type SwitchoverView = NonNullable<AgentStatus['switchover']>

/** Reads the `/status` of a replica of this or another version. `null`: it is not a status. */
export function statusOf(answer: unknown): AgentStatus | null {
  const read = z.safeParse(Status, answer)
  return read.success ? read.data : null
}

export interface ReplicaRow {
  /** The pod's name. Outside of pods, the identity. Before the first answer, the address. */
  readonly pod: string
  readonly node: string | null
  readonly status: AgentStatus | null
  readonly problem: string | null
}
