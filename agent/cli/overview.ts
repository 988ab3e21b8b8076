import { listed } from '../config/values.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import type { PastTerm } from '../lease/lease-history.ts'
import {
  isOfPod,
  type Pause,
  pauseFault,
  pauseOf,
  podOf,
  switchoverOf,
} from '../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow, SwitchoverView } from '../observe/agent-status.ts'

/** Who leads, and could another take over: what `status` tells, also as JSON and YAML. */
export interface Overview {
  readonly lease: {
    readonly namespace: string
    readonly name: string
    /** `null`: nobody holds it. */
    readonly holder: string | null
    readonly epoch: number
    /** RFC 3339, when the holder acquired it; `null`: nobody holds it, or unknown. */
    readonly since: string | null
  }
  /** Exactly one serves, and another could take over. */
  readonly ok: boolean
  /** What is not so, in one sentence each; empty where all is `ok`. */
  readonly problems: readonly string[]
  readonly pause: Pause | null
  readonly switchover: SwitchoverView | null
  readonly replicas: readonly ReplicaRow[]
}

const OTHER_KEY = "its LANGFLOW_SECRET_KEY is not the leader's; give all replicas the same, and restart them"

/** As Lease and replicas tell. @param wallMs now */
export function overviewOf(lease: Lease, replicas: readonly ReplicaRow[], wallMs: number): Overview {
  const { namespace = '', name = '' } = lease.metadata
  const holder = holderOf(lease) || null
  const since = holder === null ? null : (lease.spec?.acquireTime ?? null)
  const to = switchoverOf(lease)
  const requested = to === null ? null : ({ to, state: 'requested', reason: null } as const)
  return judged(
    {
      lease: { namespace, name, holder, epoch: epochOf(lease), since },
      pause: pauseOf(lease, wallMs),
      switchover: leaderIn(replicas)?.switchover ?? requested,
      replicas,
    },
    pauseFault(lease),
  )
}

/** As the replicas alone tell: the leader, or whoever answers; `null`: nobody does. */
export function overviewFrom(replicas: readonly ReplicaRow[]): Overview | null {
  const known = leaderIn(replicas) ?? replicas.find(({ status }) => status !== null)?.status ?? null
  if (known === null) return null
  const { namespace, name, holder, epoch, since } = known.lease
  const lease = { namespace, name, holder: holder || null, epoch, since }
  return judged({ lease, pause: known.pause ?? null, switchover: known.switchover ?? null, replicas })
}

/** The last terms, newest first, as the leader or whoever answers knows them. */
export function historyFrom(replicas: readonly ReplicaRow[]): readonly PastTerm[] {
  return (leaderIn(replicas) ?? replicas.find(({ status }) => status !== null)?.status)?.history ?? []
}

export function serves({ role, traffic }: AgentStatus): boolean {
  return role === 'leader' && traffic.gate === 'open'
}

/** The one of the highest epoch, where two say that they lead. */
function leaderIn(replicas: readonly ReplicaRow[]): AgentStatus | null {
  const leaders = replicas.flatMap(({ status }) => (status?.role === 'leader' ? [status] : []))
  return leaders.sort((a, b) => b.lease.epoch - a.lease.epoch)[0] ?? null
}

/** @param fault what is wrong with what operators wrote, in one sentence */
function judged(overview: Omit<Overview, 'ok' | 'problems'>, fault: string | null = null): Overview {
  const problems = [...problemsOf(overview), ...(fault === null ? [] : [fault])]
  return { ...overview, ok: problems.length === 0, problems }
}

function problemsOf({ lease, pause, replicas }: Omit<Overview, 'ok' | 'problems'>): string[] {
  if (replicas.length === 0) return ['no pod here competes for the Lease']
  const problems: string[] = []
  const podsOf = (which: (status: AgentStatus) => boolean) =>
    replicas.flatMap(({ pod, status }) => (status !== null && which(status) ? [pod] : []))
  const serving = podsOf(serves)
  const leading = podsOf(({ role }) => role === 'leader')
  if (leading.length > 1) problems.push(`${leading.length} say that they lead: ${listed(leading)}`)
  if (serving.length === 0) problems.push(`nobody serves: ${whyNobody(lease.holder, replicas)}`)
  if (serving.length > 1) problems.push(`${serving.length} serve at once: ${listed(serving)}`)
  if (podsOf(({ couldTakeOver }) => couldTakeOver).length === 0)
    problems.push(`no ${replicas.length === 1 ? 'second replica is there to' : 'other could'} take over`)
  const key = leaderIn(replicas)?.secretKeyDigest ?? null
  const others = podsOf(({ secretKeyDigest }) => key !== null && (secretKeyDigest ?? key) !== key)
  if (others.length > 0) problems.push(`${listed(others)} could not read stored credentials: ${OTHER_KEY}`)
  const deaf = podsOf(({ traffic }) => traffic.front?.listening === false)
  if (deaf.length > 0) problems.push(`no client reaches the front of ${listed(deaf)}`)
  if (pause !== null) problems.push('it is paused: no takeover starts')
  return problems
}

function whyNobody(holder: string | null, replicas: readonly ReplicaRow[]): string {
  if (holder === null) return 'the Lease has no holder'
  const row = replicas.find(({ pod, status }) => status?.identity === holder || isOfPod(holder, pod))
  if (row === undefined) return `${podOf(holder)} holds the Lease, and is none of these replicas`
  if (row.status === null) return `${row.pod} holds the Lease, and does not tell its status`
  return `${row.pod} holds the Lease, and is ${stateOf(row.status)}`
}

/** What a replica does, in a word or two: `serving` of the leader that does, `ready` of a follower that could take over. */
export function stateOf(status: AgentStatus): string {
  const { role, workload, leadership, standby, langflow, couldTakeOver } = status
  if (workload.state === 'unstoppable') return workload.state
  if (leadership.steppingDown !== null && !leadership.doubt) return 'stepping down'
  if (workload.state === 'stopping') return workload.state
  if (role === 'leader') {
    if (leadership.doubt) return 'in doubt'
    if (serves(status)) return 'serving'
    if (workload.launcher !== 'connected') return `launcher ${workload.launcher}`
    // While paused, nothing starts what has ended.
    const isLeftAlone = (status.pause ?? null) !== null && workload.state === 'idle'
    return workload.servedSince === null && !isLeftAlone ? 'starting' : 'not healthy'
  }
  if (couldTakeOver) return 'ready'
  if (workload.launcher !== 'connected') return `launcher ${workload.launcher}`
  if (langflow.outdated) return 'outdated'
  if (leadership.coolDownMs !== null) return 'cooling down'
  return standby.state === 'preparing' ? 'preparing' : 'not ready'
}
