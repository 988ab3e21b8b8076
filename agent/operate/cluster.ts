import { systemClock } from '../clock.ts'
import { findAccess } from '../kube/access.ts'
import { type KubeObject, KubeObjects, POD } from '../kube/objects.ts'
import type { Lease } from '../lease/lease.ts'
import { holderOf } from '../lease/lease.ts'
import { LEASE } from '../lease/lease-api.ts'
import { podOf } from '../lease/operation.ts'
import type { AgentStatus } from '../observe/status.ts'
import { VERSION } from '../version.ts'
import { asOperationError } from './exit-codes.ts'

/** One replica as an operator sees it. */
export interface ReplicaRow {
  /** The pod's name; outside of pods the identity. */
  readonly pod: string
  /** `null`: unknown. */
  readonly node: string | null
  /** `null`: it does not answer, or not with a status. */
  readonly status: AgentStatus | null
  /** Why there is no status, in one sentence; `null`: there is one. */
  readonly problem: string | null
}

export interface ClusterOptions {
  readonly leaseName: string
  /** `null`: the kubeconfig's, else `default`. */
  readonly leaseNamespace: string | null
  readonly kubeconfig: string | null
  /** Of the kubeconfig; `null`: its current one. */
  readonly context: string | null
}

/** How long one request may take, in milliseconds. */
const DEADLINE_MS = 5_000
const AGENT_PORT = 8090

/** A Lease and the replicas that compete for it, with the rights of whoever asks. All rejections are of one sentence. */
export class Cluster {
  readonly namespace: string
  readonly leaseName: string
  readonly objects: KubeObjects

  constructor(objects: KubeObjects, leaseName: string) {
    this.objects = objects
    this.namespace = objects.namespace
    this.leaseName = leaseName
  }

  static async connect(options: ClusterOptions): Promise<Cluster> {
    const { kubeconfig, context } = options
    const access = await findAccess({
      kubeconfig: kubeconfig ?? undefined,
      context: context ?? undefined,
    }).catch((error) => {
      throw asOperationError(error)
    })
    const namespace = options.leaseNamespace ?? access.namespace ?? 'default'
    const userAgent = `langflow-leader/${VERSION}`
    return new Cluster(
      new KubeObjects({ access, namespace, clock: systemClock, userAgent }),
      options.leaseName,
    )
  }

  /** Rejects with a `FatalError` where there is none. */
  async lease(): Promise<Lease> {
    try {
      return (await this.objects.get(LEASE, this.leaseName, DEADLINE_MS)) as unknown as Lease
    } catch (error) {
      throw asOperationError(error)
    }
  }

  /** Compare-and-swap: writes these annotations upon this version of the Lease; `null` removes. Rejects with `ApiError`. */
  async annotate(lease: Lease, annotations: Readonly<Record<string, string | null>>): Promise<Lease> {
    const { uid = '', resourceVersion = '' } = lease.metadata
    const patch = { metadata: { uid, resourceVersion, annotations } }
    return (await this.objects.patch(LEASE, this.leaseName, patch, DEADLINE_MS)) as unknown as Lease
  }

  /** Every pod whose agent competes for the Lease, in the order of their names. */
  async replicas(): Promise<ReplicaRow[]> {
    const pods = await this.objects.list(POD, {}, DEADLINE_MS).catch((error) => {
      throw asOperationError(error)
    })
    const rows = pods.filter((pod) => competesFor(pod, this.leaseName)).map((pod) => this.row(pod))
    return (await Promise.all(rows)).sort((a, b) => (a.pod < b.pod ? -1 : 1))
  }

  /** Of one pod's agent. Rejects with an `OperationError`. */
  async status(pod: string): Promise<AgentStatus> {
    try {
      return (await this.objects.proxied(pod, AGENT_PORT, '/status', DEADLINE_MS)) as AgentStatus
    } catch (error) {
      throw asOperationError(error)
    }
  }

  close(): void {
    this.objects.close()
  }

  private async row(pod: KubeObject): Promise<ReplicaRow> {
    const { name } = pod.metadata
    const spec = pod.spec as { nodeName?: string } | undefined
    const row = { pod: name, node: spec?.nodeName ?? null }
    try {
      return { ...row, status: await this.status(name), problem: null }
    } catch (error) {
      return { ...row, status: null, problem: (error as Error).message }
    }
  }
}

/** The row of who holds the Lease; `null`: nobody, or none of these. */
export function holderRow(lease: Lease, rows: readonly ReplicaRow[]): ReplicaRow | null {
  const holder = holderOf(lease)
  return rows.find(({ pod, status }) => status?.identity === holder || pod === podOf(holder)) ?? null
}

/** By its agent: a container with that argument, and the Lease's name in its environment or none. */
function competesFor(pod: KubeObject, leaseName: string): boolean {
  const spec = pod.spec as { containers?: unknown[]; initContainers?: unknown[] } | undefined
  const containers = [...(spec?.initContainers ?? []), ...(spec?.containers ?? [])] as {
    args?: string[]
    env?: { name: string; value?: string }[]
  }[]
  return containers.some(({ args = [], env = [] }) => {
    const said = env.find(({ name }) => name === 'LEADER_LEASE_NAME')?.value
    const flag = args.find((arg) => arg.startsWith('--lease-name='))?.slice('--lease-name='.length)
    return args[0] === 'agent' && (flag ?? said ?? 'langflow-leader-lock') === leaseName
  })
}
