import { encodeHistory, encodeTerm, HISTORY, type PastTerm } from '../lease/lease-history.ts'
import { podOf } from '../lease/operator-annotations.ts'
import { type ElectionState, type Input, type Term, type Write, writerWall } from './state.ts'

const LASTS = { gapMs: null, ended: null, endedBecause: null, stopMs: null } as const

/**
 * What a write notes in the Lease's history of terms; `undefined`: nothing new. Whoever takes the Lease closes what its holder
 * left open; whoever releases it says why.
 */
export function historyNote(
  { config, now }: Pick<Input, 'config' | 'now'>,
  { seen, term, lastNotes, history: known, setAside }: ElectionState,
  write: Pick<Write, 'kind' | 'because' | 'detectMs'> & { readonly epoch: number },
): string | undefined {
  const lease = seen?.lease ?? null
  const at = new Date(now.wall).toISOString()
  const holder = podOf(config.identity)
  const { kind, because, epoch, detectMs } = write
  const close = (over: Partial<PastTerm>) => known.map((past) => (past.ended ? past : { ...past, ...over }))
  if (kind === 'acquire' && because !== null) {
    const phases = { detectMs, acquireMs: 0, startMs: null, healthyMs: null }
    const begun = { ...LASTS, epoch, holder, began: at, because: because.code, phases }
    return encodeHistory([begun, ...close({ ended: lease?.spec?.renewTime ?? at, endedBecause: 'expired' })])
  }
  // Its pod was killed. It served until its last renewal, as far as is known.
  if (kind === 'release' && because !== null)
    return encodeHistory(close({ ended: at, endedBecause: 'pod_restarted', stopMs: Math.round(detectMs) }))
  if (term === null || term.phases === null) return undefined
  const { acquireTime, phases, stepDown } = term
  const earlier = known.filter((past) => past.epoch < term.epoch)
  const leftAloneMs = term.leftAloneMs + (setAside === null ? 0 : now.mono - setAside.since)
  const present = {
    ...LASTS,
    epoch: term.epoch,
    holder,
    began: acquireTime,
    because: term.because,
    phases,
    gapMs: leftAloneMs > 0 ? (gapOf(term, earlier) ?? 0) + leftAloneMs : gapOf(term, earlier),
    // Whoever follows a holder that vanishes while it stops counts from the closing of its gate as well.
    stopMs: stepDown && now.mono - stepDown.closedAt,
  }
  const entry =
    kind === 'release' && stepDown !== null ? { ...present, ended: at, endedBecause: stepDown.code } : present
  // Most renewals have nothing to add.
  return lastNotes[HISTORY]?.includes(encodeTerm(entry)) ? undefined : encodeHistory([entry, ...earlier])
}

/**
 * Milliseconds for which the Lease has been free, or left alone: as this replica watched it, or from when its last holder wrote
 * it, by its wall clock, where that is more than such clocks, and what is known a moment late, make. It is told, and
 * decides nothing (rule 6).
 */
export function detectedAfter({ config, now }: Pick<Input, 'config' | 'now'>, state: ElectionState): number {
  const { seen } = state
  const watchedMs = seen === null ? 0 : now.mono - seen.changedAt
  const writtenMs = writerWall(state, now) - Date.parse(seen?.lease?.spec?.renewTime ?? '')
  return writtenMs > watchedMs + config.retryPeriodMs ? writtenMs : watchedMs
}

/** @param earlier the terms before this one, newest first */
function gapOf({ epoch, acquireTime, phases }: Term, earlier: readonly PastTerm[]): number | null {
  if (phases === null || phases.healthyMs === null) return null
  const { detectMs, acquireMs, startMs, healthyMs } = phases
  const servedAfterMs = acquireMs + (startMs ?? 0) + healthyMs
  const at = earlier.findIndex((past, n) => past.epoch !== epoch - 1 - n || past.phases.healthyMs !== null)
  const last = earlier[at]
  if (last === undefined || last.epoch !== epoch - 1 - at || last.ended === null) return null
  const { ended, stopMs } = last
  const sinceMs = (stopMs ?? 0) + detectMs
  // Of terms in between, which never served, it is known when they were.
  const endedMs = at === 0 ? 0 : Date.parse(acquireTime) - Date.parse(ended) + (stopMs ?? 0)
  return Math.max(sinceMs, endedMs) + servedAfterMs
}
