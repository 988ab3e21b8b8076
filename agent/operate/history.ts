import type { PastTerm } from '../lease/history.ts'
import { type Paint, plain, span, table } from './output.ts'

/** The terms as a table, newest first as they come. @param wallMs now */
export function historyTable(terms: readonly PastTerm[], wallMs: number, paint: Paint = plain): string {
  if (terms.length === 0) return 'The Lease remembers no term.\n'
  const rows = terms.map(({ epoch, holder, began, because, phases, gapMs, ended, endedBecause }) => [
    String(epoch),
    holder,
    began,
    span((ended === null ? wallMs : Date.parse(ended)) - Date.parse(began)),
    because,
    endedBecause ?? (ended === null ? (['green', 'lasts'] as const) : 'unknown'),
    seconds(phases.detectMs),
    seconds(phases.acquireMs),
    seconds(phases.startMs),
    seconds(phases.healthyMs),
    seconds(gapMs),
  ])
  const head = 'EPOCH,HOLDER,BEGAN,LASTED,BECAUSE,ENDED,DETECT,ACQUIRE,START,HEALTHY,NO SERVER'
  return `${table(head.split(','), rows, paint)}\n`
}

/** In seconds, as a takeover is told; short ones in milliseconds. `null`: unknown, or it never came to that. */
function seconds(ms: number | null): string {
  if (ms === null) return '-'
  return ms < 1000 ? `${Math.round(ms)}ms` : `${(ms / 1000).toFixed(1)}s`
}
