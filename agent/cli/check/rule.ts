import type { Manifest } from '../manifests/manifest.ts'
import type { ClusterFacts } from './cluster-facts.ts'
import type { Agent, Installation } from './installation.ts'

/** `error`: it does not work, or is not safe. `warning`: it works, and somebody should look. */
export type Severity = 'error' | 'warning'

/** All that rules look at; nothing of it changes. */
export interface Facts {
  /** Of a stream, or what the API server has of one namespace. */
  readonly manifests: readonly Manifest[]
  readonly installations: readonly Installation[]
  /** Why no LangFlow could be told from the rest, in one sentence; `null`: it could. */
  readonly unfound: string | null
  /**
   * Agents of which only settings and account are known, where there are no installations: pods that nobody's manifest is
   * known of, and the pod that asks about itself.
   */
  readonly bare: readonly Installation[]
  /** What only a cluster knows; `null`: manifests alone were given. */
  readonly cluster: ClusterFacts | null
}

/** A sentence that says what is wrong and what to change; what could not be known, and why; or how it is, where that is news. */
export type Said =
  | string
  | { readonly warning: string }
  | { readonly unknown: string }
  | { readonly detail: string }

/** What must hold for something to work. */
export interface Rule<Subject extends readonly unknown[]> {
  readonly severity: Severity
  /** What holds where nothing is found, in a few words. */
  readonly about: string
  /** Whether there is anything that it could be about (default: there is). */
  readonly applies?: (...subject: Subject) => boolean
  /** What it looks through, as in `ClusterFacts.hidden`: where that is hidden, to find nothing means nothing. */
  readonly sees?: readonly string[]
  readonly find: (...subject: Subject) => Iterable<Said>
}

/** About each LangFlow, whether or not it has an agent. */
export type LangflowRule = Rule<[one: Installation, facts: Facts]>
/** About each agent that would start. */
export type AgentRule = Rule<[one: Installed, facts: Facts]>
/** About what only a cluster knows. */
export type ClusterRule = Rule<[cluster: ClusterFacts, facts: Facts]>

/** A LangFlow whose agent would start. */
export interface Installed extends Installation {
  readonly agent: Agent & { readonly options: NonNullable<Agent['options']> }
}
