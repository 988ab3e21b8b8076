import { dirname } from 'node:path'
import type { Fault } from '../fault.ts'
import { ownerProblem } from '../lease/lease.ts'
import { pauseFault } from '../lease/operator-annotations.ts'
import type { ReplicaFacts } from './replica-status.ts'

/** The line that is logged when a problem is over. Problems without one are logged elsewhere. */
export const OVER = {
  lease: 'the Lease can be reached again',
  content: 'the changed files can be used',
  launcher: 'a launcher has connected',
  grant: 'the launcher accepts grants again',
  owner: 'the Lease no longer belongs to another workload',
  version: 'the version of LangFlow no longer prevents a takeover',
} as const

export type Problem = readonly [
  code: keyof typeof OVER | 'end' | 'paused' | 'pause' | 'traffic' | 'pod',
  Fault,
]

/** Why this replica does not work as intended. `/status` shows the first. */
export function problemsOf(facts: ReplicaFacts): readonly Problem[] {
  const { options, state, workload, traffic, sinceStartMs } = facts
  const lease = state.seen?.lease ?? null
  return [
    ['end', state.ending?.code === 1 ? state.ending.reason : null],
    ['lease', state.writeProblem ?? state.readProblem ?? state.watchProblem],
    ['paused', leftAlone(facts)],
    ['content', workload.digests.content?.problem ?? null],
    ['launcher', workload.launcherSeen ? null : launcherAbsence(sinceStartMs, options.socket)],
    ['grant', workload.refusedGrant],
    ['owner', ownerProblem(options.pod.owner, lease)],
    ['pause', pauseFault(lease)],
    ['version', state.outdated],
    ['traffic', traffic.problem],
    ['pod', options.pod.problem],
  ]
}

/** A failure that is left alone because the Lease is paused. */
function leftAlone({ state: { term, workload } }: Pick<ReplicaFacts, 'state'>): Fault {
  const setAside = term?.setAside ?? null
  return setAside === null || workload.well
    ? null
    : `LangFlow has failed and is not restarted during the pause: ${setAside.reason}`
}

/** After this time, an image is usually pulled and a volume mounted. */
const CONNECTS_WITHIN_MS = 60_000

/** The likely causes if no launcher has connected since the start. */
export function launcherAbsence(sinceStartMs: number, socket: string): Fault {
  if (sinceStartMs < CONNECTS_WITHIN_MS) return null
  return (
    `no launcher has connected within ${CONNECTS_WITHIN_MS / 1000} s: LangFlow’s container must start LangFlow with ` +
    `"langflow-leader launch --" and mount the volume of ${dirname(socket)} at the same path; Kubernetes before 1.29 does ` +
    'not start a container beside such a sidecar: upgrade, or run both in one container (langflow-leader run)'
  )
}
