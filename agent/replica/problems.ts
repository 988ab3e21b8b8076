import { describeConsent } from '../election/consent.ts'
import { versionFault } from '../election/eligibility.ts'
import type { Fault } from '../fault.ts'
import { ownerProblem } from '../lease/lease.ts'
import { pauseFault } from '../lease/operator-annotations.ts'
import type { ReplicaFacts } from './gate.ts'
import type { EventReason } from './kube-events.ts'

/** Why a replica does not work as intended, and how this is reported while it lasts, beside `/status`. */
export interface Problem {
  readonly fault: Fault
  /** The line that is logged when it is over. A problem without one is logged elsewhere. */
  readonly over?: string
  readonly event?: EventReason
  readonly alarm?: 'grant_refused' | 'stop_failed'
  /** `/status` shows it at another place. */
  readonly hidden?: true
}

/** The most important first. */
export function problemsOf(facts: ReplicaFacts): readonly Problem[] {
  const { options, state, workload, traffic } = facts
  const lease = state.seen?.lease ?? null
  const lost = state.writeProblem ?? state.readProblem ?? state.watchProblem
  const stopFailed = state.term === null ? null : state.workload.stopFailed
  const setAside = state.workload.well ? null : (state.term?.setAside ?? null)
  const leftAlone =
    setAside && `LangFlow has failed and is not restarted during the pause: ${setAside.reason}`
  const seconds = (ms = 0, digits = 0) => `${(ms / 1000).toFixed(digits)} s`
  const { busy } = workload
  const load = `no answer to /health for ${seconds(busy?.ms)}, ${seconds(busy?.cpuMs, 1)} of CPU in this time`
  const consent = state.term && describeConsent(options, facts.now, state.term)
  const owner = ownerProblem(options.pod.owner, lease)
  const content = workload.digests.content?.problem ?? null
  return [
    { fault: state.ending?.code === 1 ? state.ending.reason : null },
    { fault: consent, over: 'this replica no longer leads by consent' },
    { fault: lost, over: 'the Lease can be reached again' },
    { fault: stopFailed, event: 'StopFailed', alarm: 'stop_failed', hidden: true },
    { fault: leftAlone },
    { fault: busy && `LangFlow is busy: ${load}`, over: 'LangFlow is no longer busy' },
    { fault: content, over: 'the changed files can be used', event: 'ContentRefused' },
    { fault: workload.refusedGrant, over: 'the launcher accepts grants again', alarm: 'grant_refused' },
    { fault: owner, over: 'the Lease no longer belongs to another workload' },
    { fault: pauseFault(lease) },
    { fault: versionFault(state), over: 'the version of LangFlow no longer prevents a takeover' },
    { fault: traffic.problem },
  ]
}

export function problemOf(facts: ReplicaFacts): Fault {
  return problemsOf(facts).find(({ fault, hidden }) => fault !== null && !hidden)?.fault ?? null
}
