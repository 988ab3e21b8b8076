import { listed } from '../config/values.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import { historyOf, type PastTerm } from '../lease/lease-history.ts'
import { type Pause, pauseFault, pauseOf, podOf, switchoverOf } from '../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow, SwitchoverView } from '../observe/agent-status.ts'
import { Cluster, type ClusterOptions, rowOf } from './cluster.ts'
import { OperationError } from './exit-codes.ts'
import { replicasAt } from './replica-at-url.ts'

/** Who leads, and whether another replica could take over: what `status` shows, also as JSON and YAML. */
export interface Overview {
  readonly lease: {
    readonly namespace: string
    readonly name: string
    /** `null`: it has no holder. */
    readonly holder: string | null
    readonly epoch: number
    /** RFC 3339, when the holder acquired it; `null`: it has no holder, or unknown. */
    readonly since: string | null
  }
  /** Exactly one replica serves, and another could take over. */
  readonly ok: boolean
  /** What is wrong, in one sentence each; empty if `ok`. */
  readonly problems: readonly string[]
  readonly pause: Pause | null
  readonly switchover: SwitchoverView | null
  readonly replicas: readonly ReplicaRow[]
}

/** What `status` and `history` read. All rejections are `OperationError`. */
export interface Source extends Disposable {
  overview(): Promise<Overview>
  /** Newest first. */
  history(): Promise<readonly PastTerm[]>
}

/** One replica's agent, or, if `url` is `null`, a cluster. */
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
      throw new OperationError('unreachable', `${url.href} knows of no replica that tells its status`)
    },
    history: async () => bestKnown(await replicasAt(url))?.history ?? [],
    [Symbol.dispose]: () => {},
  }
}

/** From Lease and replicas. @param wallMs now */
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

/** From the replicas alone; `null`: none answers. */
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

/** The leader, or any replica that answers; `null`: none does. */
function bestKnown(replicas: readonly ReplicaRow[]): AgentStatus | null {
  return leaderIn(replicas) ?? replicas.find(({ status }) => status !== null)?.status ?? null
}

/** The one of the highest epoch, if two say that they lead. */
function leaderIn(replicas: readonly ReplicaRow[]): AgentStatus | null {
  const leaders = replicas.flatMap(({ status }) => (status?.role === 'leader' ? [status] : []))
  return leaders.sort((a, b) => b.lease.epoch - a.lease.epoch)[0] ?? null
}

type Unjudged = Omit<Overview, 'ok' | 'problems'>

/** @param faults what is wrong with the annotations of operators, in one sentence each */
function judged(overview: Unjudged, faults: readonly string[]): Overview {
  const problems = [...problemsOf(overview), ...faults]
  return { ...overview, ok: problems.length === 0, problems }
}

function problemsOf({ lease, pause, replicas }: Unjudged): string[] {
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
  if (others.length > 0)
    problems.push(
      `${listed(others)} could not read stored credentials: its LANGFLOW_SECRET_KEY is not the leader's; ` +
        'give all replicas the same, and restart them',
    )
  const deaf = podsOf(({ traffic }) => traffic.front?.listening === false)
  if (deaf.length > 0) problems.push(`no client reaches the front of ${listed(deaf)}`)
  if (pause !== null) problems.push('it is paused: no takeover starts')
  return problems
}

function whyNobody(holder: string | null, replicas: readonly ReplicaRow[]): string {
  if (holder === null) return 'the Lease has no holder'
  const row = rowOf(holder, replicas)
  if (row === null) return `${podOf(holder)} holds the Lease, and is none of these replicas`
  if (row.status === null) return `${row.pod} holds the Lease, and does not tell its status`
  return `${row.pod} holds the Lease, and is ${stateOf(row.status)}`
}

/** The state of a replica in a word or two. What keeps a follower from taking over is its `unable`. */
export function stateOf(status: AgentStatus): string {
  const { role, workload, leadership, couldTakeOver } = status
  if (workload.state === 'unstoppable') return workload.state
  if (leadership.doubt) return 'in doubt'
  if (leadership.steppingDown !== null) return 'stepping down'
  if (role === 'follower') return couldTakeOver ? 'ready' : 'not ready'
  if (serves(status)) return 'serving'
  // During a pause, a LangFlow that has ended is not started again.
  const isLeftAlone = (status.pause ?? null) !== null && workload.state === 'idle'
  return workload.servedSince === null && !isLeftAlone ? 'starting' : 'not healthy'
}
