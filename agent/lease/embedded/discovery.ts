import type { ApiRequest } from './request.ts'
import { GROUP } from './status.ts'

const groupVersion = { groupVersion: `${GROUP}/v1`, version: 'v1' }
const group = { name: GROUP, versions: [groupVersion], preferredVersion: groupVersion }

const documents: Record<string, unknown> = {
  '/api': { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] },
  '/api/v1': { kind: 'APIResourceList', groupVersion: 'v1', resources: [] },
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

const HEALTH = ['/healthz', '/livez', '/readyz']

/** What kubectl asks before it touches a Lease, and the health routes; `undefined` for any other path. */
export function discover(request: ApiRequest): { text: string } | { json: unknown } | undefined {
  const path = request.path.replace(/(?<=.)\/$/, '')
  if (HEALTH.includes(path)) return { text: 'ok' }
  return Object.hasOwn(documents, path) ? { json: documents[path] } : undefined
}
