import { titleOf } from './manifest.ts'
import { AGENT_PORT } from './parts.ts'
import type { Traffic } from './settings.ts'
import { podLabels, type Workload } from './workload.ts'

/** By this annotation an object is known to be there for a LangFlow only, also where Helm has changed its labels. */
export const ADDED_FOR = 'langflow-leader/injected-for'

interface Added {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string }
}

/** What the replicas need beside their pods, in the order in which it is to be applied. */
export function objectsFor(workload: Workload, traffic: Traffic): Added[] {
  const { manifest, names, ownAccount } = workload
  const metadata = (name: string) => ({
    name,
    ...(manifest.namespace === null ? {} : { namespace: manifest.namespace }),
    labels: { 'app.kubernetes.io/managed-by': 'langflow-leader' },
    annotations: { [ADDED_FOR]: titleOf(manifest) },
  })
  const account = {
    apiVersion: 'v1',
    kind: 'ServiceAccount',
    metadata: metadata(names.account),
    automountServiceAccountToken: false,
  }
  const role = {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'Role',
    metadata: metadata(names.role),
    rules: rules(names.lease, traffic),
  }
  const binding = {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'RoleBinding',
    metadata: metadata(names.role),
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: names.role },
    subjects: [
      {
        kind: 'ServiceAccount',
        name: names.account,
        ...(manifest.namespace === null ? {} : { namespace: manifest.namespace }),
      },
    ],
  }
  const lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: metadata(names.lease) }
  const members = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: metadata(names.members),
    spec: {
      clusterIP: 'None',
      publishNotReadyAddresses: true,
      selector: podLabels(workload),
      ports: [{ name: 'agent', port: AGENT_PORT, targetPort: AGENT_PORT }],
    },
  }
  return [...(ownAccount ? [account] : []), role, binding, lease, members]
}

function rules(lease: string, traffic: Traffic) {
  const leases = { apiGroups: ['coordination.k8s.io'], resources: ['leases'] }
  const pods = { apiGroups: [''], resources: ['pods'], verbs: ['get', 'list', 'patch'] }
  return [
    { ...leases, resourceNames: [lease], verbs: ['get', 'watch', 'update'] },
    { ...leases, verbs: ['create'] },
    ...(traffic === 'label' ? [pods] : []),
  ]
}
