import { shortDuration } from '../config/values.ts'
import type { PastTerm } from '../lease/lease-history.ts'
import { table } from './output.ts'

export function historyTable(terms: readonly PastTerm[], wallMs: number): string {
  if (terms.length === 0) return 'The Lease has no recorded term.\n'
  const areNoted = terms.some(({ note }) => note !== null)
  const rows = terms.map(({ epoch, holder, began, because, phases, gapMs, stopMs, note, ...end }) => [
    String(epoch),
    holder,
    began,
    shortDuration((end.ended === null ? wallMs : Date.parse(end.ended)) - Date.parse(began)),
    because,
    ...[phases.detectMs, phases.acquireMs, phases.startMs, phases.healthyMs, gapMs].map((ms) =>
      shortDuration(ms),
    ),
    endOf(end),
    shortDuration(stopMs),
    ...(areNoted ? [note ?? '-'] : []),
  ])
  return `${table(areNoted ? [...HEAD, 'REASON'] : HEAD, rows)}\n`
}

const HEAD = 'EPOCH,HOLDER,BEGAN,LASTED,BECAUSE,DETECT,ACQUIRE,START,HEALTHY,NO SERVER,ENDED,STOP'.split(',')

function endOf({ ended, endedBecause }: Pick<PastTerm, 'ended' | 'endedBecause'>): string {
  return endedBecause ?? (ended === null ? 'current' : 'unknown')
}
