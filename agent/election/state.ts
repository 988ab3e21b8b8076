import { type Instant, later } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import type { Timings } from '../config/timings.ts'
import type { ApiError } from '../kube/kube-errors.ts'
import type { FrontAccess, Lease } from '../lease/lease.ts'
import type { PastTerm, Phases } from '../lease/lease-history.ts'
import { NO_REVISIONS, type Revisions } from '../lease/proven-revisions.ts'
import type { AcquiredBecause, EndedBecause, ReasonCode } from '../lease/reasons.ts'
import type { Grant } from '../link/link-messages.ts'
import type { EventName } from '../observe/log.ts'

/** What one candidate is told at start. All times in milliseconds. */
export interface CandidateConfig
  extends Timings,
    Pick<
      AgentOptions,
      'identity' | 'drainTimeoutMs' | 'stopTimeoutMs' | 'streamGraceMs' | 'onDoubt' | 'allowOlder'
    >,
    Pick<AgentOptions, 'standby' | 'startTimeoutMs'> {
  /** The Deployment or StatefulSet that this replica is of, as `Kind/name`; `null`: unknown. */
  readonly owner: string | null
  /** Hash of its pod's template; `null`: unknown, and then no revision counts as unproven here. */
  readonly revision: string | null
  /** What this replica says of its front while it leads; `null`: it has none. */
  readonly front: FrontAccess | null
  /** 0 to 999, random for each process: makes the renew times it writes its own, down to the microsecond. */
  readonly salt: number
}

/** Why something happens: a code for programs, a sentence for people. */
export interface Why<Code extends ReasonCode = ReasonCode> {
  readonly code: Code
  readonly reason: string
}

export type WriteKind = 'acquire' | 'resume' | 'renew' | 'recreate' | 'release'

/** One attempt to write the Lease. Its outcome may stay unknown for good. */
export interface Write {
  readonly id: number
  readonly kind: WriteKind
  readonly lease: Lease
  /** The version that it is written upon; `null`: a creation. */
  readonly base: Lease | null
  /** `spec.renewTime` as written: by it the write is recognised in what the API server shows later. */
  readonly renewTime: string
  /** The moment before it was sent: the origin of every deadline it earns (rule 2). */
  readonly sentAt: Instant
  /** Of an `acquire`, a `resume` or a follower's `release`: why it could be written; and how long the Lease had been unchanged, in milliseconds. */
  readonly because: Why<AcquiredBecause> | null
  readonly unchangedMs: number
  /** Of an `acquire`: how long there had been no leader, in milliseconds, as far as is known. For the history alone. */
  readonly detectMs: number
}

export interface StepDown extends Why<EndedBecause> {
  readonly stage: 'draining' | 'stopping' | 'releasing'
  /** Whether the workload is to blame, so that this replica waits before it campaigns again. */
  readonly failed: boolean
  /** How a first start failed that is held against the replica's revision; `null`: nothing is. */
  readonly blames: Why<EndedBecause> | null
  /** From SIGTERM to SIGKILL. */
  readonly graceMs: number
  /** Monotonic ms, when the gate was closed. */
  readonly closedAt: number
  /** Monotonic ms: LangFlow is stopped then, also if connections are still open. */
  readonly drainDeadline: number
  /** Whether LangFlow served by then, and may go on for as long as it is drained. */
  readonly served: boolean
  /** Id of the first write that tells the other fronts to hold; `null`: they go on. */
  readonly toldBy: number | null
  /** The successor that an operator named: its pod, or its identity if known; `null`: none. */
  readonly to: string | null
  /** Takeovers were paused before it began. */
  readonly paused: boolean
}

/** This replica's hold on the Lease. */
export interface Term {
  readonly epoch: number
  readonly acquireTime: string
  readonly because: AcquiredBecause
  /** How long its beginning took; `null`: it was taken back from an earlier agent, whose note of that is lost. */
  readonly phases: Phases | null
  /** Send time of the last acknowledged write. */
  readonly renewedAt: Instant
  readonly startedAt: number
  readonly doubt: boolean
  /** Whether `start` was ordered; the launcher refuses a second one by itself. */
  readonly startOrdered: boolean
  /** Monotonic ms by which an unproven revision must have served; `null`: it is proven, or has served in this term. */
  readonly trialUntil: number | null
  /** Why the workload is being stopped, to be started again in this term once nothing of it lives. */
  readonly restarting: string | null
  readonly stepDown: StepDown | null
  /** Total milliseconds without service because a failure was set aside while paused, without the present pause. */
  readonly leftAloneMs: number
}

/**
 * The workload as far as election is concerned: none. `maybe`: the launcher is gone or silent and nothing proves that its
 * processes are dead. The agent's supervisor keeps this up to date.
 */
export const NO_WORKLOAD = {
  alive: 'no' as 'no' | 'maybe' | 'yes',
  /** A launcher is connected, idle, and would start the workload on a grant. */
  canRun: false,
  /** It would start from the standby that was asked for, and not from a colder one or one that is being prepared. */
  prepared: false,
  /** The launcher was asked to end: its workload has to be handed over. */
  ending: false,
  /** The version of the LangFlow that its launcher starts; `null`: unknown. */
  langflow: null as string | null,
  /** Digest of what its LangFlow is started from (`Digests.inputs`); `null`: unknown. */
  inputs: null as string | null,
  /** Of the grant that live processes run under, where the launcher told it. */
  epoch: null as number | null,
  identity: null as string | null,
  /** Monotonic ms: until when that grant lasts. */
  killAt: null as number | null,
  /** The last term of earlier launchers of this pod, as `identity epoch`, if it is proven that nothing of it lives any more. */
  ended: null as string | null,
  /** Why it doesn't serve although it lives. */
  failed: null as string | null,
  /** It answers its health requests, and its launcher the agent. */
  well: false,
  stopFailed: null as string | null,
}
export type Workload = Readonly<typeof NO_WORKLOAD>

/** What the Lease said last. */
export interface Seen {
  readonly lease: Lease | null
  /** Monotonic ms, when the last change of the record was received (rule 6) or its absence noticed (rule 7). */
  readonly changedAt: number
  /** Milliseconds from then for which every other replica leaves it alone; 0: it was released, or looks never held. */
  readonly heldMs: number
}

/** What every phase has, as it is at the start. */
const SHARED = {
  // What is known of the Lease.
  /** `null` until the first read or event. */
  seen: null as Seen | null,
  lastHolder: null as { readonly holder: string; readonly epoch: number } | null,
  /** Milliseconds by which the last writer's wall clock is ahead of this replica's, as measured when it saw that write. */
  writerAheadMs: 0,
  /** Monotonic ms: a vacancy is not believed before; 0: no such reason. */
  vacantNotBefore: 0,
  /** When the Lease was last known not to exist. */
  absenceSeenAt: null as Instant | null,
  highestEpoch: 0,
  /** How often another process wrote the Lease in this replica's name (rule 8). */
  strangers: 0,
  /** The annotations that the Lease had last, for a holder that makes it anew. */
  lastNotes: {} as Readonly<Record<string, string>>,
  /** The terms in them, newest first: read only where they change, for a renewal is often. */
  history: [] as readonly PastTerm[],
  /** The revisions in them, in the same way. */
  revisions: NO_REVISIONS as Revisions,
  /** Holder last reported with `leader_observed`. */
  reportedHolder: null as string | null,
  watchUp: false,
  /** When the API server last showed the Lease to this replica, or took a write of it; `null`: never. */
  sightedAt: null as Instant | null,

  // What was sent to the API server, and is to be.
  /** One request at a time is on its way. */
  inFlight: false,
  /** When the last read was sent, and what had been seen by then. */
  readSentAt: null as Instant | null,
  readAfter: null as Seen | null,
  /** The write on its way, until its outcome is known: the watch may show it before the answer comes. */
  pending: null as Write | null,
  /** When the last write was sent. */
  attemptedAt: null as Instant | null,
  /** Writes that failed, newest last: each may still show up as committed. */
  unresolved: [] as readonly Write[],
  /** Renew times this process wrote, newest last; those of creations also apart. */
  written: [] as readonly string[],
  created: [] as readonly string[],
  nextWriteId: 1,
  /** Monotonic ms: no write before. */
  nextAttemptAt: 0,
  /** Monotonic ms: no poll before, and none at all while the watch lives. */
  nextPollAt: 0,
  /** The last write was refused by compare-and-swap and nothing newer was seen since. */
  mustRead: false,

  // Whether this replica can, may, and is to take it.
  writeRight: 'unknown' as 'unknown' | 'granted' | 'refused',
  /**
   * A write that is tried without being made, to learn whether this replica may write: due at `dueAt` (monotonic ms; `NEVER`:
   * it is not needed), after `failures` in a row that brought no consent.
   */
  rehearsal: { dueAt: 0, underWay: false, failures: 0 },
  /** What keeps the Lease from being written, reached or watched, in words; `null`: nothing. */
  writeProblem: null as string | null,
  readProblem: null as string | null,
  watchProblem: null as string | null,
  /** Why this replica is not to compete for the Lease, in words; `null`: it is. */
  barred: null as string | null,
  /** Why its LangFlow is too old for that, in words; `null`: it isn't, or its version is unknown. */
  outdated: null as string | null,
  /** How often in a row the workload failed here. */
  failures: 0,
  /** Monotonic ms until when it does not campaign; `early` counts only while no other replica has taken the Lease. */
  coolDown: null as { readonly early: number; readonly full: number; readonly after: string } | null,

  workload: NO_WORKLOAD,
  /** This process has ended a workload of its own: one that still shows up alive runs under no grant to take back. */
  killOrdered: false,
  /** The replica that this one names in its release; `null`: the first one may follow. */
  successor: null as string | null,

  // What operators asked for through the Lease.
  paused: false,
  /** Monotonic ms, when the last pause was over; 0: there was none. */
  resumedAt: 0,
  /** What is to be done about a workload that failed while the Lease was paused, once it no longer is; `since`: monotonic ms. */
  setAside: null as (Failure & { readonly since: number }) | null,
  /** The last request for a switchover that was refused; `open`: it is still to be taken out of the Lease. */
  refusal: null as { readonly to: string; readonly reason: string; readonly open: boolean } | null,
}
export type Shared = Readonly<typeof SHARED>

/** What the last transition decided. */
interface Decided extends Shared {
  readonly effects: readonly Effect[]
  /** What was decided and why, in one sentence. */
  readonly decision: string
  /** Monotonic ms: when to come back with a `tick` at the latest. */
  readonly wakeAt: number
}

/** This process is to end, once it holds nothing and nothing of the workload lives. */
export interface End {
  readonly reason: string
  readonly code: 0 | 1
}

interface Phase<Name extends string, T extends Term | null, E extends End | null> extends Decided {
  readonly phase: Name
  readonly term: T
  readonly ending: E
}

/** Watches, waits, and takes the Lease once it is free. */
export type Follower = Phase<'follower', null, null>
/** Holds the Lease, and renews it. */
export type Leading = Phase<'leading', Term & { readonly stepDown: null }, null>
/** Still renews the Lease, and gives it back in the planned order (rule 3); without an `ending` it campaigns again. */
export type SteppingDown = Phase<'stepping down', Term & { readonly stepDown: StepDown }, End | null>
/** Holds nothing, and takes nothing any more. */
export type Ending = Phase<'ending', null, End> & { readonly exited: boolean }

export type CandidateState = Follower | Leading | SteppingDown | Ending
export type Held = Leading | SteppingDown
export type Free = Follower | Ending

export interface ElectionState extends Shared {
  readonly term: Term | null
  readonly ending: End | null
}

/** What is to be done about a workload that failed: another replica takes over, or it is started again here. */
export type Remedy = 'handover' | 'restart'

/** The workload does not do its work. */
export interface Failure extends Why<EndedBecause> {
  readonly remedy: Remedy
}

export type Fact =
  /** The object: `watched`, by an event, as it was written; otherwise by a read, `fresh` if sent after the last fact. */
  | {
      readonly type: 'lease'
      readonly lease: Lease | null
      readonly fresh: boolean
      readonly watched: boolean
    }
  | { readonly type: 'watch'; readonly up: boolean; readonly problem: string | null }
  | { readonly type: 'written'; readonly id: number; readonly lease: Lease }
  | { readonly type: 'write_failed'; readonly id: number; readonly error: ApiError }
  | { readonly type: 'read_failed'; readonly error: ApiError }
  /** `null`: the write would have been made. */
  | { readonly type: 'rehearsed'; readonly error: ApiError | null }
  | { readonly type: 'workload'; readonly workload: Workload }
  | ({ readonly type: 'workload_failed' } & Failure)
  /** It does, from now on; how long its start took, where this agent ordered it. */
  | { readonly type: 'workload_healthy'; readonly took: Pick<Phases, 'startMs' | 'healthyMs'> | null }
  /** No request is in flight any more. */
  | { readonly type: 'drained' }
  /** Who is best prepared to follow a release. */
  | { readonly type: 'successor'; readonly identity: string | null }
  /** Whether this replica is to compete for the Lease; see `ElectionState`. */
  | { readonly type: 'barred'; readonly reason: string | null }
  /** Hand over in the planned order. `to`: whom an operator named; `graceMs`: other than the stop timeout. */
  | ({
      readonly type: 'step_down'
      readonly to?: string | null
      readonly graceMs?: number
    } & Why<EndedBecause>)
  /** What an operator asked for cannot be done. */
  | { readonly type: 'switchover_refused'; readonly to: string; readonly reason: string }
  /** Stop, release, and end this process. */
  | { readonly type: 'terminate'; readonly reason: string }
  | { readonly type: 'tick' }

type Detail = Readonly<Record<string, string | number | boolean>>

export type Effect =
  | { readonly type: 'write'; readonly write: Write; readonly deadlineMs: number }
  | { readonly type: 'read'; readonly deadlineMs: number }
  /** An update of the Lease as it was seen last, or its creation, as a dry run. */
  | { readonly type: 'rehearse'; readonly lease: Lease | null; readonly deadlineMs: number }
  | { readonly type: 'grant'; readonly grant: Grant }
  | { readonly type: 'start'; readonly epoch: number }
  /** `drainDeadline`: see `StepDown`. */
  | { readonly type: 'drain'; readonly drainDeadline: number }
  | { readonly type: 'stop'; readonly graceMs: number }
  /** A stop as well; the start follows in the same epoch. */
  | ({ readonly type: 'restart'; readonly graceMs: number } & Why<EndedBecause>)
  | { readonly type: 'kill' }
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

/** As a monotonic time. */
export const NEVER = Number.POSITIVE_INFINITY

/** Leadership is in doubt from here on (rule "freeze before kill"). */
export function doubtAt(config: Pick<Timings, 'renewDeadlineMs'>, renewedAt: Instant): Instant {
  return later(renewedAt, config.renewDeadlineMs)
}

/** The workload may not execute from here on (rule 1). */
export function killAt(config: Timings, renewedAt: Instant): Instant {
  return later(renewedAt, config.leaseDurationMs - config.killMarginMs)
}

/** Unix time in milliseconds by the clock of the Lease's last writer: a pause ends by the leader's clock. */
export function writerWall(state: Pick<ElectionState, 'term' | 'writerAheadMs'>, now: Instant): number {
  return state.term === null ? now.wall + state.writerAheadMs : now.wall
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
  const { code, reason } = why
  const more = {
    ...(code !== undefined && { code }),
    ...(reason !== undefined && { reason }),
    ...(detail && { detail }),
  }
  return emit(state, { type: 'event', event, epoch, ...more })
}

/** What was lost, and what remains of it, is killed by one order. */
export function kill<S extends CandidateState>(state: S): S {
  if (state.effects.some(({ type }) => type === 'kill')) return state
  return emit({ ...state, killOrdered: true }, { type: 'kill' })
}

/** @param at monotonic ms: come back then, or earlier */
export function wake<S extends CandidateState>(state: S, at: number): S {
  return { ...state, wakeAt: Math.min(state.wakeAt, at) }
}

/** @param at see `wake` */
export function decide<S extends CandidateState>(state: S, decision: string, at = NEVER): S {
  return wake({ ...state, decision }, at)
}

export function initialState(): Follower {
  const phase = { phase: 'follower', term: null, ending: null } as const
  return { ...SHARED, ...phase, effects: [], decision: 'starting', wakeAt: NEVER }
}
