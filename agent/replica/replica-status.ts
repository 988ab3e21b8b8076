import { leadsByConsent, servesUntil } from '../election/consent.ts'
import { versionFault } from '../election/eligibility.ts'
import { withheld } from '../election/revision-trial.ts'
import { killAt, openRequest } from '../election/state.ts'
import { epochOf, holderOf, langflowOf } from '../lease/lease.ts'
import { ANY_POD, lastDrillOf, pauseOf } from '../lease/operator-annotations.ts'
import type { AgentStatus } from '../status/agent-status.ts'
import { VERSION } from '../version.ts'
import { checksOf, ineligibilityOf, onTrial, type ReplicaFacts, standsBy, takeoverObstacle } from './gate.ts'
import { problemOf } from './problems.ts'

export function describeReplica(facts: ReplicaFacts): AgentStatus {
  const checks = checksOf(facts)
  const unable = ineligibilityOf(facts)
  const trial = onTrial(facts)
  const { options, state, now, workload } = facts
  const { leaseDurationMs, renewDeadlineMs, retryPeriodMs, killMarginMs } = options
  const { term } = state
  const failed = withheld(options.pod, state, now.mono)?.because ?? null
  const { planned = null } = term ?? {}
  const lasting = unable ?? (failed === null ? null : trial)
  const lease = state.seen?.lease ?? null
  const holder = lease === null ? null : holderOf(lease)
  const { standby, ...view } = workload.view
  const { launcher, healthy, lastProbe, busy } = workload
  return {
    identity: options.identity,
    version: VERSION,
    revision: options.pod.revision,
    onTrial: trial === null ? null : { reason: trial, failed },
    podAgeMs: facts.podAgeMs,
    now: new Date(now.wall).toISOString(),
    role: term === null ? 'follower' : 'leader',
    couldTakeOver: standsBy(facts),
    unable: takeoverObstacle(facts),
    decision: state.decision,
    problem: problemOf(facts) ?? lasting,
    lease: {
      namespace: facts.namespace,
      name: options.leaseName,
      holder,
      self: term !== null,
      epoch: lease === null ? state.highestEpoch : epochOf(lease),
      since: holder ? (lease?.spec?.acquireTime ?? null) : null,
      watch: state.watchUp ? 'up' : 'down',
      freeInMs:
        term === null && state.seen !== null && holder
          ? Math.max(0, Math.round(state.seen.changedAt + state.seen.heldMs - now.mono))
          : null,
    },
    leadership: {
      doubt: term?.doubt ?? false,
      killInMs:
        term === null ? null : Math.max(0, Math.round(killAt(options, term.renewedAt).mono - now.mono)),
      steppingDown: term?.stepDown?.inPlace ? null : (term?.stepDown?.reason ?? null),
      planned: planned && {
        reason: planned.why.reason,
        leftMs: Math.max(0, Math.round(planned.until - now.mono)),
      },
      coolDownMs: Math.max(0, Math.round((state.coolDown?.until ?? 0) - now.mono)) || null,
    },
    failsafe: failsafeView(facts),
    workload: { ...view, launcher, healthy, lastProbe, busy },
    langflow: {
      version: state.workload.langflow,
      newest: lease === null ? null : langflowOf(lease),
      outdated: versionFault(state) !== null,
    },
    standby: { wanted: options.standby, ...standby, state: standbyState(facts) },
    peers: facts.peers,
    traffic: {
      mode: options.traffic.mode,
      gate: checks.every(({ ok }) => ok) ? 'open' : 'closed',
      routedTo: facts.traffic.routedTo,
      front: facts.traffic.front,
    },
    timings: { leaseDurationMs, renewDeadlineMs, retryPeriodMs, killMarginMs },
    pause: pauseOf(lease, now.wall),
    switchover: switchoverView(state),
    lastDrill: lastDrillOf(lease),
    history: state.noted.history,
    flowsDigest: workload.digests.flows,
    secretKeyDigest: workload.digests.secretKey,
    content: contentView(facts),
    checks,
  }
}

function failsafeView({ options, state, now }: ReplicaFacts): AgentStatus['failsafe'] {
  const { term } = state
  if (options.failsafe === 'none' || term === null) return null
  const members = term.consent.acknowledged.map(({ identity }) => identity)
  if (!leadsByConsent(term)) return { members, byConsent: null }
  const awayMs = Math.round(now.mono - term.writtenAt.mono)
  const leftMs = Math.max(0, Math.round(servesUntil(options, term).mono - now.mono))
  return { members, byConsent: { awayMs, leftMs } }
}

function switchoverView(state: ReplicaFacts['state']): AgentStatus['switchover'] {
  const { term } = state
  const refusal = term?.refusal ?? null
  const asked = openRequest(state)
  const { code = null, to = null } = term?.stepDown ?? {}
  if (code === 'switchover' || code === 'failover' || code === 'restart')
    return { what: code, to: asked?.to ?? to ?? ANY_POD, state: 'under way', reason: null }
  if (refusal !== null && (asked === null || refusal.open)) {
    const { what, to, reason } = refusal
    return { what, to, state: 'refused', reason }
  }
  return asked === null ? null : { what: asked.what, to: asked.to, state: 'requested', reason: null }
}

function contentView({ workload, now }: ReplicaFacts): AgentStatus['content'] {
  const { content } = workload.digests
  if (content === undefined) return null
  const { digest, since, running, problem } = content
  const ageMs = digest === null ? null : Math.max(0, Math.round(now.mono - since))
  return { digest, ageMs, running, problem }
}

/** A cold standby is ready as soon as LangFlow could start. */
function standbyState({ state, workload }: ReplicaFacts): AgentStatus['standby']['state'] {
  const { standby } = workload.view
  if (standby.state !== 'none') return standby.state
  return standby.mode === 'cold' && state.term === null && workload.canRun ? 'ready' : 'none'
}
