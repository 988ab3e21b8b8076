import { systemClock } from '../clock.ts'
import type { Values } from '../config/setting.ts'
import { findAccess } from '../kube/kube-access.ts'
import { ApiError } from '../kube/kube-errors.ts'
import { type KubeObject, KubeObjects, POD } from '../kube/kube-objects.ts'
import { holderOf, type Lease } from '../lease/lease.ts'
import { LEASE } from '../lease/lease-api.ts'
import { podOf } from '../lease/operator-annotations.ts'
import { type AgentStatus, type ReplicaRow, statusOf } from '../observe/agent-status.ts'
import { VERSION } from '../version.ts'
import { type AgentContainer, agentOf } from './agent-container.ts'
import type { OPERATE_SETTINGS } from './cluster-settings.ts'
import { asOperationError } from './exit-codes.ts'
import { NO_STATUS, replicasAt } from './replica-at-url.ts'

/** `url`: an agent that reports all replicas; `null`: each is asked through the API server. */
export type ClusterOptions = Values<typeof OPERATE_SETTINGS>

/** What operating needs of a cluster. */
export type Operable = Pick<Cluster, 'leaseName' | 'namespace' | 'lease' | 'annotate' | 'replicas'>

type Annotations = Readonly<Record<string, string | null>>

/** How long one request may take, in milliseconds. */
const DEADLINE_MS = 5_000

/** A Lease and the replicas that compete for it, with the rights of the user. Each rejection is one sentence. */
export class Cluster implements Disposable {
  readonly namespace: string
  readonly leaseName: string
  readonly objects: KubeObjects
  private readonly url: URL | null

  constructor(objects: KubeObjects, leaseName: string, url: URL | null = null) {
    this.objects = objects
    this.namespace = objects.namespace
    this.leaseName = leaseName
    this.url = url
  }

  /** Asks nothing yet. Rejects with an `OperationError` if there is no kubeconfig that can be used. */
  static async connect(options: ClusterOptions): Promise<Cluster> {
    const { leaseName, leaseNamespace, kubeconfig, context, url } = options
    try {
      const access = await findAccess({ kubeconfig: kubeconfig ?? undefined, context: context ?? undefined })
      const namespace = leaseNamespace ?? access.namespace ?? 'default'
      const userAgent = `langflow-leader/${VERSION}`
      const objects = new KubeObjects({ access, namespace, clock: systemClock, userAgent })
      return new Cluster(objects, leaseName, url)
    } catch (error) {
      throw asOperationError(error)
    }
  }

  /** Rejects with an `OperationError`. */
  async lease(): Promise<Lease> {
    try {
      return (await this.objects.get(LEASE, this.leaseName, DEADLINE_MS)) as unknown as Lease
    } catch (error) {
      const isAbsent = error instanceof ApiError && error.code === 'not_found'
      throw asOperationError(error, isAbsent ? ': give the ones of LangFlow with -n and --lease-name' : '')
    }
  }

  /** Compare-and-swap: writes these annotations upon this version of the Lease; `null` removes. Rejects with `ApiError`. */
  async annotate(lease: Lease, annotations: Annotations): Promise<Lease> {
    const { uid = '', resourceVersion = '' } = lease.metadata
    const patch = { metadata: { uid, resourceVersion, annotations } }
    return (await this.objects.patch(LEASE, this.leaseName, patch, DEADLINE_MS)) as unknown as Lease
  }

  /**
   * Every pod whose agent competes for the Lease, in the order of their names. Rejects with an `OperationError`.
   *
   * @param statusMs how long each agent may take to answer
   */
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
        // If the pod takes the name of its Lease from elsewhere, only its agent reports it.
        const leaseName = agent.leaseName ?? row?.status?.lease.name ?? this.leaseName
        return leaseName === this.leaseName ? row : null
      }),
    )
    return rows.filter((row) => row !== null)
  }

  /** `null`: the pod is gone. */
  private async row(
    pod: KubeObject,
    { port, absence }: AgentContainer,
    statusMs: number,
  ): Promise<ReplicaRow | null> {
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
      // Something else answers on that port.
      if (error.status === 200 || error.status === 404) return { ...row, problem: NO_STATUS }
      if (error.code !== 'forbidden' && error.code !== 'unauthorized')
        return { ...row, problem: error.message }
      const way = `kubectl port-forward ${name} ${port}, then --url http://127.0.0.1:${port}`
      throw asOperationError(error, `, or ask one replica without it: ${way}`)
    }
  }
}

/** The row of the holder of the Lease; `null`: there is none, or it is none of these. */
export function holderRow(lease: Lease, rows: readonly ReplicaRow[]): ReplicaRow | null {
  return rowOf(holderOf(lease), rows)
}

export function rowOf(identity: string, rows: readonly ReplicaRow[]): ReplicaRow | null {
  return rows.find(({ pod, status }) => status?.identity === identity || pod === podOf(identity)) ?? null
}

/** How often a write is tried. The leader renews the Lease every few seconds, and others may operate as well. */
const ATTEMPTS = 3

/**
 * Writes the annotations that `change` returns for the newest version of the Lease, upon that version alone: after a conflict it is
 * called again. `unsure`: an earlier write may have been made. It throws if nothing may be written, and returns `null` if nothing needs
 * to be. Resolves to the Lease as it then is.
 */
export async function updateAnnotations(
  cluster: Pick<Operable, 'lease' | 'annotate'>,
  change: (lease: Lease, unsure: boolean) => Annotations | null,
): Promise<Lease> {
  let unsure: Annotations | null = null
  for (let attempt = 1; ; attempt++) {
    const lease = await cluster.lease()
    // The answer to our write may have been lost: do not take it for that of another operator.
    if (unsure !== null && carries(lease, unsure)) return lease
    const annotations = change(lease, unsure !== null)
    if (annotations === null) return lease
    try {
      return await cluster.annotate(lease, annotations)
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      if (error.code !== 'conflict' && !error.mayHaveCommitted) throw asOperationError(error)
      if (error.mayHaveCommitted) unsure = annotations
      if (attempt < ATTEMPTS) continue
      const advice = unsure === null ? 'try again' : 'it may have been written all the same'
      throw asOperationError(error, `, ${attempt} times in a row: ${advice}`)
    }
  }
}

function carries({ metadata }: Lease, annotations: Annotations): boolean {
  return Object.entries(annotations).every(([key, value]) => (metadata.annotations?.[key] ?? null) === value)
}
