import { BOOT_RESOLUTION_MS, type Instant } from '../clock.ts'
import type { ApiError } from '../kube/errors.ts'
import { durationOf, holderOf, type Lease } from '../lease/lease.ts'
import { barrier } from './outdated.ts'
import type { CandidateConfig, ElectionState } from './state.ts'
import type { Turn } from './turn.ts'

/** The longest pause between two rehearsals that were refused, or got no answer. */
const LONGEST_PAUSE_MS = 60_000

/**
 * Has a follower make sure that it may write the Lease, by a dry run: at the first sight of it, and after trouble. A leader
 * knows by its renewals.
 */
export function rehearse(turn: Turn): void {
  const { seen, rehearsal, inFlight, ending } = turn.state
  if (seen === null || !rehearsal.due || rehearsal.underWay || inFlight || ending !== null) return
  if (turn.now.mono < rehearsal.notBefore) {
    turn.wake(rehearsal.notBefore)
    return
  }
  turn.set({ rehearsal: { ...rehearsal, underWay: true } })
  turn.emit({ type: 'rehearse', lease: seen.lease, deadlineMs: turn.config.renewDeadlineMs / 2 })
}

/** A write was acknowledged, or what was refused was not the right to write. */
export function mayWrite(turn: Turn): void {
  turn.set({ writeRight: 'granted', rehearsal: { ...turn.state.rehearsal, due: false, failures: 0 } })
}

/** What a failed write tells of the right to write. One that was refused for its credentials is expected to be again. */
export function learnRight(turn: Turn, error: ApiError): void {
  if (isNoAnswer(error)) return
  if (error.code !== 'unauthorized' && error.code !== 'forbidden') {
    mayWrite(turn)
    return
  }
  turn.set({ writeRight: 'refused', writeProblem: error.message })
  rehearseLater(turn)
}

/** How a dry run ended; `null`: the API server would have written. */
export function rehearsed(turn: Turn, error: ApiError | null): void {
  const { rehearsal, writeRight } = turn.state
  turn.set({ rehearsal: { ...rehearsal, underWay: false } })
  if (error !== null && isNoAnswer(error)) rehearseLater(turn)
  else if (error !== null) learnRight(turn, error)
  else mayWrite(turn)
  if (writeRight === 'refused' && turn.state.writeRight === 'granted') turn.set({ writeProblem: null })
}

/** What was known may be so no more. `at`: monotonic ms. */
export function rehearseAgain(turn: Turn, at = turn.now.mono): void {
  turn.set({ rehearsal: { ...turn.state.rehearsal, due: true, notBefore: at } })
}

function rehearseLater(turn: Turn): void {
  const { failures } = turn.state.rehearsal
  const pauseMs = Math.min(turn.config.retryPeriodMs * 2 ** Math.min(failures, 10), LONGEST_PAUSE_MS)
  turn.set({ rehearsal: { ...turn.state.rehearsal, failures: failures + 1 } })
  rehearseAgain(turn, turn.now.mono + pauseMs)
}

/** It was not asked, or could not tell: that says nothing about rights. */
function isNoAnswer({ code }: ApiError): boolean {
  return code === 'timeout' || code === 'network' || code === 'server' || code === 'throttled'
}

type Timings = Pick<CandidateConfig, 'leaseDurationMs' | 'retryPeriodMs'>

/**
 * Why this replica could not take the Lease over if it had to, as far as its own credentials and its way to the API server
 * go: one sentence; `null`: it could. Outages that end within a lease duration and a retry period do not count; the time in
 * which the machine was suspended does.
 */
export function inability(config: Timings, state: ElectionState, now: Instant): string | null {
  const { seen, sightedAt, watchUp, writeRight, writeProblem, readProblem, watchProblem } = state
  const bar = barrier(state)
  if (bar !== null) return bar
  const cause = readProblem ?? watchProblem
  const because = cause === null ? '' : `: ${cause}`
  if (seen === null || sightedAt === null) return `this replica has not seen the Lease yet${because}`
  // Nobody renews one that nobody holds. One that is absent is read each retry period, whatever the watch says.
  const silentForGood = watchUp && seen.lease !== null && holderOf(seen.lease) === ''
  const blindMs = Math.max(now.mono - sightedAt.mono, now.boot - sightedAt.boot - BOOT_RESOLUTION_MS)
  if (!silentForGood && blindMs > toleratedMs(config, seen.lease))
    return `this replica has not seen the Lease for ${Math.round(blindMs / 1000)} s${because}`
  if (writeRight === 'refused') return writeProblem ?? 'this replica may not write the Lease'
  if (writeRight === 'unknown') return 'it is not known yet whether this replica may write the Lease'
  return null
}

function toleratedMs({ leaseDurationMs, retryPeriodMs }: Timings, lease: Lease | null): number {
  const recorded = lease === null ? 0 : durationOf(lease, leaseDurationMs)
  return Math.max(leaseDurationMs, recorded) + retryPeriodMs
}
