import { type Instant, later } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import type { Timings } from '../config/timings.ts'
import type { Fault, Sentence } from '../fault.ts'
import type { ApiError } from '../kube/kube-errors.ts'
import type { FrontAccess, Lease } from '../lease/lease.ts'
import type { PastTerm, StartPhases } from '../lease/lease-history.ts'
import type { LeaseMember } from '../lease/lease-members.ts'
import { type OperatorRequest, requestOf } from '../lease/operator-annotations.ts'
import type { FailedRevision } from '../lease/proven-revisions.ts'
import type { AcquiredBecause, EndedBecause, ReasonCode } from '../lease/reasons.ts'
import { NOTHING_NOTED, type WriteKind } from '../lease/written-lease.ts'
import type { ContentView, Grant } from '../link/link-messages.ts'
import type { EventName } from '../observe/log.ts'
import type { ConsentAnswer, ConsentRequest } from './consent.ts'

/** A time of CLOCK_MONOTONIC, in milliseconds. */
export type MonoMs = number
export const NEVER: MonoMs = Number.POSITIVE_INFINITY

export interface CandidateConfig
  extends Timings,
    Pick<AgentOptions, 'identity' | 'drainTimeoutMs' | 'stopTimeoutMs' | 'streamGraceMs' | 'startTimeoutMs'>,
    Pick<AgentOptions, 'onDoubt' | 'standby' | 'onChange' | 'quietTimeoutMs' | 'failsafeMaxMs'> {
  /** The Deployment or StatefulSet of this replica, as `Kind/name`. */
  readonly owner: string | null
  /** Hash of its pod's template. */
  readonly revision: string | null
  readonly front: FrontAccess | null
  /** Random for each process. `null`: without `--failsafe=peers`. */
  readonly consentKey: string | null
  /** 0 to 999 microseconds, random for each process: no two processes write the same renew time. */
  readonly salt: number
}

/** A cause: a code for programs, a sentence for people. */
export interface Why<Code extends ReasonCode = ReasonCode> {
  readonly code: Code
  readonly reason: Sentence
}

/** One attempt to write the Lease. Its outcome may stay unknown permanently. */
export interface Write {
  readonly id: number
  readonly kind: WriteKind
  /** Its `spec.renewTime` identifies the write in a Lease that the API server shows later. */
  readonly lease: Lease
  /** The version that the write replaces. `null`: a creation. */
  readonly base: Lease | null
  /** The moment before the write was sent: the origin of every deadline it earns (rule 2). */
  readonly sentAt: Instant
  readonly because: Why<AcquiredBecause> | null
  readonly unchangedMs: number
}

export interface StepDown extends Why<EndedBecause> {
  readonly stage: 'draining' | 'stopping' | 'releasing'
  readonly failed: boolean
  /** The failed first start of this replica's revision, as the Lease will note it. */
  readonly blames: FailedRevision | null
  /** Milliseconds from SIGTERM to SIGKILL. */
  readonly graceMs: number
  readonly closedAt: MonoMs
  readonly drainDeadline: MonoMs
  /** Whether LangFlow served when the gate was closed, and may still have had requests or streams. */
  readonly served: boolean
  /** Id of the first write that orders the other fronts to hold. */
  readonly closingWrite: number | null
  /** The successor that an operator named: its pod, or its identity if known. */
  readonly to: string | null
  /** Whether takeovers were paused before the step-down began. */
  readonly paused: boolean
  /** Whether LangFlow starts again in this term when it has stopped. The Lease is then kept. */
  readonly inPlace: boolean
}

export interface StepDownReason
  extends Why<EndedBecause>,
    Partial<Pick<StepDown, 'failed' | 'blames' | 'graceMs' | 'to' | 'inPlace'>> {
  readonly drainMs?: number
  readonly ending?: End
  /** Without a wait for a quiet moment. */
  readonly now?: boolean
}

export type Refusal = Pick<OperatorRequest, 'what' | 'to'> & { readonly reason: Sentence }

/** One question to all members (F5). */
export interface Round {
  readonly id: number
  readonly sentAt: Instant
  readonly asked: readonly LeaseMember[]
  /** `agreed` or the problem, by identity. */
  readonly answers: Readonly<Record<string, string>>
}

export interface Term {
  readonly epoch: number
  readonly acquireTime: string
  /** Its entry in the history. `null`: it was taken back from an earlier agent, whose entry is lost. */
  readonly record: PastTerm | null
  /** Send time of the last acknowledged write. */
  readonly writtenAt: Instant
  /** The origin of the grant: send time of that write, or of a later round that all members agreed to. */
  readonly renewedAt: Instant
  /** `members`: those of the next write. `acknowledged`: those of the last acknowledged one. */
  readonly consent: {
    readonly members: readonly LeaseMember[]
    readonly acknowledged: readonly LeaseMember[]
    /** The last one. */
    readonly round: Round | null
    /** Why the last complete one failed, as a part of a sentence. */
    readonly problem: string
  }
  readonly startedAt: MonoMs
  readonly doubt: boolean
  readonly startOrdered: boolean
  /** The time by which an unproven revision must serve. Once it has served, there is none. */
  readonly trialUntil: MonoMs | null
  readonly stepDown: StepDown | null
  /** A planned end that waits for a moment without requests in flight, until `until` at the latest. */
  readonly planned: { readonly why: StepDownReason; readonly until: MonoMs } | null
  /** A failure of the workload during a pause. It is handled after the pause. */
  readonly setAside: Failure | null
  /** The last refused request. `open`: it still has to be removed from the Lease. */
  readonly refusal: (Refusal & { readonly open: boolean }) | null
  /** The obeyed request still has to be removed from the Lease. */
  readonly restartAnswered: boolean
}

export const NO_WORKLOAD = {
  /** `maybe`: the launcher is gone or silent, and nothing proves that its processes are dead. */
  alive: 'no' as 'no' | 'maybe' | 'yes',
  /** An idle launcher is connected. */
  canRun: false,
  /** It would start from the configured standby, and not from a colder one or one that is still being prepared. */
  prepared: false,
  /** The launcher was asked to end: its workload has to be handed over. */
  ending: false,
  langflow: null as string | null,
  /** See `Digests`, as for `content`. */
  inputs: null as string | null,
  content: null as ContentView | null,
  /** The grant that live processes run under. */
  epoch: null as number | null,
  identity: null as string | null,
  killAt: null as MonoMs | null,
  /** The last term of this pod's earlier launchers, as `identity epoch`, if nothing of it is proven to be alive. */
  ended: null as string | null,
  /** It does not serve although it is alive. */
  failed: null as Fault,
  /** The workload answers its health requests, and its launcher answers the agent. */
  well: false,
  stopFailed: null as Fault,
}
export type Workload = Readonly<typeof NO_WORKLOAD>

export interface Seen {
  readonly lease: Lease | null
  /** When the last change of the record was received (rule 6) or its absence noticed (rule 7). */
  readonly changedAt: MonoMs
  /** Milliseconds from then for which other replicas leave the Lease alone. 0: it was released, or looks never held. */
  readonly heldMs: number
}

/** Whether the successor would start LangFlow from the leader's present files. `awaited`: one may, but does not yet. */
export type SuccessorContent = 'ready' | 'awaited' | 'none'

/** `newer`: its revision is newer than the leader's. */
const NO_SUCCESSOR = { identity: null as string | null, content: 'none' as SuccessorContent, newer: false }

/** The fields of every phase, with their initial values. */
const SHARED = {
  seen: null as Seen | null,
  lastHolder: null as { readonly holder: string; readonly epoch: number } | null,
  /** Before this time, a vacancy does not count. */
  vacantNotBefore: 0 as MonoMs,
  /** The first version of the Lease that this process saw. A write of an earlier process may replace it at any time. */
  firstVersion: null as string | null,
  absenceSeenAt: null as Instant | null,
  highestEpoch: 0,
  /** Writes of the Lease by another process in this replica's name (rule 8). */
  strangers: 0,
  noted: NOTHING_NOTED,
  /** When the last change of the note about revisions was received. */
  revisionsSeenAt: 0 as MonoMs,
  reportedHolder: null as string | null,
  watchUp: false,
  /** When the API server last showed the Lease to this replica, or took its write. */
  sightedAt: null as Instant | null,

  // Requests to the API server, sent and planned.
  inFlight: false,
  lastRead: null as { readonly sentAt: Instant; readonly after: Seen | null } | null,
  /** The write in flight, until its outcome is known: the watch may show it before the answer arrives. */
  pending: null as Write | null,
  attemptedAt: null as Instant | null,
  /** Writes that failed, newest last. Each may still show up as committed. */
  unresolved: [] as readonly Write[],
  /** Renew times that this process wrote, newest last. Those of creations are also kept separately. */
  written: [] as readonly string[],
  created: [] as readonly string[],
  nextWriteId: 1,
  nextAttemptAt: 0 as MonoMs,
  nextPollAt: 0 as MonoMs,
  /** The last write was refused by compare-and-swap, and nothing newer was seen since. */
  mustRead: false,

  // Whether this replica can and may take the Lease.
  /** Found out by a dry-run write, due at `dueAt`, after `failures` attempts in a row without consent. */
  writeRight: {
    state: 'unknown' as 'unknown' | 'granted' | 'refused',
    dueAt: 0 as MonoMs,
    underWay: false,
    failures: 0,
  },
  writeProblem: null as Fault,
  readProblem: null as Fault,
  watchProblem: null as Fault,
  barred: null as Fault,
  failures: 0,
  coolDown: null as { readonly until: MonoMs; readonly after: Sentence } | null,

  workload: NO_WORKLOAD,
  /** This process has ended its own workload. If one still appears alive, it has no grant that could be taken back. */
  killOrdered: false,
  successor: NO_SUCCESSOR,

  // Requests of operators through the Lease.
  paused: false,
  resumedAt: 0 as MonoMs,
  /** The API server keeps requests that this process has removed. None is obeyed until all are gone. */
  requestsStay: false,
}
type Shared = Readonly<typeof SHARED>

/** This process ends when it holds nothing and nothing of the workload is alive. */
export interface End {
  readonly reason: string
  readonly code: 0 | 1
}

interface Phase<Name extends string, T extends Term | null, E extends End | null> extends Shared {
  readonly effects: readonly Effect[]
  /** The decision of the last transition and its reason. */
  readonly decision: Sentence
  /** The next `tick` at the latest. */
  readonly wakeAt: MonoMs
  readonly phase: Name
  readonly term: T
  readonly ending: E
}

export type Follower = Phase<'follower', null, null>
export type Leading = Phase<'leading', Term & { readonly stepDown: null }, null>
/** Still renews the Lease, and releases it in the planned order (rule 3). Without an `ending`, it campaigns again. */
export type SteppingDown = Phase<'stepping down', Term & { readonly stepDown: StepDown }, End | null>
export type Ending = Phase<'ending', null, End> & { readonly exited: boolean }

export type CandidateState = Follower | Leading | SteppingDown | Ending
export type Held = Leading | SteppingDown
export type Free = Follower | Ending

export type Remedy = 'handover' | 'restart'

export interface Failure extends Why<EndedBecause> {
  readonly remedy: Remedy
}

export type Fact =
  /** An event or a read shows the Lease. `fresh`: the answer to the election's own read. */
  | { readonly type: 'lease'; readonly lease: Lease | null; readonly fresh: boolean }
  | { readonly type: 'watch'; readonly up: boolean; readonly problem: string | null }
  | { readonly type: 'written'; readonly id: number; readonly lease: Lease }
  | { readonly type: 'write_failed'; readonly id: number; readonly error: ApiError }
  | { readonly type: 'read_failed'; readonly error: ApiError }
  | { readonly type: 'rehearsed'; readonly error: ApiError | null }
  | { readonly type: 'workload'; readonly workload: Workload }
  | ({ readonly type: 'workload_failed' } & Failure)
  /** `took`: if this agent ordered the start. */
  | { readonly type: 'workload_healthy'; readonly took: StartPhases | null }
  | { readonly type: 'drained' }
  /** The leader's front has no request in flight, and holds new ones. */
  | { readonly type: 'quiet' }
  | ({ readonly type: 'successor' } & Readonly<typeof NO_SUCCESSOR>)
  /** The members that the holder's next write states (F2). */
  | { readonly type: 'enrolled'; readonly members: readonly LeaseMember[] }
  /** A holder asks this replica. The answer is an effect of the same step. */
  | { readonly type: 'consent_asked'; readonly request: ConsentRequest }
  /** `null`: the member has not given an answer that its key signs. */
  | {
      readonly type: 'consent'
      readonly round: number
      readonly identity: string
      readonly answer: ConsentAnswer | null
    }
  | { readonly type: 'barred'; readonly reason: Fault }
  | ({ readonly type: 'step_down' } & Pick<StepDownReason, 'code' | 'reason' | 'to' | 'now'>)
  | { readonly type: 'switchover_refused'; readonly to: string; readonly reason: string }
  | { readonly type: 'terminate'; readonly reason: string }
  | { readonly type: 'tick' }

type Detail = Readonly<Record<string, string | number | boolean>>

export type WorkloadOrder =
  | { readonly type: 'start'; readonly epoch: number }
  /** `drainDeadline`: see `StepDown`. `graceMs`: how long the fronts continue to send requests beside streams. */
  | { readonly type: 'drain'; readonly drainDeadline: number; readonly graceMs: number }
  | { readonly type: 'stop'; readonly graceMs: number }
  | { readonly type: 'kill' }

export type Effect =
  | { readonly type: 'write'; readonly write: Write; readonly deadlineMs: number }
  | { readonly type: 'read'; readonly deadlineMs: number }
  /** A dry run of a write of this Lease, or of its creation. */
  | { readonly type: 'rehearse'; readonly lease: Lease | null; readonly deadlineMs: number }
  | {
      readonly type: 'ask'
      readonly round: number
      readonly request: ConsentRequest
      readonly asked: readonly LeaseMember[]
      readonly deadlineMs: number
    }
  | { readonly type: 'answer'; readonly answer: ConsentAnswer }
  | { readonly type: 'grant'; readonly grant: Grant }
  | WorkloadOrder
  | ({ readonly type: 'restart' } & Why<EndedBecause>)
  | {
      readonly type: 'event'
      readonly event: EventName
      readonly epoch: number
      readonly code?: ReasonCode
      readonly reason?: string
      readonly detail?: Detail
    }
  | { readonly type: 'exit'; readonly code: 0 | 1 }

export interface Input {
  readonly config: CandidateConfig
  readonly fact: Fact
  readonly now: Instant
}

/** Start of the doubt about leadership (rule "freeze before kill"). */
export function doubtAt(config: Pick<Timings, 'renewDeadlineMs'>, renewedAt: Instant): Instant {
  return later(renewedAt, config.renewDeadlineMs)
}

/** From this time on, the workload may not execute (rule 1). */
export function killAt(config: Timings, renewedAt: Instant): Instant {
  return later(renewedAt, config.leaseDurationMs - config.killMarginMs)
}

export function emit<S extends CandidateState>(state: S, effect: Effect): S {
  return { ...state, effects: [...state.effects, effect] }
}

export function event<S extends CandidateState>(
  state: S,
  event: EventName,
  why: Partial<Why> = {},
  detail?: Detail,
): S {
  const epoch = state.term?.epoch ?? state.highestEpoch
  return emit(state, { type: 'event', event, epoch, ...why, ...(detail && { detail }) })
}

/** One order kills a lost workload and its remains. */
export function kill<S extends CandidateState>(state: S): S {
  if (state.effects.some(({ type }) => type === 'kill')) return state
  return emit({ ...state, killOrdered: true }, { type: 'kill' })
}

export function wake<S extends CandidateState>(state: S, at: MonoMs): S {
  return { ...state, wakeAt: Math.min(state.wakeAt, at) }
}

export function decide<S extends CandidateState>(state: S, decision: Sentence, at = NEVER): S {
  return wake({ ...state, decision }, at)
}

/** The end of this process, also while it waits for a quiet moment. */
export function endingOf({ ending, term }: CandidateState): End | null {
  return ending ?? term?.planned?.why.ending ?? null
}

/** The most urgent request in the Lease that awaits an answer. */
export function openRequest({ seen, requestsStay }: CandidateState): OperatorRequest | null {
  return requestsStay ? null : requestOf(seen?.lease ?? null)
}

export function initialState(): Follower {
  const phase = { phase: 'follower', term: null, ending: null } as const
  return { ...SHARED, ...phase, effects: [], decision: 'starting', wakeAt: NEVER }
}
