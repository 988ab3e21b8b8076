import type { ApiRequest } from './request.ts'
import { GROUP } from './status.ts'

const groupVersion = { groupVersion: `${GROUP}/v1`, version: 'v1' }
const group = { name: GROUP, versions: [groupVersion], preferredVersion: groupVersion }

const documents: Record<string, unknown> = {
  '/api': { kind: 'APIVersions', versions: [], serverAddressByClientCIDRs: [] },
  '/apis': { kind: 'APIGroupList', apiVersion: 'v1', groups: [group] },
  [`/apis/${GROUP}`]: { kind: 'APIGroup', apiVersion: 'v1', ...group },
  [`/apis/${GROUP}/v1`]: {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: `${GROUP}/v1`,
    resources: [
      {
        name: 'leases',
        singularName: 'lease',
        namespaced: true,
        kind: 'Lease',
        verbs: ['create', 'delete', 'get', 'list', 'patch', 'update', 'watch'],
      },
    ],
  },
  '/version': { major: '1', minor: '37', gitVersion: 'v1.37.0-embedded', platform: 'embedded' },
}

const NAMESPACE = /^\/api\/v1\/namespaces\/([^/]+)$/
const HEALTH = ['/healthz', '/livez', '/readyz']

/** What kubectl asks around a Lease, and the health routes; `undefined` for any other path. */
export function discover(request: ApiRequest): { text: string } | { json: unknown } | undefined {
  const path = request.path.replace(/(?<=.)\/$/, '')
  if (HEALTH.includes(path)) return { text: 'ok' }
  // kubectl asks for it where a Lease is not found, to say which of the two is missing.
  const namespace = NAMESPACE.exec(path)?.[1]
  if (namespace) return { json: { kind: 'Namespace', apiVersion: 'v1', metadata: { name: namespace } } }
  return Object.hasOwn(documents, path) ? { json: documents[path] } : undefined
}
