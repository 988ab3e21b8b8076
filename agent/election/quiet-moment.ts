import type { EndedBecause } from '../lease/reasons.ts'
import { leadsByConsent } from './consent.ts'
import { contentChange } from './content-change.ts'
import type { Input, Leading, StepDownReason } from './state.ts'
import { NEVER, openRequest } from './state.ts'

/** The planned ends of a term that wait for a quiet moment. Of two, the later in this list counts. */
const PLANNED = 'content_changed,newer_revision,restart,switchover,container_ending,terminated'.split(',')

export function isBefore(planned: EndedBecause, other: EndedBecause): boolean {
  return PLANNED.indexOf(planned) < PLANNED.indexOf(other)
}

/** Only a front counts requests. While LangFlow does not serve, or is frozen, no request makes progress. */
export function mayWait({ config }: Input, { term, workload }: Leading, why: StepDownReason): boolean {
  if (config.front === null || config.quietTimeoutMs === 0 || why.now) return false
  return workload.well && !term.doubt
}

/** Whether a planned end still has its cause. Without the API server, and in a pause, only an end of pod or agent has. */
export function isStillDue({ config, now }: Input, state: Leading, { code }: StepDownReason): boolean {
  if (isBefore('switchover', code)) return true
  if (state.term.doubt || leadsByConsent(state.term) || state.paused) return false
  if (code === 'content_changed') return now.mono >= (contentChange(config, state)?.dueAt ?? NEVER)
  return code === 'newer_revision' ? state.successor.newer : openRequest(state)?.what === code
}
