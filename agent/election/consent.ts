import { type Instant, later, reached } from '../clock.ts'
import { LEAST_DRIFT } from '../config/timings.ts'
import { shortDuration } from '../config/values.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import { type LeaseMember, type MembersNote, membersOf } from '../lease/lease-members.ts'
import { areDeclaredDead, podOf } from '../lease/operator-annotations.ts'
import type {
  CandidateConfig,
  CandidateState,
  Fact,
  Held,
  Input,
  MonoMs,
  Round,
  Term,
  Write,
} from './state.ts'
import { emit, NEVER } from './state.ts'

// Failsafe by peers, after Patroni's failsafe mode. A holder that cannot reach the API server does not know whether it is
// alone. If each replica that could take over promises to take nothing for a lease duration, it need not know this.

/** Of a replica that has the newest record of this holder and epoch. `enrol`: it promises nothing yet. */
export interface ConsentRequest {
  readonly kind: 'enrol' | 'consent'
  readonly uid: string
  readonly holder: string
  readonly epoch: number
}

export type ConsentAnswer =
  | { readonly agreed: true }
  /** With the holder and the epoch of the newest record that the replica has seen. */
  | { readonly agreed: false; readonly reason: string; readonly holder: string; readonly epoch: number }

/** Milliseconds after its last change for which a replica that is no member leaves a held Lease alone (F3). */
export function reservedMs(config: CandidateConfig, lease: Lease): number {
  // A restarted holder saw the record after the end of its earlier process, whose grant has ended a lease duration later.
  const mayTake = isMember(config, lease) || holderOf(lease) === config.identity
  return mayTake ? 0 : reservedByAll(config, membersOf(lease))
}

function isMember({ identity }: CandidateConfig, lease: Lease): boolean {
  return membersOf(lease)?.members?.some((member) => member.identity === identity) ?? false
}

/** The same for every replica, if the Lease was deleted. `last`: as this replica saw it. `null`: it never saw it. */
export function reservedAfter(config: CandidateConfig, last: Lease | null): number {
  if (last !== null) return reservedByAll(config, membersOf(last))
  return config.consentKey === null ? 0 : config.failsafeMaxMs
}

function reservedByAll({ failsafeMaxMs }: CandidateConfig, note: ReturnType<typeof membersOf>): number {
  if (note === null || note.members?.length === 0) return 0
  return Math.max(failsafeMaxMs, note.maxMs)
}

/** F4. A member that agrees takes nothing for the record's duration: the request counts as a change that it observed. */
export function answerConsent(input: Input, state: CandidateState, request: ConsentRequest): CandidateState {
  const reason = refusalOf(input, state, request)
  const lease = state.seen?.lease ?? null
  const holder = lease === null ? '' : holderOf(lease)
  const epoch = lease === null ? 0 : epochOf(lease)
  const answer: ConsentAnswer = reason === null ? { agreed: true } : { agreed: false, reason, holder, epoch }
  const answered = emit(state, { type: 'answer', answer })
  if (reason !== null || request.kind === 'enrol' || state.seen === null) return answered
  return { ...answered, seen: { ...state.seen, changedAt: input.now.mono } }
}

function refusalOf({ config }: Input, state: CandidateState, request: ConsentRequest): string | null {
  const lease = state.seen?.lease ?? null
  if (config.consentKey === null) return 'its failsafe is off'
  if (state.term !== null) return 'it leads itself'
  if (lease === null) return 'it has not seen the Lease'
  const { uid, holder, epoch } = request
  if (holder === config.identity) return 'its own identity is the holder'
  if (lease.metadata.uid !== uid) return 'it has seen another Lease'
  if (holderOf(lease) !== holder || epochOf(lease) !== epoch)
    return `it has seen ${holderOf(lease) || 'no holder'} in epoch ${epochOf(lease)}`
  if (request.kind === 'enrol') return null
  if (!isMember(config, lease)) return 'it is not a member'
  if (areDeclaredDead(lease)) return 'an operator declared the members dead'
  return mayStillTake(state, lease) ? 'its own write of the Lease may still succeed' : null
}

/**
 * A compare-and-swap on an earlier version than the one seen cannot succeed any more. An earlier process of this replica
 * may have written on the first version that this one saw (F8).
 */
function mayStillTake({ pending, unresolved, firstVersion }: CandidateState, lease: Lease): boolean {
  const { resourceVersion } = lease.metadata
  const isOpen = ({ base }: Write) => base?.metadata.resourceVersion === resourceVersion
  return pending !== null || unresolved.some(isOpen) || resourceVersion === firstVersion
}

export const NO_CONSENT: Term['consent'] = { members: [], acknowledged: [], round: null, problem: '' }

/** What the holder's next write states about its members. `null`: it has no failsafe. */
export function membersNoted(config: CandidateConfig, { term }: CandidateState): MembersNote | null {
  const { consentKey: key, failsafeMaxMs: maxMs } = config
  return key === null ? null : { key, maxMs, members: term?.consent.members ?? [] }
}

/** F2. While the outcome of a write is unknown, the list stays, so that two lists at most may be in the Lease. */
export function enrolled(state: Held, members: readonly LeaseMember[]): Held {
  if (state.pending !== null || state.unresolved.length > 0) return state
  return withConsent(state, { members })
}

/** The members of the write that was acknowledged last. */
export function acknowledgedMembers(state: Held, { lease }: Write): Held {
  return withConsent(state, { acknowledged: membersOf(lease)?.members ?? [] })
}

/** F7: no round counts from here on, so that an unenrolled replica may follow at the limit by its own clock. */
function lastRoundAt({ failsafeMaxMs, leaseDurationMs }: Limits, { writtenAt }: Term): Instant {
  return later(writtenAt, failsafeMaxMs / (1 + LEAST_DRIFT) - leaseDurationMs)
}

/** The time of the next round. Half of the renew deadline leaves time for several rounds before the doubt. */
export function roundDueAt({ config, now }: Input, { term, seen }: Held): MonoMs {
  const { consent, renewedAt, stepDown } = term
  const { members, acknowledged, round } = consent
  const isArmed = config.consentKey !== null && members.length > 0 && acknowledged.length > 0
  const isOver = stepDown?.stage === 'releasing' || reached(now, lastRoundAt(config, term))
  const isAbsent = seen === null || seen.lease === null
  if (!isArmed || isOver || isAbsent || (round !== null && isOpen(round))) return NEVER
  const retryAt = round === null ? 0 : round.sentAt.mono + config.retryPeriodMs
  return Math.max(renewedAt.mono + config.renewDeadlineMs / 2, retryAt)
}

function isOpen({ asked, answers }: Round): boolean {
  return asked.some(({ identity }) => answers[identity] === undefined)
}

/** Asks every member of each list that may be in the Lease (F5). */
export function beginRound(input: Input, state: Held): Held {
  const { config, now } = input
  const { consent, epoch } = state.term
  const { members, acknowledged } = consent
  const uid = state.seen?.lease?.metadata.uid ?? ''
  const asked = [...new Map([...acknowledged, ...members].map((one) => [one.identity, one])).values()]
  const round: Round = { id: (consent.round?.id ?? 0) + 1, sentAt: now, asked, answers: {} }
  const request = { kind: 'consent', uid, holder: config.identity, epoch } as const
  const begun = withConsent(state, { round })
  return emit(begun, { type: 'ask', round: round.id, request, asked, deadlineMs: config.retryPeriodMs })
}

type ConsentFact = Extract<Fact, { type: 'consent' }>

const AGREED = 'agreed'

/** Adds a member's answer to its round, unless another round has begun. */
export function addAnswer(state: Held, { round: id, identity, answer }: ConsentFact): Held {
  const { consent } = state.term
  const { round } = consent
  if (round === null || round.id !== id) return state
  const said = answer === null ? 'no answer' : answer.agreed ? AGREED : answer.reason
  const next = { ...round, answers: { ...round.answers, [identity]: said } }
  return withConsent(state, { round: next, problem: isOpen(next) ? consent.problem : problemOf(next) })
}

/** F6: the newer holder that a refusal names. A member that has not seen this term yet names an earlier one. */
export function newerHolder(
  { identity }: CandidateConfig,
  { epoch }: Term,
  answer: ConsentAnswer | null,
): string | null {
  if (answer === null || answer.agreed || answer.holder === '') return null
  const isNewer = answer.epoch > epoch || (answer.epoch === epoch && answer.holder !== identity)
  return isNewer ? answer.holder : null
}

/** The send time of the last round, if all members agreed (F5) and it began in time (F7). */
export function agreedAt(config: CandidateConfig, term: Term): Instant | null {
  const { round } = term.consent
  if (round === null || reached(round.sentAt, lastRoundAt(config, term))) return null
  return round.asked.every(({ identity }) => round.answers[identity] === AGREED) ? round.sentAt : null
}

type Limits = Pick<CandidateConfig, 'failsafeMaxMs' | 'leaseDurationMs' | 'renewDeadlineMs'>

/** `null`: the grant rests on an acknowledged write. */
export function describeConsent(config: Limits, now: Instant, term: Term): string | null {
  if (!leadsByConsent(term)) return null
  const away = shortDuration(now.mono - term.writtenAt.mono)
  const { round, problem } = term.consent
  const count = round?.asked.length ?? 0
  const until = new Date(servesUntil(config, term).wall).toISOString().slice(11, 19)
  return `API server away for ${away}; leading by consent of ${count} of ${count} members until ${until} UTC${problem}`
}

/** In doubt, no consent is left. */
export function leadsByConsent({ doubt, renewedAt, writtenAt }: Term): boolean {
  return !doubt && renewedAt.mono > writtenAt.mono
}

function problemOf({ answers }: Round): string {
  const others = Object.entries(answers).filter(([, said]) => said !== AGREED)
  return others.map(([identity, said]) => `, ${podOf(identity)} did not agree (${said})`).join('')
}

/** The end of service without an acknowledged write: the renew deadline of the last possible round. */
export function servesUntil(config: Limits, term: Term): Instant {
  return later(lastRoundAt(config, term), config.renewDeadlineMs)
}

function withConsent<S extends Held>(state: S, patch: Partial<Term['consent']>): S {
  return { ...state, term: { ...state.term, consent: { ...state.term.consent, ...patch } } }
}
