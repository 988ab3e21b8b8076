import * as z from 'zod/mini'
import { PRESETS } from '../config/timings.ts'
import type { PastTerm } from '../lease/lease-history.ts'
import type { EndedBecause } from '../lease/reasons.ts'
import type { StandbyMode, StandbyView, WorkloadState } from '../link/link-messages.ts'
import type { AgentStatus, Check, SwitchoverView } from './agent-status.ts'

/** A word that a later version may have more of. */
const word = <T extends string>() => z.custom<T>((value) => typeof value === 'string')
const text = z.nullable(z.string())
const number = z.nullable(z.number())
const lacking = <T extends z.core.SomeType>(type: T) => z._default(z.nullable(type), null)

const phases = z.looseObject({
  detectMs: z.number(),
  acquireMs: z.number(),
  startMs: number,
  healthyMs: number,
})
const term = z.looseObject({
  epoch: z.number(),
  holder: z.string(),
  began: z.string(),
  because: word<PastTerm['because']>(),
  phases,
  gapMs: number,
  ended: text,
  endedBecause: z.nullable(word<NonNullable<PastTerm['endedBecause']>>()),
  stopMs: lacking(z.number()),
})

const front = z.looseObject({
  listening: z.boolean(),
  held: z.number(),
  oldestHeldMs: z.number(),
  inFlight: z.number(),
  streams: z.number(),
  forwarded: z.looseObject({ langflow: z.number(), leader: z.number() }),
  failed: z.record(z.string(), z.number()),
  streamsEnded: z.number(),
  rssBytes: z.number(),
  unreachable: lacking(z.string()),
})

/** Where an earlier version does not tell them. */
const USUAL = { ...PRESETS.default, killMarginMs: 1_000 }
const timings = z.looseObject({
  leaseDurationMs: z.number(),
  renewDeadlineMs: z.number(),
  retryPeriodMs: z.number(),
  killMarginMs: z.number(),
})

/**
 * What came with this version has a default, but for what is done on request, which an earlier one does not do; what a later one
 * adds is passed on.
 */
const Shape = z.looseObject({
  identity: z.string().check(z.regex(/^[\x21-\x7e]{1,512}$/)),
  version: z.string(),
  revision: text,
  onTrial: lacking(z.looseObject({ reason: z.string(), failed: z.nullable(word<EndedBecause>()) })),
  podAgeMs: number,
  now: z.string(),
  role: z.enum(['leader', 'follower']),
  couldTakeOver: z.boolean(),
  unable: lacking(z.string()),
  decision: z.string(),
  problem: text,
  lease: z.looseObject({
    namespace: z.string(),
    name: z.string(),
    holder: text,
    self: z.boolean(),
    epoch: z.number(),
    since: text,
    watch: z.enum(['up', 'down']),
  }),
  leadership: z.looseObject({
    doubt: z.boolean(),
    killInMs: number,
    steppingDown: text,
    coolDownMs: number,
  }),
  workload: z.looseObject({
    state: word<WorkloadState>(),
    epoch: number,
    identity: text,
    pid: number,
    killAt: number,
    deadmanFirings: z.number(),
    freezes: z.number(),
    orderedAt: number,
    servedSince: number,
    loss: z.nullable(z.looseObject({ role: z.enum(['worker', 'master']), pids: z.array(z.number()) })),
    launcher: word<AgentStatus['workload']['launcher']>(),
    healthy: z.boolean(),
    lastProbe: text,
    draining: text,
  }),
  langflow: z.looseObject({ version: text, newest: text, outdated: z.boolean() }),
  standby: z.looseObject({
    wanted: word<StandbyMode>(),
    mode: word<StandbyMode>(),
    state: word<StandbyView['state']>(),
    reason: text,
    memoryBytes: number,
  }),
  peers: z.nullable(z.looseObject({ ready: z.number(), seen: z.number() })),
  traffic: z.looseObject({
    mode: z.string(),
    gate: word<AgentStatus['traffic']['gate']>(),
    routedTo: text,
    front: lacking(front),
  }),
  timings: z._default(timings, USUAL),
  // Absent: of a version that cannot be paused.
  pause: z.optional(z.nullable(z.looseObject({ until: text, reason: text }))),
  switchover: z.optional(
    z.nullable(z.looseObject({ to: z.string(), state: word<SwitchoverView['state']>(), reason: text })),
  ),
  lastDrill: lacking(z.looseObject({ at: z.string(), result: z.enum(['ok', 'missed', 'failed']) })),
  history: z._default(z.array(term), []),
  flowsDigest: lacking(z.string()),
  secretKeyDigest: lacking(z.string()),
  checks: z.array(z.looseObject({ name: word<Check['name']>(), ok: z.boolean(), detail: z.string() })),
})

/** A replica's `/status` as another one told it, maybe of another version; `null`: it is none. */
export function statusOf(said: unknown): AgentStatus | null {
  const read = z.safeParse(Shape, said)
  return read.success ? (read.data as AgentStatus) : null
}
