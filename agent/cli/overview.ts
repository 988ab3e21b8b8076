import { listed } from '../config/values.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import { historyOf, type PastTerm } from '../lease/lease-history.ts'
import { type Pause, pauseFault, pauseOf, podOf, requestOf } from '../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow, SwitchoverView } from '../status/agent-status.ts'
import { type ClusterOptions, replicasAt, withAgent } from './api-connection.ts'
import { Cluster, NO_SUCH_REPLICA, rowOf } from './cluster.ts'
import { OperationError } from './exit-codes.ts'

export interface Overview {
  readonly lease: {
    readonly namespace: string
    readonly name: string
    readonly holder: string | null
    readonly epoch: number
    /** RFC 3339; `null` if the Lease has no holder, or the time is unknown. */
    readonly since: string | null
  }
  readonly pause: Pause | null
  readonly switchover: SwitchoverView | null
  readonly replicas: readonly ReplicaRow[]
  /** Exactly one replica serves, another can take over, and there is no other problem. */
  readonly ok: boolean
  readonly problems: string[]
}

export type Source = Awaited<ReturnType<typeof sourceOf>>

/** The agent at `url`, or the agent of this container, or a cluster. All rejections are `OperationError`. */
export async function sourceOf(options: ClusterOptions) {
  const { url } = withAgent(options, process.env)
  if (url !== null)
    return {
      overview: async () => overviewFrom(await replicasAt(url)),
      history: async () => anyStatus(await replicasAt(url))?.history ?? [],
      [Symbol.dispose]: () => {},
    }
  const cluster = await Cluster.connect(options)
  return {
    overview: async () => {
      const [lease, replicas] = await Promise.all([cluster.lease(), cluster.replicas()])
      return overviewOf(lease, replicas, Date.now())
    },
    history: async () => historyOf(await cluster.lease()),
    [Symbol.dispose]: () => cluster[Symbol.dispose](),
  }
}

export function overviewOf(lease: Lease, replicas: readonly ReplicaRow[], wallMs: number): Overview {
  const { namespace = '', name = '' } = lease.metadata
  const holder = holderOf(lease) || null
  const since = holder === null ? null : (lease.spec?.acquireTime ?? null)
  const asked = requestOf(lease)
  const requested = asked && ({ what: asked.what, to: asked.to, state: 'requested', reason: null } as const)
  const overview = {
    lease: { namespace, name, holder, epoch: epochOf(lease), since },
    pause: pauseOf(lease, wallMs),
    switchover: leaderIn(replicas)?.switchover ?? requested,
    replicas,
  }
  return judged(overview, historyOf(lease)[0], pauseFault(lease))
}

/** The overview of replicas, without their Lease. Throws an `OperationError` if no replica answers. */
export function overviewFrom(replicas: readonly ReplicaRow[]): Overview {
  const status = anyStatus(replicas)
  if (status === null)
    throw new OperationError('unreachable', 'the agent reached no replica, not even its own: try another')
  const { namespace, name, holder, epoch, since } = status.lease
  const lease = { namespace, name, holder: holder || null, epoch, since }
  const { pause = null, switchover = null, history } = status
  return judged({ lease, pause, switchover, replicas }, history[0], null)
}

export function serves({ role, traffic }: AgentStatus): boolean {
  return role === 'leader' && traffic.gate === 'open'
}

export function isHandingOver({ switchover, leadership }: AgentStatus): boolean {
  return switchover?.state === 'under way' || leadership.steppingDown !== null
}

/** `waiting for a quiet moment: 2 requests in flight, 24 s left`; `null` if a leader does not wait for one. */
export function waitOf(status: AgentStatus | null): string | null {
  const { planned } = status?.leadership ?? {}
  if (!planned) return null
  const { inFlight = 0, streams = 0 } = status?.traffic.front ?? {}
  const open = `${inFlight} request${inFlight === 1 ? '' : 's'} in flight${streams > 0 ? `, ${streams} streams open` : ''}`
  return `waiting for a quiet moment: ${open}, ${Math.ceil(planned.leftMs / 1000)} s left`
}

function anyStatus(replicas: readonly ReplicaRow[]): AgentStatus | null {
  return leaderIn(replicas) ?? replicas.find(({ status }) => status !== null)?.status ?? null
}

/** The leader. If two replicas report that they lead, the one with the higher epoch. */
function leaderIn(replicas: readonly ReplicaRow[]): AgentStatus | null {
  const leaders = replicas.flatMap(({ status }) => (status?.role === 'leader' ? [status] : []))
  return leaders.sort((a, b) => b.lease.epoch - a.lease.epoch)[0] ?? null
}

type Unjudged = Omit<Overview, 'ok' | 'problems'>

function judged(overview: Unjudged, last: PastTerm | undefined, fault: string | null): Overview {
  const problems = [...problemsOf(overview, last), ...(fault === null ? [] : [fault])]
  return { ...overview, ok: problems.length === 0, problems }
}

function problemsOf(overview: Unjudged, last: PastTerm | undefined): string[] {
  const { pause, replicas } = overview
  if (replicas.length === 0) return ['no pod in this namespace competes for the Lease']
  const podsOf = (which: (status: AgentStatus) => boolean) =>
    replicas.flatMap(({ pod, status }) => (status !== null && which(status) ? [pod] : []))
  const serving = podsOf(serves)
  const leading = podsOf(({ role }) => role === 'leader')
  const able = podsOf(({ couldTakeOver }) => couldTakeOver)
  const key = leaderIn(replicas)?.secretKeyDigest ?? null
  const others = podsOf(({ secretKeyDigest }) => key !== null && (secretKeyDigest ?? key) !== key)
  const deaf = podsOf(({ traffic }) => traffic.front?.listening === false)
  const unable =
    replicas.length === 1 ? 'there is no second replica to take over' : 'no other replica can take over'
  const found: [problem: string, isFound: boolean][] = [
    [`${leading.length} replicas report that they lead: ${listed(leading)}`, leading.length > 1],
    [`no replica serves: ${whyNoneServes(overview, last)}`, serving.length === 0],
    [`${serving.length} replicas serve at the same time: ${listed(serving)}`, serving.length > 1],
    [unable, able.length === 0],
    [
      `${listed(others)} cannot read stored credentials, because LANGFLOW_SECRET_KEY differs from the leader's: set the same key on all replicas, and restart them`,
      others.length > 0,
    ],
    [`the front of ${listed(deaf)} does not listen, so no client reaches it`, deaf.length > 0],
    ['takeovers are paused: end the pause with langflow-leader resume', pause !== null],
  ]
  return found.flatMap(([problem, isFound]) => (isFound ? [problem] : []))
}

function whyNoneServes({ lease: { holder }, pause, replicas }: Unjudged, last: PastTerm | undefined): string {
  if (holder === null) {
    const ended = last?.ended ? `; ${last.holder} led until ${last.ended} (${last.endedBecause})` : ''
    return `the Lease has no holder${ended}`
  }
  const pod = podOf(holder)
  const status = rowOf(holder, replicas)?.status
  const renews = status?.role === 'leader' && !status.leadership.doubt
  const when = renews || pause !== null ? '' : whenTaken(replicas)
  if (status === null) return `${pod} holds the Lease, but does not report its status${when}`
  if (status === undefined && replicas.some((one) => one.pod === pod))
    return `an earlier pod ${pod} holds the Lease${when}`
  if (status === undefined) return `${pod} holds the Lease, but ${NO_SUCH_REPLICA}${when}`
  const how = status.role === 'leader' ? `is ${stateOf(status)}` : 'does not report yet that it leads'
  const what = hasRestarted(status) ? 'its agent has restarted, and does not lead' : how
  return `${pod} holds the Lease, but ${what}${when}`
}

/** Whether an earlier process of this replica holds the Lease, as the replica reports. */
export function hasRestarted({ identity, role, lease }: AgentStatus): boolean {
  return role === 'follower' && lease.holder === identity
}

/** The time of the next takeover, as the replicas that could take over measure it; '' if none of them does. */
function whenTaken(replicas: readonly ReplicaRow[]): string {
  const left = replicas.flatMap(({ status }) => (status?.couldTakeOver ? (status.lease.freeInMs ?? []) : []))
  if (left.length === 0) return ''
  const seconds = Math.ceil(Math.min(...left) / 1000)
  return seconds === 0
    ? '; a takeover is due'
    : `; takeover in about ${seconds} s unless the Lease is renewed`
}

/** The state of a replica in a word or two. The reason why a follower cannot take over is `unable`. */
export function stateOf(status: AgentStatus): string {
  const { role, workload, leadership, couldTakeOver } = status
  if (workload.state === 'unstoppable') return workload.state
  if (leadership.doubt) return 'in doubt'
  if (leadership.steppingDown !== null) return 'stepping down'
  if (role === 'follower') return couldTakeOver ? 'ready' : 'not ready'
  if (serves(status)) return 'serving'
  // During a pause, the agent does not restart a LangFlow that has ended.
  const isLeftAlone = (status.pause ?? null) !== null && workload.state === 'idle'
  return workload.servedSince === null && !isLeftAlone ? 'starting' : 'not healthy'
}
