import { versionFault } from '../election/eligibility.ts'
import type { Fault } from '../fault.ts'
import { ownerProblem } from '../lease/lease.ts'
import { pauseFault } from '../lease/operator-annotations.ts'
import type { ReplicaFacts } from './gate.ts'
import type { EventReason } from './kube-events.ts'

/** How a problem is reported while it lasts, beside `/status`. */
export interface ProblemReport {
  /** The line that is logged when it is over. A problem without one is logged elsewhere. */
  readonly over?: string
  readonly event?: EventReason
  readonly alarm?: 'grant_refused' | 'stop_failed'
  /** `/status` shows it at another place. */
  readonly hidden?: true
}

export const REPORTS = {
  end: {},
  lease: { over: 'the Lease can be reached again' },
  stop: { event: 'StopFailed', alarm: 'stop_failed', hidden: true },
  paused: {},
  content: { over: 'the changed files can be used', event: 'ContentRefused' },
  grant: { over: 'the launcher accepts grants again', alarm: 'grant_refused' },
  owner: { over: 'the Lease no longer belongs to another workload' },
  pause: {},
  version: { over: 'the version of LangFlow no longer prevents a takeover' },
  traffic: {},
} as const satisfies Record<string, ProblemReport>

export type ProblemCode = keyof typeof REPORTS

/** Why this replica does not work as intended, the most important first. */
export function problemsOf(facts: ReplicaFacts): readonly (readonly [ProblemCode, Fault])[] {
  const { options, state, workload, traffic } = facts
  const lease = state.seen?.lease ?? null
  return [
    ['end', state.ending?.code === 1 ? state.ending.reason : null],
    ['lease', state.writeProblem ?? state.readProblem ?? state.watchProblem],
    ['stop', state.term === null ? null : state.workload.stopFailed],
    ['paused', leftAlone(facts)],
    ['content', workload.digests.content?.problem ?? null],
    ['grant', workload.refusedGrant],
    ['owner', ownerProblem(options.pod.owner, lease)],
    ['pause', pauseFault(lease)],
    ['version', versionFault(state)],
    ['traffic', traffic.problem],
  ]
}

export function problemOf(facts: ReplicaFacts): Fault {
  const isShown = (code: ProblemCode) => !('hidden' in REPORTS[code])
  return problemsOf(facts).find(([code, fault]) => fault !== null && isShown(code))?.[1] ?? null
}

function leftAlone({ state: { term, workload } }: Pick<ReplicaFacts, 'state'>): Fault {
  const setAside = term?.setAside ?? null
  return setAside === null || workload.well
    ? null
    : `LangFlow has failed and is not restarted during the pause: ${setAside.reason}`
}
