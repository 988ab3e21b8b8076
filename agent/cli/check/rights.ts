import { asFields, asList, asText, dig, type Manifest } from '../manifests/manifest.ts'
import { inOneNamespace } from '../manifests/workload.ts'
import type { Severity } from './rule.ts'

/** One verb on one kind of object, as RBAC knows it. */
export interface Right {
  readonly verb: string
  /** '': the core group. */
  readonly group: string
  /** With its subresource, such as `pods/proxy`. */
  readonly resource: string
  /** `null`: any, or none yet. */
  readonly name: string | null
}

interface Need {
  readonly severity: Severity
  /** What does not work without it. */
  readonly for: string
  readonly verb: string
  readonly group: string
  readonly resource: string
  /** Whether one object is enough, whose name is that of the Lease. */
  readonly named: boolean
}

const LEASE = { group: 'coordination.k8s.io', resource: 'leases', named: true } as const
const PODS = { group: '', resource: 'pods', named: false } as const
const EVENTS = { group: 'events.k8s.io', resource: 'events', named: false } as const

/** Of whoever asks. */
export const OPERATOR_NEEDS = {
  'operator-get-lease': { ...LEASE, severity: 'warning', verb: 'get', for: 'status and history' },
  'operator-list-pods': { ...PODS, severity: 'warning', verb: 'list', for: 'status' },
  'operator-proxy-pods': {
    ...PODS,
    severity: 'warning',
    resource: 'pods/proxy',
    verb: 'get',
    for: 'status, which reads each agent’s /status',
  },
  'operator-patch-lease': {
    ...LEASE,
    severity: 'warning',
    verb: 'patch',
    for: 'switchover, pause and resume',
  },
} as const satisfies Record<string, Need>

/** Of the account that the agent has. */
export const AGENT_NEEDS = {
  'agent-get-lease': { ...LEASE, severity: 'error', verb: 'get', for: 'the election' },
  'agent-watch-lease': { ...LEASE, severity: 'error', verb: 'watch', for: 'the election' },
  'agent-update-lease': { ...LEASE, severity: 'error', verb: 'update', for: 'the election' },
  'agent-create-lease': {
    ...LEASE,
    named: false,
    severity: 'warning',
    verb: 'create',
    for: 'a Lease that somebody deletes: it has to be applied again by hand',
  },
  'agent-create-events': { ...EVENTS, severity: 'warning', verb: 'create', for: 'Events' },
  'agent-patch-events': { ...EVENTS, severity: 'warning', verb: 'patch', for: 'Events that repeat' },
} as const satisfies Record<string, Need>

/** What somebody needs who operates a Lease, or whose agent competes for it. */
export function rightOf({ verb, group, resource, named }: Need, leaseName: string): Right {
  return { verb, group, resource, name: named ? leaseName : null }
}

/** `update leases.coordination.k8s.io "flows-leader"` */
export function shown({ verb, group, resource, name }: Right): string {
  return `${verb} ${resource}${group === '' ? '' : `.${group}`}${name === null ? '' : ` "${name}"`}`
}

export function sameRight(a: Right, b: Right): boolean {
  return a.verb === b.verb && a.group === b.group && a.resource === b.resource && a.name === b.name
}

/**
 * Whether Roles among these manifests give a ServiceAccount a right; `null`: they do not bind it, or bind it to what is not
 * here. What a ClusterRoleBinding elsewhere gives is not seen.
 */
export function grants(
  manifests: readonly Manifest[],
  account: { readonly name: string; readonly namespace: string | null },
  right: Right,
): boolean | null {
  const bindings = manifests.filter(
    (one) =>
      (one.kind === 'ClusterRoleBinding' || (one.kind === 'RoleBinding' && inOneNamespace(one, account))) &&
      asList(one.value.subjects).some(
        (subject) =>
          dig(subject, 'kind') === 'ServiceAccount' &&
          dig(subject, 'name') === account.name &&
          inOneNamespace({ namespace: asText(dig(subject, 'namespace')) || null }, account),
      ),
  )
  const roles = bindings.map(({ value, namespace }) =>
    manifests.find(
      (one) =>
        one.kind === dig(value, 'roleRef', 'kind') &&
        one.name === dig(value, 'roleRef', 'name') &&
        (one.kind === 'ClusterRole' || inOneNamespace(one, { namespace })),
    ),
  )
  if (roles.some((role) => asList(role?.value.rules).some((rule) => allows(rule, right)))) return true
  return roles.length === 0 || roles.includes(undefined) ? null : false
}

function allows(rule: unknown, { verb, group, resource, name }: Right): boolean {
  const has = (field: string, wanted: string) =>
    asList(asFields(rule)[field]).some((one) => one === '*' || one === wanted)
  const names = asList(dig(rule, 'resourceNames'))
  return (
    has('verbs', verb) &&
    has('apiGroups', group) &&
    has('resources', resource) &&
    (names.length === 0 || (name !== null && names.includes(name)))
  )
}
