import type { Fault } from '../fault.ts'
import { epochOf, type Lease } from './lease.ts'

// The annotations that operators write into the Lease. The right to patch the Lease is the right to operate.

/** A pod's name or `ANY_POD`. */
export const SWITCHOVER_TO = 'langflow-leader/switchover-to'
/** The leader chooses the best prepared replica. */
export const ANY_POD = '*'
/** The same for a failover: the leader obeys without a drain, and without asking whether a replica could take over. */
export const FAILOVER_TO = 'langflow-leader/failover-to'
/** With any value, the leader restarts LangFlow in its term. */
export const RESTART = 'langflow-leader/restart'
export const REQUEST_REASON = 'langflow-leader/request-reason'
/** `true`: a switchover or a restart does not wait for a moment without requests in flight. */
export const REQUEST_NOW = 'langflow-leader/request-now'
/**
 * The epoch whose holder and members an operator declares dead. The replicas that the holder has not enrolled then take
 * over without the wait of `--failsafe-max`.
 */
export const MEMBERS_DEAD = 'langflow-leader/members-dead'
export const REQUEST_DETAILS = [REQUEST_REASON, REQUEST_NOW, MEMBERS_DEAD]
/** The annotation of each request, the most urgent first. */
export const REQUESTS = { failover: FAILOVER_TO, switchover: SWITCHOVER_TO, restart: RESTART } as const
/** `true`: the leader stays, LangFlow is left alone, no takeover starts. */
export const PAUSED = 'langflow-leader/paused'
/** RFC 3339: the end of a pause, by each replica's wall clock. */
export const PAUSED_UNTIL = 'langflow-leader/paused-until'
export const PAUSE_REASON = 'langflow-leader/pause-reason'
export const PAUSE_ANNOTATIONS = [PAUSED, PAUSED_UNTIL, PAUSE_REASON]

/** Time and result of the last drill: `<RFC 3339> ok|missed|failed`. */
export const LAST_DRILL = 'langflow-leader/last-drill'

const LONGEST_NAME = 253
/** Outside of pods, a host name may have other characters than a pod's. */
const POD_NAME = /^\w([\w.-]*\w)?$/
export const LONGEST_REASON = 200

export interface Pause {
  readonly until: string | null
  readonly reason: string | null
}

export function pauseOf(lease: Lease | null, wallMs: number): Pause | null {
  const notes = lease?.metadata.annotations ?? {}
  if (notes[PAUSED] !== 'true') return null
  const until = Date.parse(notes[PAUSED_UNTIL] ?? '')
  if (until <= wallMs) return null
  return {
    until: Number.isNaN(until) ? null : new Date(until).toISOString(),
    reason: notes[PAUSE_REASON]?.slice(0, LONGEST_REASON) || null,
  }
}

export function pauseFault(lease: Lease | null): Fault {
  const paused = lease?.metadata.annotations?.[PAUSED]
  if (paused === undefined || paused === 'true' || paused === 'false') return null
  return `the annotation ${PAUSED} of the Lease is "${paused.slice(0, 40)}", which has no effect: write exactly "true", or remove it`
}

export const UNTIL_RESUMED = 'until an operator resumes'

/** `until 2026-01-02T03:04:05.000Z (database upgrade)` */
export function describePause({ until, reason }: Pause): string {
  const how = until === null ? UNTIL_RESUMED : `until ${until}`
  return reason === null ? how : `${how} (${reason})`
}

export function pauseIsOver(lease: Lease | null, wallMs: number): boolean {
  return lease?.metadata.annotations?.[PAUSED] === 'true' && pauseOf(lease, wallMs) === null
}

const REQUESTED = Object.keys(REQUESTS) as (keyof typeof REQUESTS)[]

/** An operator's request to the leader. The leader removes it from the Lease when it answers. */
export interface OperatorRequest {
  readonly what: keyof typeof REQUESTS
  /** The name of a pod, or `*`. Empty: the request names no pod, as always for a restart. */
  readonly to: string
  readonly reason: string | null
  readonly now: boolean
  /** See `MEMBERS_DEAD`. */
  readonly membersDead?: boolean
}

export function requestOf(lease: Lease | null): OperatorRequest | null {
  const notes = lease?.metadata.annotations ?? {}
  const what = REQUESTED.find((one) => notes[REQUESTS[one]] !== undefined)
  if (what === undefined) return null
  const to = what === 'restart' ? '' : (notes[REQUESTS[what]] ?? '').trim().slice(0, LONGEST_NAME)
  const reason = notes[REQUEST_REASON]?.trim().slice(0, LONGEST_REASON) || null
  return { what, to, reason, now: notes[REQUEST_NOW] === 'true' }
}

export function areDeclaredDead(lease: Lease): boolean {
  return lease.metadata.annotations?.[MEMBERS_DEAD] === String(epochOf(lease))
}

export function targetFault(identity: string, to: string): Fault {
  if (to === '')
    return `the request names no pod: write the name of a pod, or ${ANY_POD} for the best prepared replica`
  if (to === ANY_POD) return null
  if (!POD_NAME.test(to)) return `"${to.slice(0, 40)}" cannot be the name of a pod`
  return isOfPod(identity, to) ? `${to} already leads` : null
}

export function describeRequest({ what, to }: Pick<OperatorRequest, 'what' | 'to'>): string {
  return what === 'restart' ? 'restart in place' : `${what} to ${describeTarget(to)}`
}

/** `an operator asked for a failover to langflow-1: the agent hangs` */
export function describeAsked(request: OperatorRequest): string {
  const { reason } = request
  return `an operator asked for a ${describeRequest(request)}${reason === null ? '' : `: ${reason}`}`
}

export function describeTarget(to: string): string {
  return to === ANY_POD ? 'the best prepared replica' : to || 'an unnamed pod'
}

/** An identity is `<pod name>_<pod UID>`, or outside of pods a name. */
export function isOfPod(identity: string, pod: string): boolean {
  return identity === pod || identity.startsWith(`${pod}_`)
}

export function podOf(identity: string): string {
  return /^(.+)_[^_]+$/.exec(identity)?.[1] ?? identity
}

export interface LastDrill {
  readonly at: string
  /** `missed`: the drill worked, but took longer or lost more than allowed. */
  readonly result: 'ok' | 'missed' | 'failed'
}

export function lastDrillOf(lease: Lease | null): LastDrill | null {
  const [, at = '', result] =
    /^(\S+) (ok|missed|failed)$/.exec(lease?.metadata.annotations?.[LAST_DRILL] ?? '') ?? []
  if (Number.isNaN(Date.parse(at))) return null
  return { at, result: result as LastDrill['result'] }
}
