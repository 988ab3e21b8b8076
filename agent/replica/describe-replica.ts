import { coolDownEnds } from '../election/follower.ts'
import { failedStart } from '../election/revision-trial.ts'
import { killAt, writerWall } from '../election/state.ts'
import { epochOf, holderOf, langflowOf } from '../lease/lease.ts'
import { ANYBODY, lastDrillOf, pauseOf, switchoverOf } from '../lease/operator-annotations.ts'
import type { AgentStatus } from '../observe/agent-status.ts'
import { VERSION } from '../version.ts'
import { checksOf, inabilityOf, onTrial, type ReplicaFacts, standsBy, whyNot } from './gate.ts'

/** The whole view of one replica, put together from what election and workload know. */
export function describeReplica(facts: ReplicaFacts): AgentStatus {
  const checks = checksOf(facts)
  const unable = inabilityOf(facts)
  const trial = onTrial(facts)
  const { options, state, now, workload } = facts
  const { term } = state
  const failed = failedStart(options.pod, state)?.because ?? null
  const lasting = unable ?? (failed === null ? null : trial)
  const lease = state.seen?.lease ?? null
  const holder = lease === null ? null : holderOf(lease)
  const { standby, ...view } = workload.view
  const { launcher, healthy, lastProbe, draining } = workload
  return {
    identity: options.identity,
    version: VERSION,
    revision: options.pod.revision,
    onTrial: trial === null ? null : { reason: trial, failed },
    podAgeMs: facts.podAgeMs,
    now: new Date(now.wall).toISOString(),
    role: term === null ? 'follower' : 'leader',
    couldTakeOver: standsBy(facts),
    unable: whyNot(facts),
    decision: facts.decision,
    problem:
      state.ending?.code === 1
        ? state.ending.reason
        : (state.writeProblem ?? state.readProblem ?? state.watchProblem ?? facts.problem ?? lasting),
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
    workload: { ...view, launcher, healthy, lastProbe, draining },
    langflow: {
      version: state.workload.langflow,
      newest: lease === null ? null : langflowOf(lease),
      outdated: state.outdated !== null,
    },
    standby: { wanted: options.standby, ...standby, state: standbyState(facts) },
    peers: facts.peers,
    traffic: {
      mode: options.traffic.mode,
      gate: checks.every(({ ok }) => ok) ? 'open' : 'closed',
      routedTo: facts.traffic.routedTo,
      front: facts.traffic.front,
    },
    timings: {
      leaseDurationMs: options.leaseDurationMs,
      renewDeadlineMs: options.renewDeadlineMs,
      retryPeriodMs: options.retryPeriodMs,
      killMarginMs: options.killMarginMs,
    },
    pause: pauseOf(lease, writerWall(state, now)),
    switchover: switchoverView(state),
    lastDrill: lastDrillOf(lease),
    history: state.history,
    flowsDigest: workload.digests.flows,
    secretKeyDigest: workload.digests.secretKey,
    checks,
  }
}

function switchoverView({ seen, term, refusal }: ReplicaFacts['state']): AgentStatus['switchover'] {
  const to = switchoverOf(seen?.lease ?? null)
  if (term?.stepDown?.code === 'switchover')
    return { to: to ?? term.stepDown.to ?? ANYBODY, state: 'under way', reason: null }
  if (refusal !== null && (to === null || refusal.open))
    return { to: refusal.to, state: 'refused', reason: refusal.reason }
  return to === null ? null : { to, state: 'requested', reason: null }
}

/** A cold one is ready as soon as nothing is in the way. */
function standbyState({ state, workload }: ReplicaFacts): AgentStatus['standby']['state'] {
  const { standby } = workload.view
  if (standby.state !== 'none') return standby.state
  return standby.mode === 'cold' && state.term === null && workload.canRun ? 'ready' : 'none'
}
