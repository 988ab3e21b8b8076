import { findAccess, type KubeAccessOptions } from '../kube/access.ts'
import { KubeObjects, type ObjectsApi } from '../kube/objects.ts'
import { askVersion, type KubeRequestsOptions } from '../kube/requests.ts'
import { KubeLeaseApi } from './kube-lease-api.ts'
import type { LeaseApi } from './lease-api.ts'

export interface LeaseConnectionOptions
  extends KubeAccessOptions,
    Pick<KubeRequestsOptions, 'clock' | 'userAgent' | 'onRequest'> {
  readonly name: string
  /** Default: that of the pod or the kubeconfig's context, else `default`. */
  readonly namespace?: string | undefined
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
    objects: async () => new KubeObjects({ ...common, namespace: access.namespace ?? namespace }),
    serverVersion: () => askVersion({ ...common, namespace }),
    server: access.server.origin + access.server.pathname,
    source: access.source,
  }
}
