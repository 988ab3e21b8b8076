import type { Instant } from '../clock.ts'
import type { AgentOptions } from '../config/options.ts'
import { inability } from '../election/ability.ts'
import { coolDownEnds } from '../election/follower.ts'
import { type CandidateConfig, type ElectionState, killAt } from '../election/state.ts'
import { epochOf, holderOf, langflowOf } from '../lease/lease.ts'
import type { WorkloadView } from '../link/messages.ts'
import type { AgentStatus, Check, PeersView } from '../observe/status.ts'
import { VERSION } from '../version.ts'

/** What a replica needs to know of its own configuration. */
export interface ReplicaOptions
  extends Omit<CandidateConfig, 'owner' | 'salt'>,
    Pick<AgentOptions, 'leaseName' | 'socket' | 'standby' | 'onCrash'> {
  readonly pod: Pick<AgentOptions['pod'], 'name' | 'revision' | 'owner' | 'problem'>
  readonly traffic: Pick<AgentOptions['traffic'], 'mode'>
}

export interface ReplicaFacts {
  readonly options: ReplicaOptions
  readonly namespace: string
  readonly now: Instant
  readonly state: ElectionState
  readonly decision: string
  readonly workload: {
    readonly view: WorkloadView
    readonly launcher: 'connected' | 'missing' | 'silent'
    readonly canRun: boolean
    readonly healthy: boolean
    readonly lastProbe: string | null
    readonly draining: string | null
  }
  readonly peers: PeersView | null
  readonly podAgeMs: number | null
  /** See `AgentStatus`. */
  readonly routedTo: string | null
  /** What else keeps this replica from working as it should. */
  readonly problem: string | null
}

interface StandbyFacts extends Pick<ReplicaFacts, 'state' | 'now' | 'workload'> {
  readonly options: Pick<CandidateConfig, 'leaseDurationMs' | 'retryPeriodMs'>
}

/** The whole view of one replica, put together from what election and workload know. */
export function describeReplica(facts: ReplicaFacts): AgentStatus {
  const checks = checksOf(facts)
  const unable = inabilityOf(facts)
  const { options, state, now, workload } = facts
  const { term } = state
  const lease = state.seen?.lease ?? null
  const holder = lease === null ? null : holderOf(lease)
  const { standby, ...view } = workload.view
  return {
    identity: options.identity,
    version: VERSION,
    revision: options.pod.revision,
    podAgeMs: facts.podAgeMs,
    now: new Date(now.wall).toISOString(),
    role: term === null ? 'follower' : 'leader',
    couldTakeOver: standsBy(facts),
    decision: facts.decision,
    problem:
      state.ending?.code === 1
        ? state.ending.reason
        : (state.writeProblem ?? state.readProblem ?? state.watchProblem ?? facts.problem ?? unable),
    lease: {
      namespace: facts.namespace,
      name: options.leaseName,
      holder,
      self: term !== null,
      epoch: lease === null ? state.highestEpoch : epochOf(lease),
      since: holder ? (lease?.spec?.acquireTime ?? null) : null,
      watch: state.watchUp ? 'up' : 'down',
    },
    leadership: {
      doubt: term?.doubt ?? false,
      killInMs:
        term === null ? null : Math.max(0, Math.round(killAt(options, term.renewedAt).mono - now.mono)),
      steppingDown: term?.stepDown?.reason ?? null,
      coolDownMs: coolDownEnds(state) > now.mono ? Math.round(coolDownEnds(state) - now.mono) : null,
    },
    workload: {
      ...view,
      launcher: workload.launcher,
      healthy: workload.healthy,
      lastProbe: workload.lastProbe,
      draining: workload.draining,
    },
    langflow: {
      version: state.workload.langflow,
      newest: lease === null ? null : langflowOf(lease),
      outdated: state.outdated !== null,
    },
    standby: {
      wanted: options.standby,
      ...standby,
      state: standbyState(facts),
    },
    peers: facts.peers,
    traffic: {
      mode: options.traffic.mode,
      gate: checks.every(({ ok }) => ok) ? 'open' : 'closed',
      routedTo: facts.routedTo,
    },
    checks,
  }
}

/** A follower that would take over now: nothing is in its way, and what it is to keep ready is. */
export function standsBy(facts: StandbyFacts): boolean {
  const {
    state,
    now,
    workload: { canRun, view },
  } = facts
  const cooling = now.mono < coolDownEnds(state)
  const prepared = view.standby.mode === 'cold' || view.standby.state === 'ready'
  return (
    state.term === null &&
    state.ending === null &&
    !cooling &&
    canRun &&
    prepared &&
    inabilityOf(facts) === null
  )
}

/** See `inability`; a leader has shown that it is able. */
function inabilityOf({
  options,
  state,
  now,
}: Pick<StandbyFacts, 'options' | 'state' | 'now'>): string | null {
  return state.term === null ? inability(options, state, now) : null
}

/** A cold one is ready as soon as nothing is in the way. */
function standbyState({ state, workload }: ReplicaFacts): AgentStatus['standby']['state'] {
  const { standby } = workload.view
  if (standby.state !== 'none') return standby.state
  return standby.mode === 'cold' && state.term === null && workload.canRun ? 'ready' : 'none'
}

/** The readiness gate as its conditions, in the order in which `/readyz?verbose` prints them; open when all hold. */
export function checksOf({ options, state, now, workload }: StandbyFacts): Check[] {
  const { term } = state
  const holder = state.seen?.lease ? holderOf(state.seen.lease) : ''
  const doubt = term?.doubt ?? false
  const unable = inabilityOf({ options, state, now })
  const closed = term?.stepDown?.reason ?? term?.restarting ?? null
  const { launcher, healthy, lastProbe } = workload
  const { state: does } = workload.view
  const follower = holder ? `${holder} leads` : 'nobody leads'
  return [
    { name: 'leadership', ok: term !== null, detail: term !== null ? 'this replica leads' : follower },
    {
      name: 'lease',
      ok: !doubt && unable === null,
      detail: doubt
        ? 'no renewal was acknowledged by the renew deadline'
        : (unable ?? (term !== null ? 'renewed in time' : 'seen')),
    },
    { name: 'launcher', ok: launcher === 'connected', detail: `the launcher is ${launcher}` },
    {
      name: 'workload',
      ok: does === 'running' && healthy,
      detail: does === 'running' ? `running; ${lastProbe ?? 'not asked yet'}` : does,
    },
    { name: 'gate', ok: closed === null, detail: closed === null ? 'open' : `closed: ${closed}` },
  ]
}
