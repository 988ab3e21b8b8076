import { existsSync, readFileSync } from 'node:fs'
import { isIPv6 } from 'node:net'
import { join } from 'node:path'
import { type KubeAccess, KubeConfigError, type KubeCredentials } from './access.ts'

/** Where the kubelet mounts the ServiceAccount's token, CA and namespace. */
export const SERVICE_ACCOUNT_DIR = '/var/run/secrets/kubernetes.io/serviceaccount'

/**
 * Access by the pod's own ServiceAccount; `undefined` outside of a pod, and in a pod without a token. The mounted
 * files are small and in memory, so they are read for every request: a rotated token or CA counts at once.
 */
export function inClusterAccess(
  env: NodeJS.ProcessEnv = process.env,
  directory = SERVICE_ACCOUNT_DIR,
): KubeAccess | undefined {
  const host = env.KUBERNETES_SERVICE_HOST
  const port = env.KUBERNETES_SERVICE_PORT
  if (!host || !port || !existsSync(join(directory, 'token'))) return undefined
  const server = new URL(`https://${isIPv6(host) ? `[${host}]` : host}:${port}`)

  const credentials = async (): Promise<KubeCredentials> => ({
    server,
    headers: { authorization: `Bearer ${mounted(directory, 'token')}` },
    tls: { ca: mounted(directory, 'ca.crt') },
    proxy: undefined,
  })
  return {
    source: `the ServiceAccount token in ${directory}`,
    server,
    namespace: existsSync(join(directory, 'namespace')) ? mounted(directory, 'namespace') : undefined,
    credentials,
    reload: () => {},
  }
}

function mounted(directory: string, file: 'token' | 'ca.crt' | 'namespace'): string {
  const path = join(directory, file)
  try {
    const text = readFileSync(path, 'utf8').trim()
    if (text !== '') return text
  } catch (cause) {
    throw new KubeConfigError(`cannot read ${path}: mount the ServiceAccount token into this container`, {
      cause,
    })
  }
  throw new KubeConfigError(`${path} is empty: mount the ServiceAccount token into this container`)
}
