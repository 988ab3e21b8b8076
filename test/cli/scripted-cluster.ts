import type { Operable } from '../../agent/cli/cluster.ts'
import { ApiError } from '../../agent/kube/kube-errors.ts'
import type { Lease } from '../../agent/lease/lease.ts'
import type { PastTerm } from '../../agent/lease/lease-history.ts'
import { encodeHistory, HISTORY } from '../../agent/lease/lease-history.ts'
import type { AgentStatus, ReplicaRow } from '../../agent/status/agent-status.ts'
import { FOLLOWING, SERVING, TERM } from '../observe/replica.ts'

type Notes = Readonly<Record<string, string | null>>

export const LEADER: AgentStatus = SERVING
export const STANDBY: AgentStatus = FOLLOWING

/** The row of a pod: the status of its agent, or the reason why there is none. */
export function row(pod: string, status: AgentStatus | string): ReplicaRow {
  return typeof status === 'string'
    ? { pod, node: 'node-a', status: null, problem: status }
    : { pod, node: 'node-a', status: { ...status, identity: identityOf(pod) }, problem: null }
}

export function identityOf(pod: string): string {
  return `${pod}_uid`
}

/** The first leader, in epoch 7. */
const FIRST = 'langflow-0'

/** A Lease and three replicas. A test changes them as the leader, another operator or a failure would. */
export class ScriptedCluster implements Operable {
  readonly leaseName = 'langflow-leader-lock'
  readonly namespace = 'team'
  rows: ReplicaRow[] = [row(FIRST, LEADER), row('langflow-1', STANDBY), row('langflow-2', STANDBY)]
  /** The acknowledged writes, in order. */
  readonly written: Notes[] = []
  /** Runs before a write arrives. If it returns an error, that is the answer, and nothing is written. */
  arriving: (attempt: number) => unknown = () => {}
  /** Runs after a write is carried out. If it returns an error, that is the answer. */
  carriedOut: (attempt: number) => unknown = () => {}
  /** The error of every request while the API server is away. */
  away: Error | null = null
  private attempts = 0
  private present: Lease = {
    metadata: { name: this.leaseName, uid: 'u', resourceVersion: '1' },
    spec: { holderIdentity: identityOf(FIRST), leaseTransitions: 7, leaseDurationSeconds: 15 },
  }

  lease = async (): Promise<Lease> => {
    if (this.away) throw this.away
    return structuredClone(this.present)
  }

  annotate = async (lease: Lease, annotations: Notes): Promise<Lease> => {
    if (this.away) throw this.away
    const attempt = ++this.attempts
    const failure = this.arriving(attempt)
    if (failure instanceof Error) throw failure
    if (lease.metadata.resourceVersion !== this.present.metadata.resourceVersion)
      throw new ApiError('conflict', 'the Lease has changed since it was read', 409)
    this.note(annotations)
    this.written.push(annotations)
    const lost = this.carriedOut(attempt)
    if (lost instanceof Error) throw lost
    return this.lease()
  }

  replicas = async (): Promise<ReplicaRow[]> => {
    if (this.away) throw this.away
    return this.rows
  }

  get annotations(): Readonly<Record<string, string>> {
    return this.present.metadata.annotations ?? {}
  }

  /** Writes annotations as another operator. */
  note(notes: Notes): void {
    const annotations = { ...this.annotations, ...notes }
    const left = Object.entries(annotations).filter(([, value]) => value !== null) as [string, string][]
    this.write({ annotations: Object.fromEntries(left) })
  }

  /** Changes the Lease as another writer, with the next resource version. */
  write({ annotations, ...spec }: { annotations?: Record<string, string> } & Lease['spec']): void {
    const { metadata } = this.present
    const resourceVersion = String(Number(metadata.resourceVersion) + 1)
    this.present = {
      metadata: { ...metadata, resourceVersion, ...(annotations ? { annotations } : {}) },
      spec: { ...this.present.spec, ...spec },
    }
  }

  remember(...terms: readonly Partial<PastTerm>[]): void {
    this.note({ [HISTORY]: encodeHistory(terms.map((term) => ({ ...TERM, ...term }))) })
  }

  /** Sets the status of one replica. */
  show(pod: string, status: AgentStatus | string): void {
    this.rows = this.rows.map((one) => (one.pod === pod ? row(pod, status) : one))
  }

  showFrom(pod: string, change: (status: AgentStatus) => AgentStatus): void {
    const found = this.rows.find((one) => one.pod === pod)?.status
    if (found) this.show(pod, change(found))
  }
}
