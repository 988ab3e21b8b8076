import * as z from 'zod/mini'
import { PRESETS } from '../config/timings.ts'
import { podOf } from '../lease/operation.ts'
import type { AgentStatus } from '../observe/status.ts'
import type { ReplicaRow } from './cluster.ts'

/*
 * What an agent tells of itself, which may be of an older version of this program or of a newer one: what it does not tell, or
 * tells in another way, counts as unknown.
 */

const text = (otherwise: string) => z.catch(z.string(), otherwise)
const maybeText = z.catch(z.nullable(z.string()), null)
const maybeNumber = z.catch(z.nullable(z.number()), null)
const number = (otherwise: number) => z.catch(z.number(), otherwise)
const count = number(0)
const flag = z.catch(z.boolean(), false)
function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** An object of which every field has a value to fall back on. */
const part = <S extends z.core.$ZodShape>(shape: S) =>
  z.pipe(
    z.transform((value) => (isObject(value) ? value : {})),
    z.looseObject(shape),
  )
/** Absent in a version that does not know it at all. */
const lately = <S extends z.core.$ZodType>(schema: S) => z.optional(maybe(schema))
const maybe = <S extends z.core.$ZodType>(schema: S) => z.catch(z.nullable(schema), null)

const Term = z.object({
  epoch: z.number(),
  holder: z.string(),
  began: z.string(),
  because: z.string(),
  phases: part({ detectMs: count, acquireMs: count, startMs: maybeNumber, healthyMs: maybeNumber }),
  gapMs: maybeNumber,
  ended: maybeText,
  endedBecause: maybeText,
})

const Status = z.looseObject({
  identity: z.string(),
  role: z.enum(['leader', 'follower']),
  version: text('unknown'),
  revision: maybeText,
  podAgeMs: maybeNumber,
  now: text(''),
  couldTakeOver: flag,
  unable: maybeText,
  decision: text(''),
  problem: maybeText,
  lease: z.looseObject({
    namespace: z.string(),
    name: z.string(),
    holder: maybeText,
    self: flag,
    epoch: count,
    since: maybeText,
    watch: text('up'),
  }),
  leadership: part({
    doubt: flag,
    killInMs: maybeNumber,
    steppingDown: maybeText,
    coolDownMs: maybeNumber,
  }),
  workload: part({
    state: text('idle'),
    epoch: maybeNumber,
    identity: maybeText,
    pid: maybeNumber,
    killAt: maybeNumber,
    deadmanFirings: count,
    freezes: count,
    orderedAt: maybeNumber,
    servedSince: maybeNumber,
    loss: maybe(z.object({ role: z.enum(['worker', 'master']), pids: z.array(z.number()) })),
    spare: flag,
    launcher: text('connected'),
    healthy: flag,
    lastProbe: maybeText,
    draining: maybeText,
  }),
  langflow: part({ version: maybeText, newest: maybeText, outdated: flag }),
  standby: part({
    wanted: text('cold'),
    mode: text('cold'),
    state: text('none'),
    reason: maybeText,
    memoryBytes: maybeNumber,
  }),
  peers: maybe(z.object({ ready: z.number(), seen: z.number() })),
  traffic: part({ mode: text('readiness'), gate: text('closed'), routedTo: maybeText }),
  timings: part({
    leaseDurationMs: number(PRESETS.default.leaseDurationMs),
    renewDeadlineMs: number(PRESETS.default.renewDeadlineMs),
    retryPeriodMs: number(PRESETS.default.retryPeriodMs),
    killMarginMs: number(1000),
  }),
  pause: lately(z.object({ until: maybeText, reason: maybeText })),
  switchover: lately(
    z.object({
      to: z.string(),
      state: z.enum(['requested', 'under way', 'refused']),
      reason: maybeText,
    }),
  ),
  lastDrill: maybe(z.object({ at: z.string(), result: z.enum(['ok', 'missed', 'failed']) })),
  history: z.catch(z.array(Term), []),
  flowsDigest: maybeText,
  secretKeyDigest: maybeText,
  checks: z.catch(z.array(z.object({ name: z.string(), ok: z.boolean(), detail: z.string() })), []),
})

/** `null`: this is no status of an agent. */
export function readStatus(value: unknown): AgentStatus | null {
  const read = z.safeParse(Status, value)
  return read.success ? (read.data as unknown as AgentStatus) : null
}

const Rows = z.array(z.object({ pod: z.string(), node: maybeText, status: z.unknown(), problem: maybeText }))

/** The answer of `GET /replicas`; `null`: it is none. */
export function readRows(value: unknown): ReplicaRow[] | null {
  const read = z.safeParse(Rows, value)
  if (!read.success) return null
  return read.data.map(({ pod, node, status, problem }) => {
    const known = readStatus(status)
    return { pod, node, status: known, problem: known === null ? (problem ?? NO_STATUS) : null }
  })
}

export const NO_STATUS = 'it answers with something that is no status of an agent'

/** Of a replica that told its status. */
export function rowOf(status: AgentStatus): ReplicaRow {
  return { pod: podOf(status.identity), node: null, status, problem: null }
}
