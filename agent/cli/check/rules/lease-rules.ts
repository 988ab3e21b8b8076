import { dig, type Manifest } from '../../manifests/manifest.ts'
import { inOneNamespace } from '../../manifests/workload.ts'
import { placeOf } from '../installation.ts'
import { type Installed, isInstalled, type Rule, Unseen } from '../rule.ts'

/** About the Lease. */
export const LEASE_RULES: readonly Rule<Installed>[] = [
  {
    code: 'lease-object',
    severity: 'warning',
    about: 'the Lease exists',
    breaks:
      'The first start waits for a lease duration. If a Lease of another name was made for these pods, a Role or a command that names it does not work.',
    fix: "Apply a Lease without a spec, with the name in the agent's --lease-name.",
    sees: 'Lease',
    *find(one, { manifests, all, cluster }) {
      const { leaseName } = one.agent.options
      if (cluster !== null && !inOneNamespace(leaseNamespaceOf(one), one.manifest))
        throw new Unseen(`the Lease is in the namespace ${one.agent.options.leaseNamespace}`)
      const leases = manifests.filter(
        ({ kind, namespace }) => kind === 'Lease' && inOneNamespace({ namespace }, leaseNamespaceOf(one)),
      )
      const exists =
        cluster === null ? leases.some(({ name }) => name === leaseName) : cluster.leases.get(leaseName)
      const own = leases.find(({ name }) => name === leaseName)
      // A Lease that was read from a cluster has a uid.
      if (dig(own?.value, 'spec', 'holderIdentity') && dig(own?.value, 'metadata', 'uid') === undefined)
        yield {
          error: `the Lease ${leaseName} has a spec with a holder, so each time it is applied, the leader loses the Lease and LangFlow stops: remove its spec`,
        }
      if (exists !== false) return
      const used = new Set(all.filter(isInstalled).map((other) => other.agent.options.leaseName))
      const unused = leases.find((lease) => !used.has(lease.name) && isMeantFor(lease, one, manifests))
      if (unused !== undefined)
        yield {
          error: `its agents compete for the Lease ${leaseName}, but the Lease in this stream is ${unused.name}: set LEADER_LEASE_NAME to ${unused.name}, or rename the Lease`,
        }
      else
        yield `the Lease ${leaseName} does not exist${cluster === null ? ' in this stream' : ''}, so the first start waits for a lease duration: apply a Lease of that name without a spec`
    },
  },
  {
    code: 'lease-shared',
    severity: 'error',
    about: 'no other workload competes for its Lease',
    breaks: 'Only one of all these pods ever serves. The other workload never does, and both may take turns.',
    fix: 'Give each LangFlow its own Lease with LEADER_LEASE_NAME, and name it in its Role.',
    *find(one, { all }) {
      for (const other of all.slice(0, all.indexOf(one))) {
        if (!isInstalled(other) || !isSameLease(one, other)) continue
        yield `it competes for the Lease ${one.agent.options.leaseName} with ${placeOf(other)}, so only one of the two ever serves: set another LEADER_LEASE_NAME, with a Role and a database of its own`
      }
    },
  },
]

/** The namespace of its Lease, as a part of an object. */
export function leaseNamespaceOf({ agent, manifest }: Installed): Pick<Manifest, 'namespace'> {
  return { namespace: agent.options.leaseNamespace ?? manifest.namespace }
}

export function isSameLease(a: Installed, b: Installed): boolean {
  return (
    a.agent.options.leaseName === b.agent.options.leaseName &&
    inOneNamespace(leaseNamespaceOf(a), leaseNamespaceOf(b))
  )
}

/** Whether a Lease of another name seems to be for these pods, and not for another program. */
function isMeantFor({ name }: Manifest, { manifest }: Installed, manifests: readonly Manifest[]): boolean {
  const isInRole = manifests.some(
    ({ kind, value }) => kind === 'Role' && JSON.stringify(value.rules ?? []).includes(JSON.stringify(name)),
  )
  return isInRole || name.includes(manifest.name) || name.includes('langflow')
}
