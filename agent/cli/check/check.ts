import { asFields, dig, type Manifest, titleOf } from '../manifests/manifest.ts'
import { Unknown } from './environment.ts'
import { asInstalled } from './facts.ts'
import type { Facts, Installation, Problem, Rule, Severity } from './rule.ts'
import { AGENT_RULES } from './rules/agent-rules.ts'
import { LEASE_RULES } from './rules/lease-rules.ts'
import { MOUNT_RULES } from './rules/mount-rules.ts'
import { NETWORK_RULES } from './rules/network-rules.ts'
import { POD_RULES } from './rules/pod-rules.ts'
import { ROLLOUT_RULES } from './rules/rollout-rules.ts'
import { STATE_RULES } from './rules/state-rules.ts'

export interface Finding {
  readonly code: string
  readonly severity: Severity
  /** Such as `Deployment/langflow`; `null` if the finding is not about one object. */
  readonly object: string | null
  readonly message: string
  readonly fix: string
}

export type Verdict = ReturnType<typeof check>

interface Entry extends Pick<Rule<never>, 'code' | 'about' | 'fix'> {
  readonly group: string
  readonly severity: Severity
  /** The problems, each with the workload that has it. */
  readonly judge: (facts: Facts) => Iterable<readonly [Problem, Manifest | null]>
}

/** What a rule judges one by one, each with its workload. */
type Subjects<S> = (facts: Facts) => (readonly [subject: () => S | null, workload: Manifest | null])[]

const SERVER_RULES: readonly Rule<Facts>[] = [
  {
    code: 'objects-valid',
    about: 'The API server accepts the objects. If not, a rollout stops.',
    fix: 'Correct the field that the API server names.',
    find: ({ refusals }) =>
      refusals ?? [{ unknown: 'the API server has not validated the objects (set -n)' }],
  },
  {
    code: 'langflow-found',
    about: 'A Deployment or StatefulSet runs LangFlow. Elsewhere it acts beside the leader.',
    fix: "Check the manifests that contain LangFlow, and set the name of LangFlow's container with --container.",
    *find({ unfound, hidden }) {
      if (unfound === null) return
      const cause = hidden.get('Deployment') ?? hidden.get('StatefulSet')
      if (cause !== undefined) throw new Unknown(cause)
      yield unfound
    },
  },
]

const ALL = each((one) => one)
const INSTALLED = each(asInstalled)

export const CATALOGUE: readonly Entry[] = [
  ...entries('Kubernetes', SERVER_RULES, (facts) => [[() => facts, null]]),
  ...entries('State', STATE_RULES, ALL),
  ...entries('Pods', POD_RULES, ALL),
  ...entries('Agents', [...AGENT_RULES, ...MOUNT_RULES], INSTALLED),
  ...entries('Lease and network', [...LEASE_RULES, ...NETWORK_RULES], INSTALLED),
  ...entries('Rollouts and replicas', ROLLOUT_RULES, INSTALLED),
]

function each<S>(subjectOf: (one: Installation) => S | null): Subjects<S> {
  return ({ installations }) => installations.map((one) => [() => subjectOf(one), one.manifest])
}

function entries<S>(group: string, rules: readonly Rule<S>[], subjects: Subjects<S>): Entry[] {
  return rules.map((rule) => ({
    ...{ severity: 'error', ...rule },
    group,
    *judge(facts) {
      for (const [subject, workload] of subjects(facts))
        for (const problem of judge(rule, subject, facts)) yield [problem, workload]
    },
  }))
}

function* judge<S>(rule: Rule<S>, subject: () => S | null, facts: Facts): Generator<Problem> {
  let isJudged = false
  try {
    const judged = subject()
    if (judged === null) return
    for (const problem of rule.find(judged, facts)) {
      isJudged = true
      yield problem
    }
  } catch (error) {
    if (!(error instanceof Unknown)) throw error
    isJudged = true
    yield { unknown: error.message }
  }
  const cause = facts.hidden.get(rule.reads ?? '')
  if (cause !== undefined && !isJudged) yield { unknown: cause }
}

/** Judges all rules. `ignore`: the codes whose findings the user accepts. */
export function check(facts: Facts, ignore: readonly string[] = []) {
  const findings: Finding[] = []
  const causes = new Map<string, Set<string>>()
  let ignored = 0
  for (const { code, severity, fix, judge } of CATALOGUE)
    for (const [problem, workload] of judge(facts)) {
      const of = typeof problem === 'object' && 'of' in problem ? problem.of : workload
      if (ignore.includes(code) || isAccepted(code, of) || isAccepted(code, workload)) ignored++
      else if (typeof problem === 'object' && 'unknown' in problem)
        causes.set(problem.unknown, (causes.get(problem.unknown) ?? new Set()).add(code))
      else {
        const { message, ...own } = typeof problem === 'string' ? { message: problem } : problem
        const object = of == null ? null : titleOf(of)
        findings.push({ code, severity: own.severity ?? severity, object, message, fix })
      }
    }
  // Rules that cannot be judged, by their cause.
  const unknown = [...causes].map(([cause, codes]) => ({ cause, codes: [...codes] }))
  return { findings, unknown, ignored, validated: facts.refusals !== null }
}

/** As kube-linter's `ignore-check.kube-linter.io/CODE`. The value is the reason. */
export const IGNORE_PREFIX = 'ignore-check.langflow-leader/'

function isAccepted(code: string, object: Pick<Manifest, 'value'> | null | undefined): boolean {
  return `${IGNORE_PREFIX}${code}` in asFields(dig(object?.value, 'metadata', 'annotations'))
}
