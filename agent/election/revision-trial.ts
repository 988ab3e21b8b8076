import { type FailedRevision, type Revisions, withFailed, withProven } from '../lease/proven-revisions.ts'
import type { EndedBecause } from '../lease/reasons.ts'
import { isOlder } from '../python-version.ts'
import { type CandidateConfig, type CandidateState, type Input, NEVER, type Term, type Why } from './state.ts'

/** A first start from a warm standby may take this long, and any other at least as long. */
const FIRST_START_MS = 60_000
/** A cold start may take this many times as long as the longest start in the history, which may have been warm. */
const TIMES_LONGEST = 3

type Own = Pick<CandidateConfig, 'revision'>

/** The leader's connection to the API server was cut, or its machine stood still. */
const BLAMELESS: ReadonlySet<EndedBecause> = new Set(['deadman', 'launcher_silent'])

export function isUnproven({ revision }: Own, { noted }: CandidateState): boolean {
  const { proven } = noted.revisions
  return revision !== null && proven.length > 0 && !proven.includes(revision)
}

/** The failed first start of the own revision, while LangFlow's inputs have not changed since. */
export function failedStart(own: Own, state: CandidateState): FailedRevision | null {
  if (!isUnproven(own, state)) return null
  const { inputs } = state.workload
  const failed = state.noted.revisions.failed.filter(({ revision }) => revision === own.revision)
  return failed.find((one) => inputs === null || one.inputs === inputs) ?? null
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

export function blamed({ revision }: Own, { code, reason }: Why<EndedBecause>): Why<EndedBecause> | null {
  if (BLAMELESS.has(code)) return null
  return { code: 'revision_failed', reason: `the first start of revision ${revision} failed: ${reason}` }
}

export function revisionsNoted({ revision }: Own, { noted, term, workload }: CandidateState): Revisions {
  const { revisions } = noted
  if (revision === null || term === null) return revisions
  const { stepDown } = term
  if (stepDown?.blames) {
    const { code, reason } = stepDown.blames
    return withFailed(revisions, { revision, inputs: workload.inputs, because: code, reason })
  }
  const served = workload.well && stepDown === null && term.trialUntil === null
  const isNoted = revisions.proven[0] === revision && revisions.langflow === workload.langflow
  return served && !isNoted ? withProven(revisions, revision, workload.langflow) : revisions
}
