import type { Manifest } from '../manifests/manifest.ts'
import type { Agent, Installation } from './installation.ts'

/** `error`: the installation does not work or is not safe. `warning`: it works, but may fail later. */
export type Severity = 'error' | 'warning'

/** A condition for a takeover, about one kind of subject. docs/check.md has a section for each rule, made from these texts. */
export interface Rule<Subject> {
  /** Stable, because scripts may rely on it. docs/check.md has an anchor of the same name. */
  readonly code: string
  readonly severity: Severity
  /** A short sentence that is true if the rule finds no problem, and that can follow "whether". */
  readonly about: string
  /** The consequence of a violation. */
  readonly breaks: string
  readonly fix: string
  /** Whether the rule applies (default: yes). */
  readonly applies?: (subject: Subject, facts: Facts) => boolean
  /** The kind of object that the rule reads. If the kind is in `ClusterFacts.hidden` and the rule finds no problem, it is unknown. */
  readonly sees?: string
  /** May throw `Unseen`: the result is unknown, besides the findings before. */
  readonly find: (subject: Subject, facts: Facts) => Iterable<Said>
}

/** A value that check cannot see, such as one from a Secret that is not in the stream. The message is the reason. */
export class Unseen extends Error {}

/**
 * An output of a rule: a problem with its remedy, in one sentence; the reason why the result is unknown; or a fact to print, such as a
 * measurement. A plain string has the rule's severity.
 */
export type Said =
  | string
  | { readonly error: string }
  | { readonly warning: string }
  | { readonly unknown: string }
  | { readonly detail: string }

/** The input of the rules. It does not change. */
export interface Facts {
  /** The objects of a stream, or of one namespace. */
  readonly manifests: readonly Manifest[]
  /** The LangFlows to check. */
  readonly installations: readonly Installation[]
  /** Every LangFlow, also those that the user did not ask about. */
  readonly all: readonly Installation[]
  /** The reason why no LangFlow was found, in one sentence; `null` if a LangFlow was found. */
  readonly unfound: string | null
  /** Facts that require a cluster; `null` if only manifests were given. */
  readonly cluster: ClusterFacts | null
}

/** A LangFlow whose agent would start. */
export interface Installed extends Installation {
  readonly agent: Agent & { readonly options: NonNullable<Agent['options']> }
}

export function isInstalled(one: Installation): one is Installed {
  return one.agent !== null && one.agent.options !== null
}

export interface ClusterFacts {
  /** Major and minor version of the API server, such as `1.37`; `null` if it reports no version. */
  readonly version: string | null
  readonly latency: Latency
  /** The kinds, or objects such as `Secret/langflow`, that the caller may not read, each with the reason. */
  readonly hidden: ReadonlyMap<string, string>
  /** The rights of the agents' accounts, by `grantOf`, without rights that the caller may not ask about. */
  readonly grants: ReadonlyMap<string, boolean>
  /** Whether the agents' Leases exist, by name. */
  readonly leases: ReadonlyMap<string, boolean>
}

/** The latency of sequential reads of one Lease, in milliseconds. */
export interface Latency {
  readonly requests: number
  readonly medianMs: number
  readonly slowestMs: number
}
