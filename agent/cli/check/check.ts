import { titleOf } from '../manifests/manifest.ts'
import type { Installation } from './installation.ts'
import { podsOf } from './label-selector.ts'
import type { AgentRule, ClusterRule, Facts, Installed, LangflowRule, Rule, Said, Severity } from './rule.ts'
import { LEASE_RULES, RUNNING_RULES, SERVER_RULES } from './rules/cluster-rules.ts'
import { LANGFLOW_RULES } from './rules/langflow-rules.ts'
import { NETWORK_RULES } from './rules/network-rules.ts'
import { POD_RULES, PRESENCE_RULES, SETTINGS_RULES, UNSAFE_RULES } from './rules/pod-rules.ts'
import { AGENT_RIGHT_RULES, OPERATOR_RULES } from './rules/rights-rules.ts'
import { ROLLOUT_RULES } from './rules/rollout-rules.ts'

/** What came of one rule. `unknown`: something that it needs was not to be seen. */
export type Outcome = 'ok' | 'unknown' | Severity

export interface Result {
  /** Stable: scripts may count on it. Its place in docs/check.md has the same name. */
  readonly code: string
  readonly group: string
  /** What holds where the outcome is `ok`. */
  readonly about: string
  readonly outcome: Outcome
  readonly findings: readonly Finding[]
  /** How it is, where that is news, such as what was measured. */
  readonly details: readonly string[]
}

export interface Finding {
  readonly outcome: Exclude<Outcome, 'ok'>
  /** Such as `Deployment/langflow`; `null`: it is about no single object. */
  readonly object: string | null
  /** One sentence that says what is wrong and what to change. */
  readonly message: string
}

interface Entry {
  readonly code: string
  readonly group: string
  readonly severity: Severity
  readonly about: string
  /** Whether only a cluster can be asked that. */
  readonly ofCluster: boolean
  /** `null`: there is nothing that it could be about. */
  readonly findings: (facts: Facts) => readonly Told[] | null
}

interface Told {
  readonly object: string | null
  readonly said: Said
}

/** Every rule, in the order in which they are shown. */
export const CATALOGUE: readonly Entry[] = [
  ...entries('Kubernetes', SERVER_RULES, aboutCluster, true),
  ...entries('Your rights', OPERATOR_RULES, aboutCluster, true),
  {
    code: 'langflow-found',
    group: 'LangFlow',
    severity: 'error',
    about: 'there is a LangFlow',
    ofCluster: false,
    findings: ({ unfound, cluster }) => {
      if (unfound === null) return []
      const isHidden = cluster?.hidden.has('Deployment') || cluster?.hidden.has('StatefulSet')
      return [{ object: null, said: isHidden ? { unknown: unfound } : unfound }]
    },
  },
  ...entries('LangFlow', LANGFLOW_RULES, aboutLangflows, false),
  ...entries('Pods', { ...UNSAFE_RULES, ...PRESENCE_RULES }, aboutLangflows, false),
  ...entries('Pods', SETTINGS_RULES, aboutAllLangflows, false),
  ...entries('Pods', POD_RULES, aboutAgents, false),
  ...entries("The agent's rights", AGENT_RIGHT_RULES, aboutAllAgents, false),
  ...entries('Network', NETWORK_RULES, aboutAgents, false),
  ...entries('Rollouts, drains and scaling', ROLLOUT_RULES, aboutAgents, false),
  ...entries('What runs', LEASE_RULES, aboutAllAgents, false),
  ...entries('What runs', RUNNING_RULES, aboutRunning, true),
]

/** Looks at what is known by every rule that it can be looked at by. */
export function check(facts: Facts): Result[] {
  return CATALOGUE.flatMap(({ code, group, about, severity, ofCluster, findings }) => {
    const told = ofCluster && facts.cluster === null ? null : findings(facts)
    if (told === null) return []
    const found = told.flatMap(({ object, said }) => findingOf(object, said, severity))
    const details = told.flatMap(({ said }) =>
      typeof said === 'object' && 'detail' in said ? [said.detail] : [],
    )
    const outcome = ORDER.find((one) => found.some((finding) => finding.outcome === one)) ?? 'ok'
    return [{ code, group, about, outcome, findings: found, details }]
  })
}

/** The rules that a LangFlow breaks in a way which no agent can make up for; one sentence each. */
export function* unsafe(installation: Installation, facts: Facts): Generator<string> {
  for (const rule of Object.values<LangflowRule>(UNSAFE_RULES))
    for (const said of rule.find(installation, facts)) if (typeof said === 'string') yield said
}

/** The worst first. */
const ORDER = ['error', 'warning', 'unknown'] as const

function findingOf(object: string | null, said: Said, severity: Severity): Finding[] {
  if (typeof said === 'string') return [{ outcome: severity, object, message: said }]
  if ('warning' in said) return [{ outcome: 'warning', object, message: said.warning }]
  return 'unknown' in said ? [{ outcome: 'unknown', object, message: said.unknown }] : []
}

function entries<S extends readonly unknown[]>(
  group: string,
  rules: Readonly<Record<string, Rule<S>>>,
  apply: (rule: Rule<S>, facts: Facts) => readonly Told[] | null,
  ofCluster: boolean,
): Entry[] {
  return Object.entries(rules).map(([code, rule]) => ({
    code,
    group,
    severity: rule.severity,
    about: rule.about,
    ofCluster,
    findings: (facts) => apply(rule, facts),
  }))
}

function aboutCluster(rule: ClusterRule, facts: Facts): Told[] | null {
  const { cluster } = facts
  if (cluster === null || rule.applies?.(cluster, facts) === false) return null
  return [...rule.find(cluster, facts)].map((said) => ({ object: null, said }))
}

function aboutLangflows(rule: LangflowRule, facts: Facts): Told[] | null {
  return aboutEach(rule, facts.installations, facts)
}

function aboutAllLangflows(rule: LangflowRule, facts: Facts): Told[] | null {
  return aboutEach(rule, withBare(facts), facts)
}

function aboutAgents(rule: AgentRule, facts: Facts): Told[] | null {
  return aboutEach(rule, facts.installations.filter(isInstalled), facts)
}

function aboutAllAgents(rule: AgentRule, facts: Facts): Told[] | null {
  return aboutEach(rule, withBare(facts).filter(isInstalled), facts)
}

/** An agent that looks at itself must start whatever the others do. */
function aboutRunning(rule: AgentRule, facts: Facts): Told[] | null {
  if (facts.cluster?.isAgent) return null
  const pods = facts.cluster?.pods ?? null
  const unseen = { unknown: `whether ${rule.about} is not to be seen: it has no pods` }
  const find: AgentRule['find'] = (one, facts) =>
    pods !== null && podsOf(one, pods).length === 0 ? [unseen] : rule.find(one, facts)
  return aboutAllAgents({ ...rule, find }, facts)
}

function aboutEach<I extends Installation>(
  rule: Rule<[one: I, facts: Facts]>,
  all: readonly I[],
  facts: Facts,
): Told[] | null {
  const concerned = all.filter((one) => rule.applies?.(one, facts) !== false)
  if (concerned.length === 0) return null
  const told = concerned.flatMap((one) =>
    [...rule.find(one, facts)].map((said) => ({ object: titleOf(one.manifest), said })),
  )
  return told.length > 0 ? told : unseen(rule, facts)
}

function unseen<S extends readonly unknown[]>({ sees = [], about }: Rule<S>, { cluster }: Facts): Told[] {
  const why = sees.map((what) => cluster?.hidden.get(what)).find((one) => one !== undefined)
  return why === undefined
    ? []
    : [{ object: null, said: { unknown: `whether ${about} is not to be seen: ${why}` } }]
}

function withBare({ installations, bare }: Facts): readonly Installation[] {
  return [...installations, ...bare]
}

function isInstalled(one: Installation): one is Installed {
  return one.agent !== null && one.agent.options !== null
}
