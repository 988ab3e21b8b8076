import { asFields, asList, asText, dig, type Manifest } from '../../manifests/manifest.ts'
import { inOneNamespace } from '../../manifests/workload.ts'
import { accountOf } from '../installation.ts'
import type { ClusterFacts, Installed, Rule } from '../rule.ts'

/** The first minor version with native sidecars. */
const LEAST_MINOR = 29
/** A request that takes a quarter of the renew deadline leaves time for three retries. */
const SLOW_PART = 4

/** About the API server. */
export const SERVER_RULES: readonly Rule<ClusterFacts>[] = [
  {
    code: 'kubernetes-version',
    severity: 'error',
    about: 'Kubernetes has native sidecars (1.29 or newer)',
    *find({ version }, { installations }) {
      const [, minor] = /^1\.(\d+)$/.exec(version ?? '') ?? []
      const sidecars = installations.length === 0 || installations.some(({ agent }) => agent?.place !== 'run')
      if (minor !== undefined && Number(minor) < LEAST_MINOR && sidecars)
        yield `Kubernetes ${version} has no native sidecars, so LangFlow never starts: upgrade Kubernetes to 1.29, or start LangFlow by langflow-leader run, which needs no sidecar`
      else if (minor !== undefined) yield { detail: version! }
    },
  },
  {
    code: 'api-latency',
    severity: 'error',
    about: 'the API server answers within a quarter of the renew deadline',
    *find({ latency }, { installations }) {
      const { requests, medianMs, slowestMs } = latency
      const deadlines = installations.flatMap(({ agent }) => agent?.options?.renewDeadlineMs ?? [])
      const deadlineMs = Math.min(...deadlines, 10_000)
      const measured = `${requests} requests, median ${medianMs} ms, slowest ${slowestMs} ms`
      if (medianMs > deadlineMs / SLOW_PART)
        yield `the API server is too slow for a renew deadline of ${deadlineMs} ms (${measured}): raise --lease-duration and --renew-deadline, or make the API server faster`
      else if (slowestMs > deadlineMs / SLOW_PART)
        yield {
          warning: `some requests to the API server are too slow for a renew deadline of ${deadlineMs} ms (${measured}): if this continues, raise --lease-duration and --renew-deadline`,
        }
      else yield { detail: measured }
    },
  },
  {
    code: 'objects-visible',
    severity: 'warning',
    about: 'you may read all objects that the rules check',
    *find({ hidden }) {
      for (const [what, why] of hidden) yield { unknown: `${what}: ${why}` }
    },
  },
]

/** About the Lease. */
export const LEASE_RULES: readonly Rule<Installed>[] = [
  {
    code: 'lease-object',
    severity: 'warning',
    about: 'the Lease exists',
    sees: 'Lease',
    *find({ agent, manifest }, { manifests, cluster }) {
      const { leaseName } = agent.options
      const isHere = manifests.some(
        ({ kind, name, namespace }) =>
          kind === 'Lease' && name === leaseName && namespace === manifest.namespace,
      )
      const exists = cluster === null ? isHere : cluster.leases.get(leaseName)
      if (exists === false)
        yield `the Lease ${leaseName} does not exist${cluster === null ? ' in this stream' : ''}, so the first start waits for a lease duration: apply a Lease of that name without a spec`
    },
  },
]

/** One verb on one kind of object, as in RBAC. */
export interface Right {
  readonly verb: string
  /** '' for the core group. */
  readonly group: string
  readonly resource: string
  /** `null` for objects of any name. */
  readonly name: string | null
}

interface Need extends Pick<Rule<never>, 'code' | 'severity'>, Omit<Right, 'name'> {
  /** The feature that requires the right. */
  readonly for: string
  /** Whether the right on the Lease itself is enough. */
  readonly named: boolean
}

const LEASES = { group: 'coordination.k8s.io', resource: 'leases' } as const
const ELECTION = { ...LEASES, severity: 'error', named: true, for: 'the election' } as const
const RECREATION = 'the re-creation of a deleted Lease'

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
    for: RECREATION,
  },
  {
    code: 'agent-create-events',
    group: 'events.k8s.io',
    resource: 'events',
    severity: 'warning',
    named: false,
    verb: 'create',
    for: 'Events',
  },
]

/** Judged by the API server's answer, else by the known Roles. */
export const RIGHT_RULES: readonly Rule<Installed>[] = AGENT_NEEDS.map((need) => ({
  code: need.code,
  severity: need.severity,
  about: `the agent may ${need.verb} ${need.resource}`,
  // With a kubeconfig, the agent does not use its pod's account.
  applies: ({ agent }) => agent.options.kubeconfig === null,
  *find(one, { manifests, cluster }) {
    const right = rightOf(need, one.agent.options.leaseName)
    const name = accountOf(one)
    const { namespace } = one.manifest
    const allowed = cluster?.grants.get(grantOf(name, right)) ?? grants(manifests, { name, namespace }, right)
    if (allowed === null) yield { unknown: `the manifests bind no known Role to ServiceAccount/${name}` }
    if (allowed === false)
      yield `its ServiceAccount/${name} may not ${shown(right)}, which is required for ${need.for}: add the verb to its Role`
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

/**
 * Whether the Roles among these manifests give a ServiceAccount a right; `null` if they do not bind the account, or if a bound Role is
 * missing here. The stream may lack a ClusterRoleBinding.
 */
function grants(
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
