import { asFields, asList, asText, dig, type Manifest, titleOf } from '../../manifests/manifest.ts'
import { inOneNamespace } from '../../manifests/workload.ts'
import { isOfPod, Unknown } from '../environment.ts'
import { accountOf, othersBefore } from '../facts.ts'
import type { Facts, Installed, Rule } from '../rule.ts'

/** The rights that an agent uses, with the name of the object; `null` for objects of any name. */
function needsOf({ leaseName, reportLostPods }: Installed['options']) {
  const leases = { group: 'coordination.k8s.io', resource: 'leases' }
  const events = { group: 'events.k8s.io', resource: 'events' }
  const lesser = { verbs: ['create'], name: null, severity: 'warning' } as const
  return [
    { ...leases, verbs: ['get', 'watch', 'update'], name: leaseName, severity: 'error' },
    { ...leases, ...lesser },
    { ...events, ...lesser },
    ...(reportLostPods ? [{ ...lesser, group: '', resource: 'pods/status', verbs: ['patch'] }] : []),
  ] as const
}

export const LEASE_RULES: readonly Rule<Installed>[] = [
  {
    code: 'lease-object',
    severity: 'warning',
    about: 'The Lease exists, without a holder in its manifest. If not, starts wait, or terms end.',
    fix: 'Apply a Lease without a spec and without hooks, with the name in --lease-name.',
    reads: 'Lease',
    *find(one, { manifests, isCluster, hidden }) {
      const { leaseName } = one.options
      const place = leaseNamespaceOf(one)
      if (isCluster && !inOneNamespace(place, one.manifest))
        throw new Unknown(`the Lease is in the namespace ${place.namespace}`)
      const own = manifests.find(
        (other) => other.kind === 'Lease' && other.name === leaseName && inOneNamespace(other, place),
      )
      // A Lease that was read from a cluster has a uid.
      if (dig(own?.value, 'spec', 'holderIdentity') && dig(own?.value, 'metadata', 'uid') === undefined)
        yield { message: 'its spec has a holder', severity: 'error', of: own! }
      if (dig(own?.value, 'metadata', 'annotations', 'helm.sh/hook') !== undefined)
        yield { message: 'as a hook, it is deleted by each upgrade', severity: 'error', of: own! }
      if (own === undefined && !hidden.has('Lease')) yield `the Lease ${leaseName} does not exist`
    },
  },
  {
    code: 'lease-shared',
    about: 'Each workload has one Lease of its own. If not, only one of them serves, or all pods act.',
    fix: 'Give each LangFlow its own Lease with LEADER_LEASE_NAME, and name it in its Role.',
    *find(one, facts) {
      if (isOfPod(one.options.leaseName)) yield 'each of its pods has its own Lease, so all act'
      for (const other of othersBefore(one, facts))
        if (isSameLease(one, other))
          yield `it competes for the Lease ${one.options.leaseName} with ${titleOf(other.manifest)}`
    },
  },
  {
    code: 'agent-rights',
    about: 'The agent may use its Lease and create Events. If not, the replica never leads.',
    fix: "Bind the pods' ServiceAccount to a Role with the verb, for the Lease in --lease-name.",
    *find(one, facts) {
      // With a kubeconfig, the agent does not use its pod's account.
      if (one.options.kubeconfig !== null) return
      const rules = rulesOf(one, facts)
      for (const need of needsOf(one.options)) {
        const missing = need.verbs.filter((verb) => !rules.some((rule) => allows(rule, verb, need)))
        const object = need.name === null ? '' : ` "${need.name}"`
        const message = `its ServiceAccount/${accountOf(one)} may not ${missing.join(', ')} ${need.resource}${need.group && `.${need.group}`}${object}`
        if (missing.length > 0) yield { message, severity: need.severity }
      }
    },
  },
]

function leaseNamespaceOf({ options, manifest }: Installed): Pick<Manifest, 'namespace'> {
  return { namespace: options.leaseNamespace ?? manifest.namespace }
}

export function isSameLease(a: Installed, b: Installed): boolean {
  const isSameName = a.options.leaseName === b.options.leaseName
  return isSameName && inOneNamespace(leaseNamespaceOf(a), leaseNamespaceOf(b))
}

/** The rules of all Roles of its account. Throws `Unknown` if the input may lack some. */
function rulesOf(one: Installed, { manifests, isCluster }: Facts): unknown[] {
  const name = accountOf(one)
  const place = leaseNamespaceOf(one)
  const isOwn = (subject: unknown) => {
    const namespace = asText(dig(subject, 'namespace')) || null
    const isAccount = dig(subject, 'kind') === 'ServiceAccount' && dig(subject, 'name') === name
    const isGroup = asText(dig(subject, 'name')).startsWith('system:serviceaccounts')
    return isGroup || (isAccount && inOneNamespace({ namespace }, one.manifest))
  }
  const bindings = manifests.filter(
    (other) =>
      (other.kind === 'ClusterRoleBinding' ||
        (other.kind === 'RoleBinding' && inOneNamespace(other, place))) &&
      asList(other.value.subjects).some(isOwn),
  )
  const roles = bindings.map(({ value }) => {
    const { kind, name: role } = asFields(value.roleRef)
    return { kind, value: manifests.find((other) => other.kind === kind && other.name === role)?.value }
  })
  // ClusterRoles often come from elsewhere, and the controller manager writes the rules of an aggregated one.
  const isOpen = roles.some(({ kind, value }) =>
    value === undefined ? kind === 'ClusterRole' : 'aggregationRule' in value,
  )
  const hasAccount = manifests.some((other) => other.kind === 'ServiceAccount' && other.name === name)
  if (isOpen || (bindings.length === 0 && (isCluster || !hasAccount)))
    throw new Unknown(`the Roles of ServiceAccount/${name} are not in the input`)
  return roles.flatMap(({ value }) => asList(value?.rules))
}

function allows(rule: unknown, verb: string, { group, resource, name }: ReturnType<typeof needsOf>[number]) {
  const has = (field: string, value: string) =>
    asList(asFields(rule)[field]).some((one) => one === '*' || one === value)
  const names = asList(dig(rule, 'resourceNames'))
  const isNamed = names.length === 0 || (name !== null && names.includes(name))
  return has('verbs', verb) && has('apiGroups', group) && has('resources', resource) && isNamed
}
