import { asFields, asList, asText, dig, type Manifest, titleOf } from '../../manifests/manifest.ts'
import { inOneNamespace } from '../../manifests/workload.ts'
import { accountOf } from '../installation.ts'
import type { Installed, Rule } from '../rule.ts'
import { leaseNamespaceOf } from './lease-rules.ts'

/** One verb on one kind of object, as in RBAC. */
export interface Right {
  readonly verb: string
  /** '' for the core group. */
  readonly group: string
  readonly resource: string
  /** `null` for objects of any name. */
  readonly name: string | null
}

interface Need extends Pick<Rule<never>, 'code' | 'severity' | 'breaks'>, Omit<Right, 'name'> {
  /** The feature that requires the right. */
  readonly for: string
  /** Whether the right on the Lease itself is enough. */
  readonly named: boolean
}

const LEASES = { group: 'coordination.k8s.io', resource: 'leases' } as const
const ELECTION = {
  ...LEASES,
  severity: 'error',
  named: true,
  for: 'the election',
  breaks: 'The replica never leads. If all replicas lack the right, none serves.',
} as const

/** The rights that the agent's account requires. */
export const AGENT_NEEDS: readonly Need[] = [
  { code: 'agent-get-lease', ...ELECTION, verb: 'get' },
  { code: 'agent-watch-lease', ...ELECTION, verb: 'watch' },
  { code: 'agent-update-lease', ...ELECTION, verb: 'update' },
  {
    code: 'agent-create-lease',
    ...LEASES,
    severity: 'warning',
    named: false,
    verb: 'create',
    for: 'the re-creation of a deleted Lease',
    breaks: 'After the Lease is deleted, no replica leads until you apply it again.',
  },
  {
    code: 'agent-create-events',
    group: 'events.k8s.io',
    resource: 'events',
    severity: 'warning',
    named: false,
    verb: 'create',
    for: 'Events',
    breaks: 'kubectl describe shows no takeovers.',
  },
]

/** Judged by the API server's answer, else by the known Roles. */
export const RIGHT_RULES: readonly Rule<Installed>[] = AGENT_NEEDS.map((need) => ({
  code: need.code,
  severity: need.severity,
  about: `the agent may ${need.verb} ${need.resource}`,
  breaks: need.breaks,
  fix: `Bind the pods' ServiceAccount to a Role with the verb ${need.verb} on ${need.resource} of the group ${need.group}${need.named ? ', for the Lease in --lease-name' : ''}.`,
  // With a kubeconfig, the agent does not use its pod's account.
  applies: ({ agent }) => agent.options.kubeconfig === null,
  *find(one, { manifests, cluster }) {
    const right = rightOf(need, one.agent.options.leaseName)
    const name = accountOf(one)
    // The API server was asked about the namespace of the pods.
    const isNear = inOneNamespace(leaseNamespaceOf(one), one.manifest)
    const told = isNear ? cluster?.grants.get(grantOf(name, right)) : undefined
    if (told === true) return
    const lack = `its ServiceAccount/${name} may not ${shown(right)}, which is required for ${need.for}`
    if (told === false) yield `${lack}: ${remedyFor(right)}`
    else yield* byRoles({ one, right, lack, isComplete: cluster === null }, manifests)
  },
}))

/** The right for the agent of one Lease. */
export function rightOf({ verb, group, resource, named }: Need, leaseName: string): Right {
  return { verb, group, resource, name: named ? leaseName : null }
}

/** The key of a right of one ServiceAccount, in `ClusterFacts.grants`. */
export function grantOf(account: string, right: Right): string {
  return `${account} ${shown(right)}`
}

/** `update leases.coordination.k8s.io "flows-leader"` */
function shown({ verb, group, resource, name }: Right): string {
  return `${verb} ${resource}.${group}${name === null ? '' : ` "${name}"`}`
}

function remedyFor({ verb, group, resource }: Right): string {
  return `give its Role a rule with apiGroups [${group}], resources [${resource}] and verbs [${verb}]`
}

interface Question {
  readonly one: Installed
  readonly right: Right
  /** The finding, without its remedy. */
  readonly lack: string
  /** Whether an account of the manifests has no other bindings than those of the manifests. */
  readonly isComplete: boolean
}

/** The result by the Roles among these manifests. */
function* byRoles(
  { one, right, lack, isComplete }: Question,
  manifests: readonly Manifest[],
): Generator<string | { unknown: string }> {
  const account = { name: accountOf(one), namespace: one.manifest.namespace }
  const place = leaseNamespaceOf(one)
  const bindings = manifests.filter((binding) => binds(binding, account, place))
  const roles = bindings.map((binding) => ({ binding, role: roleOf(binding, manifests) }))
  const rules = roles.flatMap(({ role }) => asList(role?.value.rules))
  if (rules.some((rule) => allows(rule, right))) return
  // The controller manager writes the rules of an aggregated ClusterRole.
  const missing = roles.find(({ role }) => role === undefined || 'aggregationRule' in role.value)?.binding
  if (missing !== undefined) {
    const ref = `${dig(missing.value, 'roleRef', 'kind')}/${dig(missing.value, 'roleRef', 'name')}`
    // A ClusterRole often is part of another installation.
    const isRole = manifests.some((one) => `Cluster${titleOf(one)}` === ref && inOneNamespace(one, missing))
    if (!isComplete || !hasAccount(manifests, account) || (ref.startsWith('ClusterRole/') && !isRole))
      yield {
        unknown: `check does not see the rules of ${ref}, to which ${missing.kind}/${missing.name} refers`,
      }
    else
      yield `${lack}, because ${missing.kind}/${missing.name} refers to ${ref}, which this stream lacks: correct its roleRef`
  } else if (roles.length > 0) {
    const other = rules.find((rule) => allows(rule, { ...right, name: null }, true))
    const names = asList(dig(other, 'resourceNames')).join(', ')
    yield names === ''
      ? `${lack}: ${remedyFor(right)}`
      : `${lack}, because its Role is for ${names}: change the name in the Role or in LEADER_LEASE_NAME`
  } else if (isComplete && (hasAccount(manifests, account) || isMeantFor(manifests, right)))
    yield `${lack}, because no binding in this stream names this account: add a RoleBinding for it in the namespace of the Lease, or correct the account's name in the pod, or its name and namespace in the binding`
  else yield { unknown: `the manifests bind no known Role to ServiceAccount/${account.name}` }
}

type Account = Pick<Manifest, 'name' | 'namespace'>

function binds(binding: Manifest, account: Account, place: Pick<Manifest, 'namespace'>): boolean {
  const isFor =
    binding.kind === 'ClusterRoleBinding' ||
    (binding.kind === 'RoleBinding' && inOneNamespace(binding, place))
  return (
    isFor &&
    asList(binding.value.subjects).some((subject) => {
      const namespace = asText(dig(subject, 'namespace')) || null
      if (dig(subject, 'kind') === 'Group') return isGroupOf(asText(dig(subject, 'name')), account)
      return (
        dig(subject, 'kind') === 'ServiceAccount' &&
        dig(subject, 'name') === account.name &&
        inOneNamespace({ namespace }, account)
      )
    })
  )
}

function isGroupOf(group: string, { namespace }: Account): boolean {
  return group === 'system:serviceaccounts' || group === `system:serviceaccounts:${namespace}`
}

function roleOf({ value, namespace }: Manifest, manifests: readonly Manifest[]): Manifest | undefined {
  return manifests.find(
    (one) =>
      one.kind === dig(value, 'roleRef', 'kind') &&
      one.name === dig(value, 'roleRef', 'name') &&
      (one.kind === 'ClusterRole' || inOneNamespace(one, { namespace })),
  )
}

function hasAccount(manifests: readonly Manifest[], account: Account): boolean {
  return manifests.some(
    (one) => one.kind === 'ServiceAccount' && one.name === account.name && inOneNamespace(one, account),
  )
}

/** Whether the manifests have a Role that gives this very right, to whichever account. */
function isMeantFor(manifests: readonly Manifest[], right: Right): boolean {
  const roles = manifests.filter(({ kind }) => kind === 'Role' || kind === 'ClusterRole')
  return roles.some(({ value }) => asList(value.rules).some((rule) => allows(rule, right)))
}

/** `anyName`: whether a rule for other names counts as well. */
function allows(rule: unknown, { verb, group, resource, name }: Right, anyName = false): boolean {
  const has = (field: string, wanted: string) =>
    asList(asFields(rule)[field]).some((one) => one === '*' || one === wanted)
  const names = asList(dig(rule, 'resourceNames'))
  return (
    has('verbs', verb) &&
    has('apiGroups', group) &&
    has('resources', resource) &&
    (anyName || names.length === 0 || (name !== null && names.includes(name)))
  )
}
