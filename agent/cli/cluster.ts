import { AGENT_SETTINGS } from '../config/schema.ts'
import { listed } from '../config/values.ts'
import { ApiError } from '../kube/kube-errors.ts'
import { type KubeObject, type KubeObjects, POD } from '../kube/kube-objects.ts'
import { holderOf, type Lease } from '../lease/lease.ts'
import { LEASE } from '../lease/lease-api.ts'
import { podOf } from '../lease/operator-annotations.ts'
import { type AgentStatus, type ReplicaRow, statusOf } from '../status/agent-status.ts'
import type { ClusterOptions } from './api-connection.ts'
import { connectObjects, DEADLINE_MS, NO_STATUS, replicasAt, withAgent } from './api-connection.ts'
import { asOperationError, OperationError } from './exit-codes.ts'
import { agentOf, type PodAgent } from './manifests/agent-container.ts'

export type Operable = Pick<Cluster, 'leaseName' | 'namespace' | 'lease' | 'annotate' | 'replicas'>

type Annotations = Readonly<Record<string, string | null>>

/** A Lease and the replicas that compete for it, read with the user's rights. All methods but `annotate` reject with an `OperationError`. */
export class Cluster implements Disposable {
  readonly namespace: string
  readonly leaseName: string
  readonly objects: KubeObjects
  private readonly url: URL | null
  /** The agent's account may update its Lease, but not patch it. */
  private readonly isAgent: boolean

  constructor(objects: KubeObjects, leaseName: string, url: URL | null = null, isAgent = false) {
    this.objects = objects
    this.namespace = objects.namespace
    this.leaseName = leaseName
    this.url = url
    this.isAgent = isAgent
  }

  /** Finds the Lease if the options do not name it. Rejects with an `OperationError`. */
  static async connect(options: ClusterOptions): Promise<Cluster> {
    const at = withAgent(options, process.env)
    let objects: KubeObjects | undefined
    try {
      objects = await connectObjects(at)
      return new Cluster(objects, at.leaseName ?? (await findLease(objects)), at.url, at.isAgent)
    } catch (error) {
      objects?.close()
      throw asOperationError(error)
    }
  }

  async lease(): Promise<Lease> {
    try {
      return (await this.objects.get(LEASE, this.leaseName, DEADLINE_MS)) as unknown as Lease
    } catch (error) {
      const advice = ': set its namespace with -n, and its name with --lease-name'
      throw asOperationError(error, advice, 'not_found')
    }
  }

  /** Compare-and-swap on the version of the Lease. The value `null` removes an annotation. Rejects with an `ApiError`. */
  async annotate(lease: Lease, annotations: Annotations): Promise<Lease> {
    const { name = this.leaseName, uid = '', resourceVersion = '' } = lease.metadata
    const noted = Object.entries({ ...lease.metadata.annotations, ...annotations })
    const kept = Object.fromEntries(noted.filter(([, value]) => value !== null))
    const whole = { ...lease, metadata: { ...lease.metadata, name, annotations: kept } }
    const part = { metadata: { name, uid, resourceVersion, annotations } }
    const [verb, body] = this.isAgent ? (['update', whole] as const) : (['patch', part] as const)
    return (await this.objects.write(verb, LEASE, body, DEADLINE_MS)) as unknown as Lease
  }

  /** Every pod whose agent competes for the Lease, sorted by name. @param statusMs the deadline of each agent's answer */
  async replicas(statusMs = DEADLINE_MS): Promise<ReplicaRow[]> {
    try {
      const rows = this.url === null ? await this.replicasOfPods(statusMs) : await this.replicasAt(this.url)
      return rows.sort((a, b) => (a.pod < b.pod ? -1 : 1))
    } catch (error) {
      throw asOperationError(error)
    }
  }

  [Symbol.dispose](): void {
    this.objects.close()
  }

  private async replicasAt(url: URL): Promise<ReplicaRow[]> {
    const isOurs = ({ lease }: AgentStatus) =>
      lease.name === this.leaseName && lease.namespace === this.namespace
    return (await replicasAt(url)).filter(({ status }) => status === null || isOurs(status))
  }

  private async replicasOfPods(statusMs: number): Promise<ReplicaRow[]> {
    const pods = await this.objects.list(POD, DEADLINE_MS)
    const rows = await Promise.all(
      pods.map(async (pod) => {
        const agent = agentOf(pod)
        if (agent === null || (agent.leaseName ?? this.leaseName) !== this.leaseName) return null
        const row = await this.row(pod, agent, statusMs)
        // If another object sets the name of the Lease, only the agent reports it.
        const leaseName = agent.leaseName ?? row?.status?.lease.name ?? this.leaseName
        return leaseName === this.leaseName ? row : null
      }),
    )
    return rows.filter((row) => row !== null)
  }

  /** `null` if the pod no longer exists. */
  private async row(pod: KubeObject, agent: PodAgent, statusMs: number): Promise<ReplicaRow | null> {
    const { port, absence } = agent
    const { name } = pod.metadata
    const spec = pod.spec as { nodeName?: string } | undefined
    const row = { pod: name, node: spec?.nodeName ?? null, status: null }
    if (absence !== null) return { ...row, problem: absence }
    try {
      const status = statusOf(await this.objects.proxied(name, port, '/status', statusMs))
      return status === null ? { ...row, problem: NO_STATUS } : { ...row, status, problem: null }
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      if (error.code === 'not_found') return null
      const way = `kubectl port-forward ${name} ${port}, then --url http://127.0.0.1:${port}`
      if (error.code === 'forbidden' || error.code === 'unauthorized')
        throw asOperationError(error, `, or ask one agent directly: ${way}`)
      return { ...row, problem: error.message }
    }
  }
}

/** The name of the only Lease that pods of the namespace compete for, else the default one. */
export async function findLease(objects: Pick<KubeObjects, 'namespace' | 'list'>): Promise<string> {
  // An operator may lack the right to list pods.
  const pods = await objects.list(POD, DEADLINE_MS).catch((error: ApiError) => {
    if (error.code !== 'forbidden') throw error
    return []
  })
  const names = [...new Set(pods.flatMap((pod) => agentOf(pod)?.leaseName ?? []))].sort()
  if (names.length < 2) return names[0] ?? AGENT_SETTINGS.leaseName.fallback
  const what = `namespace "${objects.namespace}" has ${names.length} Leases of langflow-leader, ${listed(names)}`
  throw new OperationError('several_leases', `${what}: choose one with --lease-name`)
}

export const NO_SUCH_REPLICA =
  'no such replica was found: its pod may be gone or in another namespace, or --peers may lack it'

/** The row of the Lease's holder; `null` if the Lease has no holder, or no row is the holder's. */
export function holderRow(lease: Lease, rows: readonly ReplicaRow[]): ReplicaRow | null {
  return rowOf(holderOf(lease), rows)
}

export function rowOf(identity: string, rows: readonly ReplicaRow[]): ReplicaRow | null {
  const isIts = ({ pod, status }: ReplicaRow) =>
    status === null ? pod === podOf(identity) : status.identity === identity
  return rows.find(isIts) ?? null
}

/** Conflicts are usual: the leader renews the Lease every few seconds. */
const ATTEMPTS = 3

/**
 * Writes the annotations that `change` returns for the newest version of the Lease, only to that version. After a conflict, `change`
 * is called again. It throws to refuse the write, and returns `null` if no write is necessary. `unsure` is true if an earlier write may
 * have succeeded. Resolves to the Lease after the write.
 */
export async function updateAnnotations(
  cluster: Pick<Operable, 'lease' | 'annotate'>,
  change: (lease: Lease, unsure: boolean) => Annotations | null,
): Promise<Lease> {
  let unsure: Annotations | null = null
  for (let attempt = 1; ; attempt++) {
    const lease = await cluster.lease()
    // The answer to our own write may have been lost. That write is not another operator's.
    if (unsure !== null && carries(lease, unsure)) return lease
    const annotations = change(lease, unsure !== null)
    if (annotations === null) return lease
    try {
      return await cluster.annotate(lease, annotations)
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      const isUnsure = ['server', 'timeout', 'network'].includes(error.code)
      if (error.code !== 'conflict' && !isUnsure) throw asOperationError(error)
      if (isUnsure) unsure = annotations
      if (attempt < ATTEMPTS) continue
      const advice =
        unsure === null ? 'try again' : 'the write may have succeeded, see langflow-leader status'
      throw asOperationError(error, `, ${attempt} times in a row: ${advice}`)
    }
  }
}

function carries({ metadata }: Lease, annotations: Annotations): boolean {
  return Object.entries(annotations).every(([key, value]) => (metadata.annotations?.[key] ?? null) === value)
}
