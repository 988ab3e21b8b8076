import { titleOf } from '../manifests/manifest.ts'
import type { Installation } from './installation.ts'
import {
  type ClusterFacts,
  type Facts,
  type Installed,
  isInstalled,
  type Rule,
  type Said,
  type Severity,
  Unseen,
} from './rule.ts'
import { AGENT_RULES } from './rules/agent-rules.ts'
import { DRILL_RULES } from './rules/drill-rules.ts'
import { FOUND_RULES, LANGFLOW_RULES } from './rules/langflow-rules.ts'
import { LEASE_RULES } from './rules/lease-rules.ts'
import { MOUNT_RULES } from './rules/mount-rules.ts'
import { NETWORK_RULES } from './rules/network-rules.ts'
import { PRESENCE_RULES, SETTINGS_RULES, UNSAFE_RULES } from './rules/pod-rules.ts'
import { POLICY_RULES } from './rules/policy-rules.ts'
import { PROBE_RULES } from './rules/probe-rules.ts'
import { RIGHT_RULES } from './rules/right-rules.ts'
import { ROLLOUT_RULES } from './rules/rollout-rules.ts'
import { SCALE_RULES } from './rules/scale-rules.ts'
import { SERVER_RULES } from './rules/server-rules.ts'
import { STANDBY_RULES } from './rules/standby-rules.ts'
import { STATE_RULES } from './rules/state-rules.ts'

/** The verdict of one rule. `unknown`: the rule requires an object or a value that check does not see. */
export type Outcome = 'ok' | 'unknown' | Severity

export interface Result {
  readonly code: string
  readonly group: string
  /** The sentence that is true if the outcome is `ok`. */
  readonly about: string
  readonly outcome: Outcome
  readonly findings: readonly Finding[]
  /** Facts to print, such as a measurement. */
  readonly details: readonly string[]
}

export interface Finding {
  readonly outcome: Exclude<Outcome, 'ok'>
  /** Such as `Deployment/langflow`; `null` if the finding is not about one object. */
  readonly object: string | null
  /** The problem and its remedy, in one sentence. */
  readonly message: string
}

export interface Entry extends Pick<Rule<never>, 'code' | 'severity' | 'about' | 'breaks' | 'fix'> {
  readonly group: string
  /** Whether the rule requires a cluster. */
  readonly ofCluster: boolean
  /** `null` if the rule does not apply. */
  readonly judge: (facts: Facts) => Pick<Result, 'outcome' | 'findings' | 'details'> | null
}

const installations = (facts: Facts) => facts.installations

/** All rules, in the order of the report. */
export const CATALOGUE: readonly Entry[] = [
  ...entries('Kubernetes', SERVER_RULES, ({ cluster }) => (cluster === null ? [] : [cluster]), true),
  ...entries('LangFlow', FOUND_RULES, (facts) => [facts]),
  ...entries('LangFlow', LANGFLOW_RULES, installations),
  ...entries('State', STATE_RULES, installations),
  ...entries('Pods', [...UNSAFE_RULES, ...PRESENCE_RULES, ...SETTINGS_RULES], installations),
  ...entries('Pods', [...AGENT_RULES, ...PROBE_RULES, ...MOUNT_RULES], installed),
  ...entries('Standbys', STANDBY_RULES, installed),
  ...entries('Lease and rights', [...LEASE_RULES, ...RIGHT_RULES], installed),
  ...entries('Network', [...NETWORK_RULES, ...POLICY_RULES], installed),
  ...entries('Rollouts, drains and scaling', ROLLOUT_RULES, installed),
  ...entries('Rollouts, drains and scaling', SCALE_RULES, installations),
  ...entries('Rollouts, drains and scaling', DRILL_RULES, (facts) => [facts]),
]

/** The results of all rules that apply. */
export function check(facts: Facts): Result[] {
  return CATALOGUE.flatMap(({ code, group, about, judge }) => {
    const verdict = judge(facts)
    return verdict === null ? [] : [{ code, group, about, ...verdict }]
  })
}

function installed(facts: Facts): Installed[] {
  return facts.installations.filter(isInstalled)
}

type Subject = Facts | ClusterFacts | Installation

function entries<S extends Subject>(
  group: string,
  rules: readonly Rule<S>[],
  subjectsIn: (facts: Facts) => readonly S[],
  ofCluster = false,
): Entry[] {
  return rules.map((rule) => ({
    ...rule,
    group,
    ofCluster,
    judge: (facts) => judge(rule, subjectsIn(facts), facts),
  }))
}

/** The worst outcome first. */
const ORDER = ['error', 'warning', 'unknown'] as const

function judge<S extends Subject>(rule: Rule<S>, subjects: readonly S[], facts: Facts) {
  const verdicts = subjects.map((subject) => saidOf(rule, subject, facts))
  const concerned = verdicts.filter((said) => said !== null)
  if (concerned.length === 0) return null
  const findings = subjects.flatMap((subject, index) => {
    const object = 'manifest' in subject ? titleOf(subject.manifest) : null
    return (verdicts[index] ?? []).flatMap((said) => findingOf(rule, object, said))
  })
  const details = concerned
    .flat()
    .flatMap((said) => (typeof said === 'object' && 'detail' in said ? [said.detail] : []))
  const outcome = ORDER.find((one) => findings.some((finding) => finding.outcome === one)) ?? 'ok'
  return { outcome, findings, details } as const
}

/** `null` if the rule does not apply. A rule whose objects or values are hidden is unknown if it finds no problem. */
function saidOf<S extends Subject>(rule: Rule<S>, subject: S, facts: Facts): Said[] | null {
  const said: Said[] = []
  try {
    if (rule.applies?.(subject, facts) === false) return null
    for (const one of rule.find(subject, facts)) said.push(one)
  } catch (error) {
    if (!(error instanceof Unseen)) throw error
    said.push({ unknown: error.message })
  }
  const why = rule.sees === undefined ? undefined : facts.cluster?.hidden.get(rule.sees)
  return said.length === 0 && why !== undefined ? [{ unknown: why }] : said
}

function findingOf({ about, severity }: Rule<never>, object: string | null, said: Said): Finding[] {
  if (typeof said === 'string') return [{ outcome: severity, object, message: said }]
  if ('error' in said) return [{ outcome: 'error', object, message: said.error }]
  if ('warning' in said) return [{ outcome: 'warning', object, message: said.warning }]
  if ('detail' in said) return []
  return [{ outcome: 'unknown', object, message: `cannot determine whether ${about}: ${said.unknown}` }]
}
