import { type Call, KubeRequests, type KubeRequestsOptions } from './requests.ts'

const DEADLINE_MS = 5_000

/** Major and minor version of the API server, such as `1.37`; `null` where it says none. Rejects with `ApiError`. */
export async function askVersion(options: KubeRequestsOptions): Promise<string | null> {
  const requests = new KubeRequests(options, () => {})
  const about = { kind: 'version', resource: 'version', name: null }
  const call: Call = { verb: 'get', about, method: 'GET', path: '/version' }
  try {
    return versionIn((await requests.send(call, DEADLINE_MS)).body)
  } finally {
    requests.close()
  }
}

/** Providers write things such as `28+`. */
function versionIn(body: string): string | null {
  const [, major] = /"major":\s*"(\d+)/.exec(body) ?? []
  const [, minor] = /"minor":\s*"(\d+)/.exec(body) ?? []
  return major === undefined || minor === undefined ? null : `${major}.${minor}`
}
