import { titleOf } from '../manifests/manifest.ts'
import { podLabels, type Workload } from '../manifests/workload.ts'
import type { InjectOptions } from './inject-settings.ts'

/** By this annotation an object is known to be there for a LangFlow only, also where Helm has changed its labels. */
export const ADDED_FOR = 'langflow-leader/injected-for'

/** What the replicas need beside their pods, in the order in which it is to be applied. */
export function objectsFor(
  { manifest, names, ownAccount, ...workload }: Workload,
  { port }: Pick<InjectOptions, 'port'>,
) {
  const namespace = manifest.namespace === null ? {} : { namespace: manifest.namespace }
  const object = (apiVersion: string, kind: string, name: string, more: object = {}) => ({
    apiVersion,
    kind,
    metadata: {
      name,
      ...namespace,
      labels: { 'app.kubernetes.io/managed-by': 'langflow-leader' },
      annotations: { [ADDED_FOR]: titleOf(manifest) },
    },
    ...more,
  })
  const account = object('v1', 'ServiceAccount', names.account, { automountServiceAccountToken: false })
  return [
    ...(ownAccount ? [account] : []),
    object('rbac.authorization.k8s.io/v1', 'Role', names.role, { rules: rules(names.lease) }),
    object('rbac.authorization.k8s.io/v1', 'RoleBinding', names.role, {
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: names.role },
      subjects: [{ kind: 'ServiceAccount', name: names.account, ...namespace }],
    }),
    object('coordination.k8s.io/v1', 'Lease', names.lease),
    object('v1', 'Service', names.members, {
      spec: {
        clusterIP: 'None',
        publishNotReadyAddresses: true,
        selector: podLabels(workload),
        ports: [{ name: 'agent', port, targetPort: port }],
      },
    }),
  ]
}

function rules(lease: string) {
  const leases = { apiGroups: ['coordination.k8s.io'], resources: ['leases'] }
  return [
    { ...leases, resourceNames: [lease], verbs: ['get', 'watch', 'update'] },
    { ...leases, verbs: ['create'] },
    { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create', 'patch'] },
  ]
}
