/** The demo's API discovery, in the format of kube-apiserver. kubectl requests it first. */
export const DISCOVERY: Readonly<Record<string, object>> = {
  // The release that test/harness/api/conformance.ts compares with.
  '/version': { major: '1', minor: '37', gitVersion: 'v1.37.0' },
  '/api': { kind: 'APIVersions', versions: ['v1'] },
  '/apis': {
    kind: 'APIGroupList',
    apiVersion: 'v1',
    groups: ['coordination.k8s.io'].map((name) => {
      const version = { groupVersion: `${name}/v1`, version: 'v1' }
      return { name, versions: [version], preferredVersion: version }
    }),
  },
  '/api/v1': resources('v1', [
    { name: 'pods', singularName: 'pod', kind: 'Pod', shortNames: ['po'], verbs: ['get', 'list', 'delete'] },
    { name: 'pods/proxy', singularName: '', kind: 'PodProxyOptions', verbs: ['get'] },
  ]),
  '/apis/coordination.k8s.io/v1': resources('coordination.k8s.io/v1', [
    {
      name: 'leases',
      singularName: 'lease',
      kind: 'Lease',
      verbs: ['create', 'get', 'list', 'patch', 'update', 'watch'],
    },
  ]),
}

interface Resource {
  readonly name: string
  readonly singularName: string
  readonly kind: string
  readonly verbs: readonly string[]
  readonly shortNames?: readonly string[]
}

function resources(groupVersion: string, served: readonly Resource[]): object {
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion,
    resources: served.map((one) => ({ ...one, namespaced: true })),
  }
}
