import { type Instant, reached } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import type { Timings } from '../config/timings.ts'
import { inability } from '../election/eligibility.ts'
import { isUnproven, withheld } from '../election/revision-trial.ts'
import { type CandidateConfig, type CandidateState, doubtAt, NEVER } from '../election/state.ts'
import type { Fault } from '../fault.ts'
import type { TrafficView } from '../front/agent-side/steering.ts'
import { holderOf } from '../lease/lease.ts'
import type { Check, PeersView } from '../status/agent-status.ts'
import type { WorkloadStatus } from '../supervisor/supervisor.ts'

export interface ReplicaOptions
  extends Omit<CandidateConfig, 'owner' | 'revision' | 'front' | 'consentKey' | 'salt'>,
    Pick<AgentOptions, 'leaseName' | 'onCrash' | 'peers' | 'failsafe'> {
  readonly pod: Pick<AgentOptions['pod'], 'name' | 'revision' | 'owner'>
  readonly traffic: Pick<AgentOptions['traffic'], 'mode'>
}

export interface ReplicaFacts {
  readonly options: ReplicaOptions
  readonly namespace: string
  readonly now: Instant
  readonly state: CandidateState
  readonly workload: WorkloadStatus
  readonly peers: PeersView | null
  readonly podAgeMs: number | null
  readonly traffic: TrafficView
}

type GateFacts = Pick<ReplicaFacts, 'now' | 'workload' | 'traffic'> & {
  readonly state: CandidateState
  readonly options: Timings &
    Pick<AgentOptions, 'peers'> & { readonly pod: Pick<AgentOptions['pod'], 'revision'> }
}

/** The leader, beyond doubt, whose workload runs in its own term and is healthy. */
export function isReady(facts: GateFacts): boolean {
  const { term } = facts.state
  if (term === null || isInDoubt(facts)) return false
  return facts.workload.view.epoch === term.epoch && checksOf(facts).every((check) => check.ok)
}

/** Reads the clock each time, because a late timer must not keep the gate open. */
export function isInDoubt({ options, state: { term }, now }: GateFacts): boolean {
  return term !== null && reached(now, doubtAt(options, term.renewedAt))
}

/** A leader in doubt counts as well: it serves no client, but neither could any other replica. */
export function couldServe(facts: GateFacts): boolean {
  const { term } = facts.state
  if (onTrial(facts) !== null) return false
  if (term === null) return standsBy(facts)
  if (!isInDoubt(facts)) return isReady(facts)
  const { epoch, state } = facts.workload.view
  return term.stepDown === null && epoch === term.epoch && (state === 'frozen' || state === 'running')
}

/** Why Kubernetes must keep the pods of the revision that served last. It does not affect the ability to take over. */
export function onTrial({ options: { pod, peers }, state, now }: GateFacts): Fault {
  const served = state.term !== null && state.term.trialUntil === null
  if (served || !isUnproven(pod, state)) return null
  const failed = withheld(pod, state, now.mono)
  if (failed !== null && failed.until !== NEVER)
    return `LangFlow of revision ${failed.revision} could not be started (attempt ${failed.attempts}: ${failed.reason}): no replica hands over to it for another ${Math.ceil((failed.until - now.mono) / 1000)} s`
  if (failed !== null)
    return `the first start of revision ${failed.revision} failed (${failed.reason}): no replica hands over to it until its template or LangFlow's inputs change`
  // Without peers, no leader hands over to it: its turn comes when the old pods end.
  if (peers === null) return null
  return `revision ${pod.revision} has not served yet (${state.noted.revisions.proven[0]} has): its pod is not Ready for Kubernetes until then`
}

export function standsBy(facts: GateFacts): boolean {
  return facts.state.term === null && takeoverObstacle(facts) === null
}

/** Why a follower would not take over now, in one sentence. `null`: it would, or this replica leads. */
export function takeoverObstacle(facts: GateFacts): Fault {
  const { options, state, now, workload, traffic } = facts
  if (state.term !== null) return null
  if (state.ending !== null) return `its agent is ending: ${state.ending.reason}`
  if (withheld(options.pod, state, now.mono) !== null) return onTrial(facts)
  const coolMs = (state.coolDown?.until ?? 0) - now.mono
  if (coolMs > 0) return `it cools down for ${Math.ceil(coolMs / 1000)} s ${state.coolDown?.after}`
  const unable = ineligibilityOf(facts)
  if (unable !== null) return unable
  if (traffic.front?.listening === false) return frontNotListening(traffic)
  if (workload.launcher !== 'connected') return `the launcher is ${workload.launcher}`
  if (!workload.canRun)
    return `its launcher cannot start LangFlow now: the workload is ${workload.view.state}`
  const { content } = workload.digests
  if (content?.unfit) return content.problem
  const { standby } = workload.view
  const prepared = standby.mode === 'cold' || standby.state === 'ready'
  return prepared ? null : `its standby is ${standby.state === 'none' ? 'not prepared' : standby.state}`
}

/**
 * Why no client should be sent to this replica's front. A replica that could not take over has a fault, and so has a
 * leader that still starts while another could take over: a rollout stops at a LangFlow that never serves.
 */
export function frontFault(facts: ReplicaFacts): Fault {
  const { traffic, options } = facts
  if (traffic.front === null)
    return `this replica has no front: it runs with --traffic=${options.traffic.mode}`
  if (!traffic.front.listening) return frontNotListening(traffic)
  return takeoverObstacle(facts) ?? onTrial(facts) ?? notServingYet(facts) ?? traffic.problem
}

function notServingYet({ state: { term }, peers }: Pick<ReplicaFacts, 'state' | 'peers'>): Fault {
  // The phases may be unknown for a term that was taken back.
  const starts = term?.record?.phases.healthyMs === null
  return starts && peers !== null && peers.ready > 0
    ? 'its LangFlow has not served in this term yet, and another replica could take over'
    : null
}

function frontNotListening({ problem }: TrafficView): string {
  return problem ?? 'its front does not listen yet'
}

export function ineligibilityOf({ options, state, now }: GateFacts): Fault {
  return state.term === null ? inability(options, state, now) : null
}

/** The conditions of the readiness gate, in the order of `/readyz?verbose`. The gate is open if all hold. */
export function checksOf(facts: GateFacts): Check[] {
  const { state, workload } = facts
  const { term } = state
  const holder = state.seen?.lease ? holderOf(state.seen.lease) : ''
  const doubt = term?.doubt ?? false
  const unable = ineligibilityOf(facts)
  const closed = term?.stepDown?.reason ?? null
  const { launcher, healthy, lastProbe } = workload
  const { state: phase } = workload.view
  const trial = onTrial(facts)
  const follower = holder ? `${holder} leads` : 'no replica leads'
  return [
    { name: 'leadership', ok: term !== null, detail: term !== null ? 'this replica leads' : follower },
    {
      name: 'lease',
      ok: !doubt && unable === null,
      detail: doubt
        ? 'no renewal was acknowledged by the renew deadline'
        : (unable ?? (term !== null ? 'renewed in time' : 'seen')),
    },
    { name: 'revision', ok: term !== null || trial === null, detail: trial ?? 'it has served' },
    { name: 'launcher', ok: launcher === 'connected', detail: `the launcher is ${launcher}` },
    {
      name: 'workload',
      ok: phase === 'running' && healthy,
      detail: phase === 'running' ? `running; ${lastProbe ?? 'not probed yet'}` : phase,
    },
    { name: 'gate', ok: closed === null, detail: closed === null ? 'open' : `closed: ${closed}` },
  ]
}
