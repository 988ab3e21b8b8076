import type { ReplicaRow } from '../../observe/agent-status.ts'
import type { Fields } from '../manifests/manifest.ts'
import type { Right } from './rights.ts'

/** What is hidden where agents may not be asked through the API server. */
export const PROXY = 'pods/proxy'

/** What only a cluster knows. Whatever this user may not see is `null`, and `hidden` says why. */
export interface ClusterFacts {
  readonly namespace: string
  /** Major and minor version of the API server, such as `1.37`; `null`: it says none. */
  readonly version: string | null
  /** Whether an agent's own account asks, as in an init container of its pod. */
  readonly isAgent: boolean
  /** Of the agents that were found, else the one that was asked for; at least one. */
  readonly leaseNames: readonly string[]
  readonly latency: Latency
  readonly clock: Clock
  /** How many nodes there are, counted up to two. */
  readonly nodes: number | null
  /** Where pods reach the API server; `null`: not known. */
  readonly apiAddress: string | null
  /** Names of the namespaces with the label `langflow-leader/client`. */
  readonly clientNamespaces: readonly string[] | null
  /** Every pod of the namespace. */
  readonly pods: readonly Fields[] | null
  /** What this user may not see, each with a sentence: by kind, by object such as `Secret/langflow`, or `PROXY`. */
  readonly hidden: ReadonlyMap<string, string>
  /** What this user may do. */
  readonly ownRights: readonly Verdict[]
  /** What an agent's account may do; `null`: this user may not ask that. */
  agentRights(account: string, lease: string): readonly Verdict[] | null
  /** The Leases of the namespace that were looked for, and whether they are there. */
  readonly leases: ReadonlyMap<string, boolean>
  /** The replicas of a Lease, and how long it took to ask all of them, in milliseconds; `null`: they were not asked. */
  replicas(lease: string): Replicas | null
}

export interface Verdict {
  readonly right: Right
  readonly allowed: boolean
}

export interface Replicas {
  readonly rows: readonly ReplicaRow[]
  readonly tookMs: number
}

/** Of reads of one Lease, one after the other, in milliseconds. */
export interface Latency {
  readonly requests: number
  readonly medianMs: number
  readonly slowestMs: number
}

/** The API server's clock beside this machine's. */
export type Clock =
  | {
      /** By how much this machine is ahead, in milliseconds; negative: behind. */
      readonly aheadMs: number
      /** How exact that is. */
      readonly withinMs: number
    }
  | { readonly aheadMs: null; readonly why: string }
