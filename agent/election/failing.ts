import { beginStepDown } from './holding.ts'
import type { Remedy } from './state.ts'
import type { Turn } from './turn.ts'

/** The workload does not do its work: it is started again in this term, or handed over. */
export function remedyFailure(turn: Turn, reason: string, remedy: Remedy): void {
  if (remedy === 'restart') beginRestart(turn, reason)
  else beginStepDown(turn, reason, true)
}

/**
 * Stopped while renewing goes on, then started again in the same epoch. It is never killed for it: a kill ends the grant
 * for good. One failure may be told in several ways, so that a second one changes nothing.
 */
function beginRestart(turn: Turn, reason: string): void {
  const { term } = turn.state
  if (term === null || term.stepDown !== null || term.restarting !== null) return
  turn.setTerm({ restarting: reason })
  turn.emit({ type: 'restart', reason, graceMs: turn.config.stopTimeoutMs })
}

/** How it ended may have been told while the launcher had no agent to tell it to. */
export function noticeEnd(turn: Turn): void {
  const { term, workload } = turn.state
  if (term === null || workload.alive !== 'no') return
  const toBeStarted = !term.startOrdered || term.restarting !== null
  if (!workload.canRun && toBeStarted) beginStepDown(turn, 'the launcher went away', false)
  else if (!workload.canRun) return
  else if (term.restarting !== null) turn.setTerm({ restarting: null, startOrdered: false })
  else if (term.startOrdered) beginStepDown(turn, 'the workload runs no more', true)
}

/** It serves nobody; an earlier agent may have ended before it could act on that. */
export function noticeFailure(turn: Turn): void {
  const { term, workload } = turn.state
  if (term === null || term.restarting !== null || workload.failed === null) return
  beginStepDown(turn, workload.failed, true)
}
