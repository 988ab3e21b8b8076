import type { Manifest } from '../manifests/manifest.ts'
import type { Agent, Installation } from './installation.ts'

/** `error`: it does not work, or is not safe. `warning`: it works, but may fail later. */
export type Severity = 'error' | 'warning'

/** What must hold for a takeover to work, of one kind of subject. */
export interface Rule<Subject> {
  /** Stable: scripts may count on it. Its place in docs/check.md has the same name. */
  readonly code: string
  readonly severity: Severity
  /** What holds if the rule finds nothing: a short sentence that can follow "whether". */
  readonly about: string
  /** Whether the rule has anything to judge (default: yes). */
  readonly applies?: (subject: Subject, facts: Facts) => boolean
  /** The kind that it reads: if `ClusterFacts.hidden` has it, finding nothing proves nothing. */
  readonly sees?: string
  readonly find: (subject: Subject, facts: Facts) => Iterable<Said>
}

/**
 * What a rule says: a sentence on what is wrong and what to change; why it can't tell; or a fact worth showing, such as a
 * measurement. A sentence alone has the rule's severity.
 */
export type Said =
  | string
  | { readonly warning: string }
  | { readonly unknown: string }
  | { readonly detail: string }

/** Everything that the rules judge; none of it changes. */
export interface Facts {
  /** Of a stream, or what the API server has of one namespace. */
  readonly manifests: readonly Manifest[]
  readonly installations: readonly Installation[]
  /** Why no LangFlow was found, in one sentence; `null`: one was. */
  readonly unfound: string | null
  /** What only a cluster can tell; `null`: only manifests were given. */
  readonly cluster: ClusterFacts | null
}

/** A LangFlow whose agent would start. */
export interface Installed extends Installation {
  readonly agent: Agent & { readonly options: NonNullable<Agent['options']> }
}

export interface ClusterFacts {
  /** Major and minor version of the API server, such as `1.37`; `null`: it reports none. */
  readonly version: string | null
  readonly latency: Latency
  /** What the caller may not read, each with a sentence: by kind, or by object such as `Secret/langflow`. */
  readonly hidden: ReadonlyMap<string, string>
  /** What the agents' accounts may do, by `grantOf`; without those that the caller may not ask about. */
  readonly grants: ReadonlyMap<string, boolean>
  /** Whether the agents' Leases exist, by name. */
  readonly leases: ReadonlyMap<string, boolean>
}

/** Of reads of one Lease, one after the other, in milliseconds. */
export interface Latency {
  readonly requests: number
  readonly medianMs: number
  readonly slowestMs: number
}
