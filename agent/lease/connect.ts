import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { delimiter, join } from 'node:path'
import type { Clock } from '../clock.ts'
import { type KubeAccess, KubeConfigError } from '../kube/access.ts'
import type { Verb } from '../kube/errors.ts'
import { inClusterAccess } from '../kube/in-cluster.ts'
import type { ObjectsApi } from '../kube/objects.ts'
import { KubeLeaseApi } from './kube-lease-api.ts'
import type { LeaseApi } from './lease-api.ts'

export interface LeaseConnectionOptions {
  readonly name: string
  /** Default: that of the pod or the kubeconfig's context, else `default`. */
  readonly namespace?: string | undefined
  /** A path. Default: the pod's ServiceAccount, else `$KUBECONFIG`, else `~/.kube/config`. */
  readonly kubeconfig?: string | undefined
  readonly clock: Clock
  readonly userAgent: string
  /** Called for each request sent, with its HTTP status, or `timeout`, or `network`. */
  readonly onRequest?: ((verb: Verb, code: string) => void) | undefined
  readonly env?: NodeJS.ProcessEnv
  readonly serviceAccountDirectory?: string
}

export interface LeaseConnection {
  readonly api: LeaseApi
  readonly namespace: string
  /** The objects around this pod: in the namespace of whoever asks, wherever the Lease is. Whoever opens it closes it. */
  objects(): Promise<ObjectsApi>
  /** The API server's version, such as `1.37`; `null` where it says none. Rejects with `ApiError`. */
  serverVersion(): Promise<string | null>
  /** The API server's URL, for messages. */
  readonly server: string
  /** Where the credentials come from, for messages. */
  readonly source: string
}

/** Finds the API server and how to prove who we are, without asking it anything yet. Rejects with `KubeConfigError`. */
export async function connectLeaseApi(options: LeaseConnectionOptions): Promise<LeaseConnection> {
  const access = await findAccess(options)
  const namespace = options.namespace ?? access.namespace ?? 'default'
  const { name, clock, userAgent, onRequest } = options
  const common = { access, clock, userAgent, onRequest }
  return {
    api: new KubeLeaseApi({ ...common, namespace, name }),
    namespace,
    objects: async () => {
      const { KubeObjects } = await import('../kube/objects.ts')
      return new KubeObjects({ ...common, namespace: access.namespace ?? namespace })
    },
    serverVersion: async () => {
      const { askVersion } = await import('../kube/server-version.ts')
      return askVersion({ ...common, namespace })
    },
    server: access.server.origin + access.server.pathname,
    source: access.source,
  }
}

async function findAccess({
  kubeconfig,
  env = process.env,
  serviceAccountDirectory,
}: LeaseConnectionOptions): Promise<KubeAccess> {
  if (kubeconfig !== undefined) return kubeconfigAccess([kubeconfig])
  const inCluster = inClusterAccess(env, serviceAccountDirectory)
  if (inCluster !== undefined) return inCluster
  const listed = (env.KUBECONFIG ?? '').split(delimiter).filter((path) => path !== '')
  if (listed.length > 0) return kubeconfigAccess(listed)
  const usual = join(env.HOME ?? homedir(), '.kube', 'config')
  if (existsSync(usual)) return kubeconfigAccess([usual])
  throw new KubeConfigError(
    env.KUBERNETES_SERVICE_HOST
      ? 'this pod has no ServiceAccount token: mount one into this container, or give --kubeconfig'
      : `no kubeconfig: give --kubeconfig or $KUBECONFIG, since ${usual} does not exist and this is no pod`,
  )
}

/** Loaded on demand: a pod has no use for the kubeconfig's machinery and should not pay its memory. */
async function kubeconfigAccess(paths: readonly string[]): Promise<KubeAccess> {
  const { KubeconfigAccess } = await import('../kube/kubeconfig-access.ts')
  return new KubeconfigAccess(paths)
}
