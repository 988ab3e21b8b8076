import { listed } from '../config/values.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import { historyOf, type PastTerm } from '../lease/lease-history.ts'
import { type Pause, pauseFault, pauseOf, podOf, switchoverOf } from '../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow, SwitchoverView } from '../observe/agent-status.ts'
import { Cluster, type ClusterOptions, NO_SUCH_REPLICA, rowOf } from './cluster.ts'
import { OperationError } from './exit-codes.ts'
import { replicasAt } from './replica-at-url.ts'

/** The leader, the standbys and their problems, as `status` prints them in every format. */
export interface Overview {
  readonly lease: {
    readonly namespace: string
    readonly name: string
    /** `null` if the Lease has no holder. */
    readonly holder: string | null
    readonly epoch: number
    /** The time when the holder acquired the Lease, in RFC 3339; `null` if the Lease has no holder, or the time is unknown. */
    readonly since: string | null
  }
  /** Exactly one replica serves, another can take over, and there is no other problem. */
  readonly ok: boolean
  /** Each problem in one sentence; empty if `ok`. */
  readonly problems: readonly string[]
  readonly pause: Pause | null
  readonly switchover: SwitchoverView | null
  readonly replicas: readonly ReplicaRow[]
}

/** The source of `status` and `history`. All rejections are `OperationError`. */
export interface Source extends Disposable {
  overview(): Promise<Overview>
  /** Newest first. */
  history(): Promise<readonly PastTerm[]>
}

/** The agent at `url`, or a cluster if `url` is `null`. */
export async function sourceOf(options: ClusterOptions): Promise<Source> {
  if (options.url !== null) return replicaSource(options.url)
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

function replicaSource(url: URL): Source {
  return {
    overview: async () => {
      const overview = overviewFrom(await replicasAt(url))
      if (overview !== null) return overview
      throw new OperationError(
        'unreachable',
        `the agent at ${url.href} reached no replica, not even its own: try another agent`,
      )
    },
    history: async () => bestKnown(await replicasAt(url))?.history ?? [],
    [Symbol.dispose]: () => {},
  }
}

/** The overview of a Lease and its replicas. @param wallMs now, by the wall clock */
export function overviewOf(lease: Lease, replicas: readonly ReplicaRow[], wallMs: number): Overview {
  const { namespace = '', name = '' } = lease.metadata
  const holder = holderOf(lease) || null
  const since = holder === null ? null : (lease.spec?.acquireTime ?? null)
  const to = switchoverOf(lease)
  const requested = to === null ? null : ({ to, state: 'requested', reason: null } as const)
  const overview = {
    lease: { namespace, name, holder, epoch: epochOf(lease), since },
    pause: pauseOf(lease, wallMs),
    switchover: leaderIn(replicas)?.switchover ?? requested,
    replicas,
  }
  const fault = pauseFault(lease)
  return judged(overview, fault === null ? [] : [fault])
}

/** The overview of replicas, without their Lease; `null` if no replica answers. */
export function overviewFrom(replicas: readonly ReplicaRow[]): Overview | null {
  const known = bestKnown(replicas)
  if (known === null) return null
  const { namespace, name, holder, epoch, since } = known.lease
  const lease = { namespace, name, holder: holder || null, epoch, since }
  return judged({ lease, pause: known.pause ?? null, switchover: known.switchover ?? null, replicas }, [])
}

export function serves({ role, traffic }: AgentStatus): boolean {
  return role === 'leader' && traffic.gate === 'open'
}

/** The status of the leader, else of any replica that answers; `null` if no replica answers. */
function bestKnown(replicas: readonly ReplicaRow[]): AgentStatus | null {
  return leaderIn(replicas) ?? replicas.find(({ status }) => status !== null)?.status ?? null
}

/** The leader. If two replicas report that they lead, the one with the higher epoch. */
function leaderIn(replicas: readonly ReplicaRow[]): AgentStatus | null {
  const leaders = replicas.flatMap(({ status }) => (status?.role === 'leader' ? [status] : []))
  return leaders.sort((a, b) => b.lease.epoch - a.lease.epoch)[0] ?? null
}

type Unjudged = Omit<Overview, 'ok' | 'problems'>

/** @param faults the faults in operators' annotations, each in one sentence */
function judged(overview: Unjudged, faults: readonly string[]): Overview {
  const problems = [...problemsOf(overview), ...faults]
  return { ...overview, ok: problems.length === 0, problems }
}

function problemsOf({ lease, pause, replicas }: Unjudged): string[] {
  if (replicas.length === 0) return ['no pod in this namespace competes for the Lease']
  const problems: string[] = []
  const podsOf = (which: (status: AgentStatus) => boolean) =>
    replicas.flatMap(({ pod, status }) => (status !== null && which(status) ? [pod] : []))
  const serving = podsOf(serves)
  const leading = podsOf(({ role }) => role === 'leader')
  if (leading.length > 1)
    problems.push(`${leading.length} replicas report that they lead: ${listed(leading)}`)
  if (serving.length === 0) problems.push(`no replica serves: ${whyNoneServes(lease.holder, replicas)}`)
  if (serving.length > 1)
    problems.push(`${serving.length} replicas serve at the same time: ${listed(serving)}`)
  if (podsOf(({ couldTakeOver }) => couldTakeOver).length === 0)
    problems.push(
      replicas.length === 1 ? 'there is no second replica to take over' : 'no other replica can take over',
    )
  const key = leaderIn(replicas)?.secretKeyDigest ?? null
  const others = podsOf(({ secretKeyDigest }) => key !== null && (secretKeyDigest ?? key) !== key)
  if (others.length > 0)
    problems.push(
      `${listed(others)} cannot read stored credentials, because LANGFLOW_SECRET_KEY differs from the leader's: ` +
        'set the same key on all replicas, and restart them',
    )
  const deaf = podsOf(({ traffic }) => traffic.front?.listening === false)
  if (deaf.length > 0) problems.push(`the front of ${listed(deaf)} does not listen, so no client reaches it`)
  if (pause !== null) problems.push('takeovers are paused: end the pause with langflow-leader resume')
  return problems
}

function whyNoneServes(holder: string | null, replicas: readonly ReplicaRow[]): string {
  if (holder === null) return 'the Lease has no holder'
  const row = rowOf(holder, replicas)
  if (row === null) return `${podOf(holder)} holds the Lease, but ${NO_SUCH_REPLICA}`
  if (row.status === null) return `${row.pod} holds the Lease, but does not report its status`
  return `${row.pod} holds the Lease, but is ${stateOf(row.status)}`
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
