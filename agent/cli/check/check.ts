import { titleOf } from '../manifests/manifest.ts'
import type { Installation } from './installation.ts'
import type { ClusterFacts, Facts, Installed, Rule, Said, Severity } from './rule.ts'
import { LEASE_RULES, RIGHT_RULES, SERVER_RULES } from './rules/cluster-rules.ts'
import { FOUND_RULES, LANGFLOW_RULES } from './rules/langflow-rules.ts'
import { NETWORK_RULES } from './rules/network-rules.ts'
import { POD_RULES, PRESENCE_RULES, SETTINGS_RULES, UNSAFE_RULES } from './rules/pod-rules.ts'
import { ROLLOUT_RULES } from './rules/rollout-rules.ts'

/** The verdict of one rule. `unknown`: the rule requires an object that could not be read. */
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

interface Entry extends Pick<Rule<never>, 'code' | 'severity' | 'about'> {
  readonly group: string
  /** Whether the rule requires a cluster. */
  readonly ofCluster: boolean
  /** `null` if the rule does not apply. */
  readonly judge: (facts: Facts) => Pick<Result, 'outcome' | 'findings' | 'details'> | null
}

/** All rules, in the order of the report. */
export const CATALOGUE: readonly Entry[] = [
  ...entries('Kubernetes', SERVER_RULES, ({ cluster }) => (cluster === null ? [] : [cluster]), true),
  ...entries('LangFlow', FOUND_RULES, (facts) => [facts]),
  ...entries('LangFlow', LANGFLOW_RULES, ({ installations }) => installations),
  ...entries('Pods', [...UNSAFE_RULES, ...PRESENCE_RULES], ({ installations }) => installations),
  ...entries('Pods', SETTINGS_RULES, ({ installations }) => installations),
  ...entries('Pods', POD_RULES, installed),
  ...entries("The agent's rights", RIGHT_RULES, installed),
  ...entries('Network', NETWORK_RULES, installed),
  ...entries('Rollouts, drains and scaling', ROLLOUT_RULES, installed),
  ...entries('What runs', LEASE_RULES, installed),
]

/** The results of all rules that apply. */
export function check(facts: Facts): Result[] {
  return CATALOGUE.flatMap(({ code, group, about, judge }) => {
    const verdict = judge(facts)
    return verdict === null ? [] : [{ code, group, about, ...verdict }]
  })
}

/** The reasons why no agent can make a LangFlow safe, one sentence each. */
export function* unsafe(installation: Installation, facts: Facts): Generator<string> {
  for (const rule of UNSAFE_RULES)
    for (const said of rule.find(installation, facts)) if (typeof said === 'string') yield said
}

function installed({ installations }: Facts): Installed[] {
  return installations.filter(isInstalled)
}

function isInstalled(one: Installation): one is Installed {
  return one.agent !== null && one.agent.options !== null
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
  const concerned = subjects.filter((subject) => rule.applies?.(subject, facts) !== false)
  if (concerned.length === 0) return null
  const all = concerned.flatMap((subject) => {
    const object = 'manifest' in subject ? titleOf(subject.manifest) : null
    return saidOf(rule, subject, facts).map((said) => ({ object, said }))
  })
  const findings = all.flatMap(({ object, said }) => findingOf(rule, object, said))
  const details = all.flatMap(({ said }) =>
    typeof said === 'object' && 'detail' in said ? [said.detail] : [],
  )
  const outcome = ORDER.find((one) => findings.some((finding) => finding.outcome === one)) ?? 'ok'
  return { outcome, findings, details } as const
}

/** A rule whose objects are hidden is unknown if it finds no problem. */
function saidOf<S extends Subject>(rule: Rule<S>, subject: S, facts: Facts): Said[] {
  const said = [...rule.find(subject, facts)]
  const why = rule.sees === undefined ? undefined : facts.cluster?.hidden.get(rule.sees)
  return said.length === 0 && why !== undefined ? [{ unknown: why }] : said
}

function findingOf({ about, severity }: Rule<never>, object: string | null, said: Said): Finding[] {
  if (typeof said === 'string') return [{ outcome: severity, object, message: said }]
  if ('warning' in said) return [{ outcome: 'warning', object, message: said.warning }]
  if ('detail' in said) return []
  return [{ outcome: 'unknown', object, message: `cannot determine whether ${about}: ${said.unknown}` }]
}
