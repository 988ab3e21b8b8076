import { asFields, asList, asText, dig, type Manifest, titleOf } from '../../manifests/manifest.ts'
import { inOneNamespace } from '../../manifests/workload.ts'
import { Unknown } from '../environment.ts'
import { accountOf, asInstalled } from '../facts.ts'
import type { Facts, Installed, Rule, Severity } from '../rule.ts'

/** One verb on one kind of object, as in RBAC. */
export interface Right {
  readonly verb: string
  readonly group: string
  readonly resource: string
  /** `null` for objects of any name. */
  readonly name: string | null
}

/** The rights that the agent's account requires. */
export function rightsFor(leaseName: string): readonly (Right & { readonly severity: Severity })[] {
  const leases = { group: 'coordination.k8s.io', resource: 'leases' }
  const onLease = ['get', 'watch', 'update'].map((verb) => ({
    ...leases,
    verb,
    name: leaseName,
    severity: 'error' as const,
  }))
  const events = { group: 'events.k8s.io', resource: 'events' }
  const created = [leases, events].map((one) => ({
    ...one,
    verb: 'create',
    name: null,
    severity: 'warning' as const,
  }))
  return [...onLease, ...created]
}

/** The key of a right of one ServiceAccount, in `ClusterFacts.grants`. */
export function grantOf(account: string, right: Right): string {
  return `${account} ${shown(right)}`
}

/** `update leases.coordination.k8s.io "flows-leader"` */
function shown({ verb, group, resource, name }: Right): string {
  return `${verb} ${resource}.${group}${name === null ? '' : ` "${name}"`}`
}

/** Whether the agents can use one Lease of their own. */
export const LEASE_RULES: readonly Rule<Installed>[] = [
  {
    code: 'lease-object',
    severity: 'warning',
    about:
      'The Lease exists, without a holder in its manifest. Otherwise the first start waits, or each apply ends the term.',
    fix: 'Apply a Lease without a spec, with the name in --lease-name.',
    reads: 'Lease',
    *find(one, { manifests, cluster }) {
      const { leaseName } = one.options
      const place = leaseNamespaceOf(one)
      if (cluster !== null && !inOneNamespace(place, one.manifest))
        throw new Unknown(`the Lease is in the namespace ${place.namespace}`)
      const own = manifests.find(
        (other) => other.kind === 'Lease' && other.name === leaseName && inOneNamespace(other, place),
      )
      // A Lease that was read from a cluster has a uid.
      if (dig(own?.value, 'spec', 'holderIdentity') && dig(own?.value, 'metadata', 'uid') === undefined)
        yield { message: 'its spec has a holder', severity: 'error', of: own! }
      const exists = cluster === null ? own !== undefined : cluster.leases.get(leaseName)
      if (exists === false) yield `the Lease ${leaseName} does not exist`
    },
  },
  {
    code: 'lease-shared',
    severity: 'error',
    about: 'No other workload competes for its Lease. Otherwise only one of the two ever serves.',
    fix: 'Give each LangFlow its own Lease with LEADER_LEASE_NAME, and name it in its Role.',
    *find(one, { all }) {
      for (const other of all.slice(
        0,
        all.findIndex(({ manifest }) => manifest === one.manifest),
      )) {
        const installed = asInstalled(other)
        if (installed !== null && isSameLease(one, installed))
          yield `it competes for the Lease ${one.options.leaseName} with ${titleOf(other.manifest)}`
      }
    },
  },
  {
    code: 'agent-rights',
    severity: 'error',
    about:
      'The agent may get, watch, update and create its Lease, and create Events. Otherwise the replica never leads.',
    fix: "Bind the pods' ServiceAccount to a Role with the verb, for the Lease in --lease-name.",
    *find(one, facts) {
      // With a kubeconfig, the agent does not use its pod's account.
      if (one.options.kubeconfig !== null) return
      const account = accountOf(one)
      // The API server was asked about the namespace of the pods.
      const isNear = inOneNamespace(leaseNamespaceOf(one), one.manifest)
      const missing = rightsFor(one.options.leaseName).filter((right) => {
        const granted = isNear ? facts.cluster?.grants.get(grantOf(account, right)) : undefined
        return !(granted ?? grantedByRoles(one, right, facts))
      })
      for (const [severity, rights] of Map.groupBy(missing, (right) => right.severity))
        yield { message: `its ServiceAccount/${account} may not ${rights.map(shown).join(', ')}`, severity }
    },
  },
]

/** The namespace of its Lease, as a part of an object. */
function leaseNamespaceOf({ options, manifest }: Installed): Pick<Manifest, 'namespace'> {
  return { namespace: options.leaseNamespace ?? manifest.namespace }
}

export function isSameLease(a: Installed, b: Installed): boolean {
  const isSameName = a.options.leaseName === b.options.leaseName
  return isSameName && inOneNamespace(leaseNamespaceOf(a), leaseNamespaceOf(b))
}

/** Whether the Roles among the manifests give a right. Throws `Unknown` if other Roles may give it. */
function grantedByRoles(one: Installed, right: Right, { manifests, cluster }: Facts): boolean {
  const name = accountOf(one)
  const place = leaseNamespaceOf(one)
  const isOwn = (subject: unknown) => {
    const namespace = asText(dig(subject, 'namespace')) || null
    if (dig(subject, 'kind') === 'Group')
      return asText(dig(subject, 'name')).startsWith('system:serviceaccounts')
    const isAccount = dig(subject, 'kind') === 'ServiceAccount' && dig(subject, 'name') === name
    return isAccount && inOneNamespace({ namespace }, one.manifest)
  }
  const bindings = manifests.filter(
    (binding) =>
      (binding.kind === 'ClusterRoleBinding' ||
        (binding.kind === 'RoleBinding' && inOneNamespace(binding, place))) &&
      asList(binding.value.subjects).some(isOwn),
  )
  const roles = bindings.map(({ value }) => {
    const { kind, name: role } = asFields(value.roleRef)
    return { kind, rules: manifests.find((other) => other.kind === kind && other.name === role)?.value }
  })
  if (roles.some(({ rules }) => asList(rules?.rules).some((rule) => allows(rule, right)))) return true
  // ClusterRoles often come from elsewhere, and the controller manager writes the rules of an aggregated one.
  const isOpen = roles.some(({ kind, rules }) =>
    rules === undefined ? kind === 'ClusterRole' : 'aggregationRule' in rules,
  )
  const hasAccount = manifests.some((other) => other.kind === 'ServiceAccount' && other.name === name)
  if (isOpen || cluster !== null || !(hasAccount || bindings.length > 0))
    throw new Unknown(`the Roles of ServiceAccount/${name} are not in the input`)
  return false
}

function allows(rule: unknown, { verb, group, resource, name }: Right): boolean {
  const has = (field: string, value: string) =>
    asList(asFields(rule)[field]).some((one) => one === '*' || one === value)
  const names = asList(dig(rule, 'resourceNames'))
  const isNamed = names.length === 0 || (name !== null && names.includes(name))
  return has('verbs', verb) && has('apiGroups', group) && has('resources', resource) && isNamed
}
