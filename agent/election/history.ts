import { encodeHistory, encodeTerm, HISTORY, type PastTerm } from '../lease/history.ts'
import { podOf } from '../lease/operation.ts'
import type { ElectionState, Input, Term, Write } from './state.ts'

const LASTS = { gapMs: null, ended: null, endedBecause: null, stopMs: null } as const

/**
 * What a write notes in the Lease's history of terms; `undefined`: nothing new. Whoever takes the Lease closes what its holder
 * left open; whoever releases it says why.
 */
export function historyNote(
  { config, now }: Pick<Input, 'config' | 'now'>,
  { seen, term, lastNotes, history: known }: ElectionState,
  write: Pick<Write, 'kind' | 'because' | 'unchangedMs'> & { readonly epoch: number },
): string | undefined {
  const lease = seen?.lease ?? null
  const at = new Date(now.wall).toISOString()
  const holder = podOf(config.identity)
  const { kind, because, epoch } = write
  if (kind === 'acquire' && because !== null) {
    const phases = { detectMs: write.unchangedMs, acquireMs: 0, startMs: null, healthyMs: null }
    const begun = { ...LASTS, epoch, holder, began: at, because: because.code, phases }
    const left = { ended: lease?.spec?.renewTime ?? at, endedBecause: 'expired' } as const
    return encodeHistory([begun, ...known.map((past) => (past.ended ? past : { ...past, ...left }))])
  }
  if (term === null) return undefined
  const own = known.find((past) => past.epoch === term.epoch)
  const earlier = known.filter((past) => past.epoch < term.epoch)
  const before = earlier[0]?.epoch === term.epoch - 1 ? earlier[0] : null
  const present = presentOf(term, own ?? null, before, holder)
  if (present === null) return undefined
  const { stepDown } = term
  const entry =
    kind === 'release' && stepDown !== null
      ? { ...present, ended: at, endedBecause: stepDown.code, stopMs: now.mono - stepDown.closedAt }
      : present
  // Most renewals have nothing to add.
  return lastNotes[HISTORY]?.includes(encodeTerm(entry)) ? undefined : encodeHistory([entry, ...earlier])
}

/** This term as it is to be remembered; `null`: an earlier agent began it, and nothing of it is known. */
function presentOf(
  { epoch, acquireTime, because, phases }: Term,
  own: PastTerm | null,
  before: PastTerm | null,
  holder: string,
): PastTerm | null {
  if (phases === null) return own
  const { detectMs, acquireMs, startMs, healthyMs } = phases
  const served = startMs !== null && healthyMs !== null && before !== null
  const gapMs = served ? (before.stopMs ?? 0) + detectMs + acquireMs + startMs + healthyMs : null
  return { ...LASTS, epoch, holder, began: acquireTime, because, phases, gapMs }
}
