import { BOOT_RESOLUTION_MS, type Instant } from '../clock.ts'
import type { Timings } from '../config/timings.ts'
import type { Fault } from '../fault.ts'
import type { ApiError } from '../kube/kube-errors.ts'
import { durationOf, holderOf, LANGFLOW, langflowOf } from '../lease/lease.ts'
import { isOlder } from '../python-version.ts'
import type { CandidateState, Follower, Input, MonoMs } from './state.ts'
import { emit, NEVER, wake } from './state.ts'

const LONGEST_PAUSE_MS = 60_000

/** Why this replica could not take over the Lease now. Time in which the machine was suspended counts. */
export function inability(config: Timings, state: CandidateState, now: Instant): Fault {
  const { seen, sightedAt, watchUp, writeRight, writeProblem, readProblem, watchProblem } = state
  const bar = barrier(state)
  if (bar !== null) return bar
  const cause = readProblem ?? watchProblem
  const because = cause === null ? '' : `: ${cause}`
  if (seen === null || sightedAt === null) return `this replica has not seen the Lease yet${because}`
  // A Lease without a holder is not renewed, and neither is a paused one whose holder is gone. An absent one is read
  // each retry period, even while the watch is up.
  const silentForGood = watchUp && seen.lease !== null && (holderOf(seen.lease) === '' || state.paused)
  const blindMs = Math.max(now.mono - sightedAt.mono, now.boot - sightedAt.boot - BOOT_RESOLUTION_MS)
  const recordedMs = seen.lease === null ? 0 : durationOf(seen.lease, config.leaseDurationMs)
  const toleratedMs = Math.max(config.leaseDurationMs, recordedMs) + config.retryPeriodMs
  if (!silentForGood && blindMs > toleratedMs && watchUp && seen.heldMs > toleratedMs)
    return 'this replica is no failsafe member: if leader and members are lost, use failover --members-dead'
  if (!silentForGood && blindMs > toleratedMs)
    return `this replica has not seen the Lease for ${Math.round(blindMs / 1000)} s${because}`
  if (writeRight.state === 'refused')
    return writeProblem ?? 'this replica is not permitted to write the Lease'
  if (writeRight.state === 'unknown') return 'this replica has not verified yet that it may write the Lease'
  return null
}

export function barrier(state: CandidateState): Fault {
  return state.barred ?? versionFault(state)
}

/** An older LangFlow that is started on the database of a newer one destroys a part of it. */
export function versionFault({ seen, term, workload: { langflow } }: CandidateState): Fault {
  const noted = seen === null || seen.lease === null ? null : langflowOf(seen.lease)
  if (langflow === null || noted === null || !isOlder(langflow, noted)) return null
  return term === null
    ? `LangFlow ${langflow} of this replica is older than ${noted}, which has led and may have migrated the database: use ${noted} or ` +
        `newer, or restore a database backup from before the upgrade and remove the Lease's annotation ${LANGFLOW}`
    : `this replica leads with LangFlow ${langflow}, although the Lease records that ${noted} has led: no replica with ${langflow} can ` +
        `take over from it; if ${noted} has never run, set the Lease's annotation ${LANGFLOW} to ${langflow}`
}

/** A follower proves by a dry run that it may write the Lease. A leader proves it by its renewals. */
export function rehearse({ config, now }: Input, state: Follower): Follower {
  const { seen, writeRight, inFlight } = state
  if (seen === null || writeRight.underWay || inFlight) return state
  if (now.mono < writeRight.dueAt) return wake(state, writeRight.dueAt)
  const due = { ...state, writeRight: { ...writeRight, underWay: true } }
  return emit(due, { type: 'rehearse', lease: seen.lease, deadlineMs: config.renewDeadlineMs / 2 })
}

export function rehearsed(input: Input, before: CandidateState, error: ApiError | null): CandidateState {
  const state = { ...before, writeRight: { ...before.writeRight, underWay: false } }
  if (error !== null && isNoAnswer(error)) return rehearseLater(input, state)
  const next = error === null ? mayWrite(state) : noteRefusal(input, state, error)
  const granted = before.writeRight.state === 'refused' && next.writeRight.state === 'granted'
  return granted ? { ...next, writeProblem: null } : next
}

/** A write was acknowledged, or was refused for a reason other than missing rights. */
export function mayWrite<S extends CandidateState>(state: S): S {
  return { ...state, writeRight: { ...state.writeRight, state: 'granted', dueAt: NEVER, failures: 0 } }
}

/** Judges the right to write by a failed write. */
export function noteRefusal<S extends CandidateState>(input: Input, state: S, error: ApiError): S {
  if (isNoAnswer(error)) return state
  if (error.code !== 'unauthorized' && error.code !== 'forbidden') return mayWrite(state)
  const writeRight = { ...state.writeRight, state: 'refused' as const }
  return rehearseLater(input, { ...state, writeRight, writeProblem: error.message })
}

export function rehearseAgain<S extends CandidateState>(state: S, dueAt: MonoMs): S {
  return { ...state, writeRight: { ...state.writeRight, dueAt, failures: 0 } }
}

function rehearseLater<S extends CandidateState>({ config, now }: Input, state: S): S {
  const { failures } = state.writeRight
  const pauseMs = Math.min(config.retryPeriodMs * 2 ** Math.min(failures, 10), LONGEST_PAUSE_MS)
  return { ...state, writeRight: { ...state.writeRight, dueAt: now.mono + pauseMs, failures: failures + 1 } }
}

/** The API server was not reached or could not decide, which proves nothing about rights. */
export function isNoAnswer({ code }: ApiError): boolean {
  return code === 'timeout' || code === 'network' || code === 'server' || code === 'throttled'
}
