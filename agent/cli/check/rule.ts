import type { AgentOptions, LauncherOptions } from '../../config/options.ts'
import type { AgentContainer } from '../manifests/agent-container.ts'
import type { Manifest } from '../manifests/manifest.ts'
import type { Workload } from '../manifests/workload.ts'
import type { Environment } from './environment.ts'

/** `error`: it breaks a guarantee, a takeover or a rollout. `warning`: it may do so later. */
export type Severity = 'error' | 'warning'

/** A condition for the guarantees, a takeover or a rollout, about one kind of subject. docs/check.md has a section for each rule. */
export interface Rule<Subject> {
  /** Stable, because scripts rely on it. docs/check.md has an anchor of the same name. */
  readonly code: string
  /** `error` unless set. */
  readonly severity?: Severity
  /** The condition, and the consequence of a violation. */
  readonly about: string
  readonly fix: string
  /** The kind of object that the rule reads: if the user may not list it, and no problem is found, the rule is not judged. */
  readonly reads?: string
  /** May throw `Unknown`: the rule is not judged, except for the problems before. */
  readonly find: (subject: Subject, facts: Facts) => Iterable<Problem>
}

/** The problem in one sentence. A plain string has the rule's severity, and is about the workload. */
export type Problem =
  | string
  | {
      readonly message: string
      readonly severity?: Severity
      readonly of?: Pick<Manifest, 'kind' | 'name' | 'value'>
    }
  | { readonly unknown: string }

export function warning(message: string, of?: Manifest): Problem {
  return { message, severity: 'warning', ...(of === undefined ? {} : { of }) }
}

export interface Facts {
  /** The objects of a stream, or of one namespace. */
  readonly manifests: readonly Manifest[]
  readonly installations: readonly Installation[]
  /** Why no LangFlow was found, in one sentence; `null` if one was found. */
  readonly unfound: string | null
  /** Why kinds, or objects such as `Secret/langflow`, cannot be read. */
  readonly hidden: ReadonlyMap<string, string>
  /** Whether they were read from a cluster, so that an absent object does not exist. */
  readonly isCluster: boolean
  /** What the API server objects to; `null` if it has not validated the objects. */
  readonly refusals: readonly Problem[] | null
}

/** A LangFlow with the agent and the launcher of its pods, as its manifest configures them. */
export interface Installation extends Workload {
  readonly env: Environment
  /** `null` if no container of its pods starts an agent. */
  readonly agent: Agent | null
  /** `null` if LangFlow's container starts LangFlow without the launcher. */
  readonly launcher: Started<LauncherOptions> | null
  /** Whether the manifest sets one replica, and no autoscaler adds more. */
  readonly isSingle: boolean
}

interface Agent extends AgentContainer {
  readonly env: Environment
  readonly started: Started<AgentOptions>
}

/** The options with which a command would start, or why it would not (`fault`), or why its options are unknown. */
export type Started<T> = { readonly options: T } | { readonly fault: string } | { readonly unknown: string }

/** A LangFlow whose agent would start. */
export interface Installed extends Installation {
  readonly agent: Agent
  readonly options: AgentOptions
}
