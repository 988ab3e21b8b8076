import { existsSync, readFileSync } from 'node:fs'
import { isIPv6 } from 'node:net'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { ConnectionOptions } from 'node:tls'
import { FatalError } from '../exit.ts'
import { fileSignature } from '../file-signature.ts'

const SERVICE_ACCOUNT_DIRECTORY = '/var/run/secrets/kubernetes.io/serviceaccount'

/** A kubeconfig, or a pod's ServiceAccount, cannot be used. The message is one sentence with the required change. */
export class KubeConfigError extends FatalError {
  override readonly name = 'KubeConfigError'
}

/** The credentials and the address of one request. They contain secrets and must never be logged. */
export interface KubeCredentials {
  /** May have a base path. It is http only if a kubeconfig specifies http. */
  readonly server: URL
  readonly headers: Readonly<Record<string, string>>
  readonly tls: Pick<ConnectionOptions, 'ca' | 'cert' | 'key' | 'servername' | 'rejectUnauthorized'>
  readonly proxy: string | undefined
}

export interface KubeAccess {
  readonly source: string
  readonly server: URL
  readonly namespace: string | undefined
  /** Called before each request, since files may change. Rejects with `KubeConfigError`. */
  credentials(): Promise<KubeCredentials>
  reload(): void
}

export interface KubeAccessOptions {
  /** A path. Default: the pod's ServiceAccount, else `$KUBECONFIG`, else `~/.kube/config`. */
  readonly kubeconfig?: string | undefined
  /** A context of the kubeconfig, so that a pod's ServiceAccount does not count. Default: the current one. */
  readonly context?: string | undefined
  readonly env?: NodeJS.ProcessEnv
  readonly serviceAccountDirectory?: string
}

export async function findAccess({
  kubeconfig,
  context,
  env = process.env,
  serviceAccountDirectory = SERVICE_ACCOUNT_DIRECTORY,
}: KubeAccessOptions): Promise<KubeAccess> {
  // Loaded on demand: a pod does not use a kubeconfig, and does not pay for its memory.
  const from = async (paths: readonly string[]) =>
    (await import('./kubeconfig.ts')).kubeconfigAccess(paths, context)
  if (kubeconfig !== undefined) return from([kubeconfig])
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = env
  if (context === undefined && host && port && existsSync(join(serviceAccountDirectory, 'token')))
    return inClusterAccess(host, port, serviceAccountDirectory)
  const listed = (env.KUBECONFIG ?? '').split(delimiter).filter((path) => path !== '')
  if (listed.length > 0) return from(listed)
  const usual = join(env.HOME ?? homedir(), '.kube', 'config')
  // A file that this user may not look for is not missing: reading it reports the reason.
  if (!['ENOENT', 'ENOTDIR'].includes(fileSignature(usual))) return from([usual])
  throw new KubeConfigError(
    host
      ? 'this pod has no ServiceAccount token: mount one into this container, or set --kubeconfig'
      : `no kubeconfig: ${usual} does not exist, and this process does not run in a pod; set --kubeconfig or $KUBECONFIG`,
  )
}

/** The mounted files are small and in memory, so they are read for every request: a rotated one counts immediately. */
function inClusterAccess(host: string, port: string, directory: string): KubeAccess {
  const server = new URL(`https://${isIPv6(host) ? `[${host}]` : host}:${port}`)
  const mounted = (file: 'token' | 'ca.crt' | 'namespace'): string => {
    const path = join(directory, file)
    const advice = 'mount the ServiceAccount token into this container'
    try {
      return readFileSync(path, 'utf8').trim()
    } catch (cause) {
      throw new KubeConfigError(`cannot read ${path}: ${advice}`, { cause })
    }
  }
  return {
    source: `the ServiceAccount token in ${directory}`,
    server,
    namespace: existsSync(join(directory, 'namespace')) ? mounted('namespace') : undefined,
    credentials: async () => ({
      server,
      headers: { authorization: `Bearer ${mounted('token')}` },
      tls: { ca: mounted('ca.crt') },
      proxy: undefined,
    }),
    reload: () => {},
  }
}
