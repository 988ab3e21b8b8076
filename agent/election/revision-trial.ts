import { type FailedRevision, type Revisions, withFailed, withProven } from '../lease/proven-revisions.ts'
import type { EndedBecause } from '../lease/reasons.ts'
import { isOlder } from '../python-version.ts'
import type { CandidateConfig, CandidateState, Input, MonoMs, Term, Why } from './state.ts'
import { NEVER } from './state.ts'

/** A first start from a warm standby may take this long, and any other at least as long. */
const FIRST_START_MS = 60_000
/** A cold start may take this many times as long as the longest start in the history, which may have been warm. */
const TIMES_LONGEST = 3

type Own = Pick<CandidateConfig, 'revision'>

/** LangFlow's own failures. Others have another cause: the node was slow, or the API server unreachable. */
const BLAMED: ReadonlySet<EndedBecause> = new Set([
  'workload_exited',
  'workload_unhealthy',
  'workload_lost',
  'start_timeout',
])
/** Pause before another attempt after a failure of another cause. It doubles with each attempt. */
const RETRY_MS = 60_000
const LONGEST_RETRY_MS = 3_600_000

export function isUnproven({ revision }: Own, { noted }: CandidateState): boolean {
  const { proven } = noted.revisions
  return revision !== null && proven.length > 0 && !proven.includes(revision)
}

function lastFailure(own: Own, state: CandidateState): FailedRevision | null {
  if (!isUnproven(own, state)) return null
  const { inputs } = state.workload
  const failed = state.noted.revisions.failed.filter(({ revision }) => revision === own.revision)
  return failed.find((one) => inputs === null || one.inputs === inputs) ?? null
}

/** A launcher may end once by chance. */
function isBlamed({ because, attempts }: Pick<FailedRevision, 'because' | 'attempts'>): boolean {
  return BLAMED.has(because) || (because === 'launcher_gone' && attempts > 1)
}

/** The failed first start of the own revision, while LangFlow's inputs have not changed since. */
export function failedStart(own: Own, state: CandidateState): FailedRevision | null {
  const failure = lastFailure(own, state)
  return failure !== null && isBlamed(failure) ? failure : null
}

/** Why no leader hands over to this replica at present, and until when: `NEVER`, if LangFlow itself failed. */
export function withheld(own: Own, state: CandidateState, now: MonoMs) {
  const failure = lastFailure(own, state)
  if (failure === null) return null
  const pauseMs = Math.min(RETRY_MS * 2 ** (failure.attempts - 1), LONGEST_RETRY_MS)
  const until = isBlamed(failure) ? NEVER : state.revisionsSeenAt + pauseMs
  return now < until ? { ...failure, until } : null
}

/**
 * When a term that begins now must serve. Only the start timeout counts if no other revision could take the Lease, for
 * example because its LangFlow is older: a migration may take that long.
 */
export function trialEnds({ config, now }: Input, state: CandidateState): Term['trialUntil'] {
  if (!isUnproven(config, state)) return null
  const [own, last] = [state.workload.langflow, state.noted.revisions.langflow]
  const upgrade = own !== null && last !== null && isOlder(last, own)
  if (upgrade || failedStart(config, state) !== null) return NEVER
  const warm = config.standby === 'warm' && state.workload.prepared
  const starts = state.noted.history.flatMap(({ phases: { startMs, healthyMs } }) =>
    healthyMs === null ? [] : [(startMs ?? 0) + healthyMs],
  )
  const coldMs = starts.length === 0 ? NEVER : TIMES_LONGEST * Math.max(...starts)
  const firstMs = warm ? FIRST_START_MS : Math.max(FIRST_START_MS, coldMs)
  return now.mono + Math.min(config.startTimeoutMs, firstMs)
}

/** Why the leader's term ends, with the failed first start that the Lease will note. */
export function failedTrial(own: Own, state: CandidateState, why: Why<EndedBecause>) {
  const { revision } = own
  if (revision === null || state.term?.trialUntil == null) return why
  const attempts = (lastFailure(own, state)?.attempts ?? 0) + 1
  const { inputs } = state.workload
  const blames: FailedRevision = { revision, inputs, because: why.code, reason: why.reason, attempts }
  if (!isBlamed(blames)) return { ...why, blames: failedStart(own, state) ?? blames }
  const reason = `the first start of revision ${revision} failed: ${why.reason}`
  return { code: 'revision_failed' as const, reason, blames }
}

export function revisionsNoted({ revision }: Own, { noted, term, workload }: CandidateState): Revisions {
  const { revisions } = noted
  if (revision === null || term === null) return revisions
  const { stepDown } = term
  if (stepDown?.blames) return withFailed(revisions, stepDown.blames)
  const served = workload.well && stepDown === null && term.trialUntil === null
  const isNoted = revisions.proven[0] === revision && revisions.langflow === workload.langflow
  return served && !isNoted ? withProven(revisions, revision, workload.langflow) : revisions
}
