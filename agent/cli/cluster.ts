import { systemClock } from '../clock.ts'
import { listed } from '../config/values.ts'
import { findAccess } from '../kube/kube-access.ts'
import { ApiError } from '../kube/kube-errors.ts'
import { type KubeObject, KubeObjects, POD } from '../kube/kube-objects.ts'
import type { Lease } from '../lease/lease.ts'
import { holderOf } from '../lease/lease.ts'
import { LEASE } from '../lease/lease-api.ts'
import { podOf } from '../lease/operator-annotations.ts'
import type { AgentStatus, ReplicaRow } from '../observe/agent-status.ts'
import { statusOf } from '../observe/status-shape.ts'
import { VERSION } from '../version.ts'
import { type AgentContainer, agentOf } from './agent-container.ts'
import { asOperationError, OperationError } from './exit-codes.ts'
import { AGENT_PORT } from './manifests/pod-spec.ts'
import { NO_STATUS } from './read-status.ts'
import { replicasAt } from './replica-at-url.ts'

export interface ClusterOptions {
  readonly leaseName: string
  /** `null`: the kubeconfig's, else `default`. */
  readonly leaseNamespace: string | null
  readonly kubeconfig: string | null
  /** Of the kubeconfig; `null`: its current one. */
  readonly context: string | null
  /** An agent that tells of all replicas; absent or `null`: each is asked through the API server. */
  readonly url?: URL | null
}

/** How long one request may take, in milliseconds. */
const DEADLINE_MS = 5_000

/** A Lease and the replicas that compete for it, with the rights of whoever asks. All rejections are of one sentence. */
export class Cluster {
  readonly namespace: string
  readonly leaseName: string
  readonly objects: KubeObjects
  private readonly url: URL | null
  private readonly ports = new Map<string, number>()

  constructor(objects: KubeObjects, leaseName: string, url: URL | null = null) {
    this.objects = objects
    this.namespace = objects.namespace
    this.leaseName = leaseName
    this.url = url
  }

  /** Asks nothing yet. Rejects with an `OperationError` where there is no kubeconfig that can be used. */
  static async connect(options: ClusterOptions): Promise<Cluster> {
    const { leaseName, leaseNamespace, kubeconfig, context, url = null } = options
    try {
      const access = await findAccess({ kubeconfig: kubeconfig ?? undefined, context: context ?? undefined })
      const namespace = leaseNamespace ?? access.namespace ?? 'default'
      const userAgent = `langflow-leader/${VERSION}`
      return new Cluster(
        new KubeObjects({ access, namespace, clock: systemClock, userAgent }),
        leaseName,
        url,
      )
    } catch (error) {
      throw asOperationError(error)
    }
  }

  /** Rejects with an `OperationError`, which says what the pods here compete for where it is not this Lease. */
  async lease(): Promise<Lease> {
    try {
      return (await this.objects.get(LEASE, this.leaseName, DEADLINE_MS)) as unknown as Lease
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 'not_found') throw asOperationError(error)
      throw new OperationError('no_lease', `${error.message}${await this.otherLeases()}`)
    }
  }

  /** Compare-and-swap: writes these annotations upon this version of the Lease; `null` removes. Rejects with `ApiError`. */
  async annotate(lease: Lease, annotations: Readonly<Record<string, string | null>>): Promise<Lease> {
    const { uid = '', resourceVersion = '' } = lease.metadata
    const patch = { metadata: { uid, resourceVersion, annotations } }
    return (await this.objects.patch(LEASE, this.leaseName, patch, DEADLINE_MS)) as unknown as Lease
  }

  /** Every pod whose agent competes for the Lease, in the order of their names. Rejects with an `OperationError`. */
  async replicas(): Promise<ReplicaRow[]> {
    if (this.url !== null) return this.replicasAt(this.url)
    try {
      const isOurs = (name: string | null | undefined) => name === this.leaseName
      const agents = (await this.agents()).filter(({ leaseName }) => leaseName === null || isOurs(leaseName))
      const told = await Promise.all(
        agents.map(async (agent) => ({ row: await this.row(agent), leaseName: agent.leaseName })),
      )
      // Which Lease a pod takes from elsewhere its agent alone can tell.
      const rows = told.flatMap(({ row, leaseName }) =>
        row !== null && isOurs(leaseName ?? row.status?.lease.name ?? this.leaseName) ? [row] : [],
      )
      return rows.sort((a, b) => (a.pod < b.pod ? -1 : 1))
    } catch (error) {
      throw asOperationError(error)
    }
  }

  /** Of one pod's agent, at the port where it was when all were asked. Rejects with `ApiError`. */
  async status(pod: string): Promise<AgentStatus> {
    if (this.url !== null) {
      const row = (await this.replicasAt(this.url)).find((one) => one.pod === pod)
      if (row?.status) return row.status
      throw new ApiError('network', row?.problem ?? `${pod} is not among the replicas at ${this.url.href}`)
    }
    const answer = await this.objects.proxied(pod, this.ports.get(pod) ?? AGENT_PORT, '/status', DEADLINE_MS)
    const status = statusOf(answer)
    if (status === null) throw new ApiError('network', NO_STATUS)
    return status
  }

  close(): void {
    this.objects.close()
  }

  /** Those of this Lease, in the order of their names. */
  private async replicasAt(url: URL): Promise<ReplicaRow[]> {
    const isOurs = ({ lease }: AgentStatus) =>
      lease.name === this.leaseName && lease.namespace === this.namespace
    const rows = (await replicasAt(url)).filter(({ status }) => status === null || isOurs(status))
    return rows.sort((a, b) => (a.pod < b.pod ? -1 : 1))
  }

  [Symbol.dispose](): void {
    this.close()
  }

  private async agents() {
    const pods = await this.objects.list(POD, DEADLINE_MS)
    return pods.flatMap((pod) => {
      const agent = agentOf(pod)
      return agent === null ? [] : [{ pod, ...agent }]
    })
  }

  /** What to give instead of a Lease that is not there, as the rest of a sentence. */
  private async otherLeases(): Promise<string> {
    // Without the right to list pods it is left at what is known.
    const agents = await this.agents().catch(() => null)
    if (agents === null) return ''
    const names = [...new Set(agents.map(({ leaseName }) => leaseName))].filter(
      (name) => name !== this.leaseName,
    )
    const known = names.filter((name) => name !== null).sort()
    if (known.length > 0) return `; the pods here compete for ${listed(known)}: give --lease-name`
    if (agents.length > 0) return ': kubectl apply the Lease of deploy/base, or let an agent make it'
    return ', and none of its pods has an agent: give -n with the namespace of LangFlow'
  }

  /** `null`: the pod is gone. */
  private async row({
    pod,
    port,
    absence,
  }: { pod: KubeObject } & AgentContainer): Promise<ReplicaRow | null> {
    const { name } = pod.metadata
    const spec = pod.spec as { nodeName?: string } | undefined
    const row = { pod: name, node: spec?.nodeName ?? null, status: null }
    if (absence !== null) return { ...row, problem: absence }
    try {
      this.ports.set(name, port)
      return { ...row, status: await this.status(name), problem: null }
    } catch (error) {
      const { code, message } = error as ApiError
      if (code === 'forbidden' || code === 'unauthorized')
        throw new OperationError(
          'no_rights',
          `${message}, or ask one replica without it: kubectl port-forward ${name} ${port}, then --url http://127.0.0.1:${port}`,
          { cause: error },
        )
      return code === 'not_found' ? null : { ...row, problem: silence(error as ApiError, port) }
    }
  }
}

/** Why a pod did not answer through the API server, which gives 503 where it cannot reach it. */
function silence({ code, message, status }: ApiError, port: number): string {
  if (status === 200 || status === 404) return NO_STATUS
  if (code === 'timeout')
    return `no answer on port ${port} within ${DEADLINE_MS / 1000} s: it hangs, or a NetworkPolicy keeps the API server from it`
  if (/connection refused/.test(message)) return `nothing listens on its port ${port}: its agent does not run`
  if (/i\/o timeout|no route to host|context deadline exceeded/.test(message))
    return `the API server does not reach its port ${port}: its node is away, or a NetworkPolicy keeps the API server from it`
  return message
}

/** The row of who holds the Lease; `null`: nobody, or none of these. */
export function holderRow(lease: Lease, rows: readonly ReplicaRow[]): ReplicaRow | null {
  const holder = holderOf(lease)
  return rows.find(({ pod, status }) => status?.identity === holder || pod === podOf(holder)) ?? null
}
