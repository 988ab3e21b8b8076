import * as z from 'zod/mini'
import { systemClock } from '../clock.ts'
import { AGENT_SETTINGS } from '../config/schema.ts'
import type { Values } from '../config/setting.ts'
import { formatListen } from '../config/values.ts'
import { reasonOf } from '../errno.ts'
import { findAccess } from '../kube/kube-access.ts'
import { KubeObjects } from '../kube/kube-objects.ts'
import { type ReplicaRow, statusOf } from '../status/agent-status.ts'
import { VERSION } from '../version.ts'
import type { OPERATE_SETTINGS } from './cluster-settings.ts'
import { asOperationError, OperationError } from './exit-codes.ts'

export type ClusterOptions = Values<typeof OPERATE_SETTINGS>

/** Deadline of one request, in milliseconds: a command without an answer fails within 5 s of its start, also on a busy machine. */
export const DEADLINE_MS = 3_500

/** The objects of one namespace (of all, if it is ''). Sends no request. Rejects with a `KubeConfigError`. */
export async function connectObjects(at: Omit<ClusterOptions, 'leaseName' | 'url'>): Promise<KubeObjects> {
  const { leaseNamespace, kubeconfig, context } = at
  const access = await findAccess({ kubeconfig: kubeconfig ?? undefined, context: context ?? undefined })
  const namespace = leaseNamespace ?? access.namespace ?? 'default'
  return new KubeObjects({ access, namespace, clock: systemClock, userAgent: `langflow-leader/${VERSION}` })
}

/** Runs `use` with connections to the API server. Rejects with an `OperationError`. */
export async function connected<T>(
  options: Parameters<typeof connectObjects>[0],
  use: (objects: KubeObjects) => Promise<T>,
): Promise<T> {
  let objects: KubeObjects | undefined
  try {
    objects = await connectObjects(options)
    return await use(objects)
  } catch (error) {
    throw asOperationError(error)
  } finally {
    objects?.close()
  }
}

/**
 * The options, with those of the agent in whose container the command runs: its Lease, its credentials, and its own view of the
 * replicas, because its account may not list pods. Flags of the command go before. `isAgent`: the account may update its Lease, but not
 * patch it.
 */
export function withAgent(options: ClusterOptions, env: NodeJS.ProcessEnv) {
  const { leaseName, leaseNamespace, kubeconfig, context, url } = options
  const isInPod = Boolean(env.KUBERNETES_SERVICE_HOST && env.POD_NAME && env.POD_UID)
  if (!isInPod || kubeconfig !== null || context !== null) return { ...options, isAgent: false }
  const { host, port } = AGENT_SETTINGS.listen.parse(env.LEADER_LISTEN || AGENT_SETTINGS.listen.fallback)
  const own = new URL(`http://${formatListen({ host: host ?? '127.0.0.1', port })}`)
  return {
    leaseName: leaseName ?? (env.LEADER_LEASE_NAME || AGENT_SETTINGS.leaseName.fallback),
    leaseNamespace: leaseNamespace ?? (env.LEADER_LEASE_NAMESPACE || null),
    kubeconfig: env.LEADER_KUBECONFIG || null,
    context,
    url: url ?? (leaseName === null && leaseNamespace === null ? own : null),
    isAgent: true,
  }
}

export const NO_STATUS = "its answer is not an agent's status that this version can read"

const Rows = z.array(
  z.object({
    pod: z.string(),
    node: z.nullable(z.string()),
    status: z.unknown(),
    problem: z.nullable(z.string()),
  }),
)

/** The replicas that one agent reports. `base` may have a path, as behind `kubectl proxy`. Rejects with an `OperationError`. */
export async function replicasAt(base: URL): Promise<ReplicaRow[]> {
  const url = new URL('replicas', base.href.endsWith('/') ? base : `${base.href}/`)
  const unreachable = (why: string) => new OperationError('unreachable', `${url.href}: ${why}`)
  const signal = AbortSignal.timeout(DEADLINE_MS)
  const response = await fetch(url, { redirect: 'error', signal }).catch(({ message, cause }) => {
    throw unreachable(signal.aborted ? `no answer within ${DEADLINE_MS} ms` : reasonOf(cause ?? { message }))
  })
  const { data } = z.safeParse(Rows, await response.json().catch(() => null))
  if (data === undefined)
    throw unreachable(`status ${response.status}, but no answer of an agent: use the address of its --listen`)
  return data.map(({ pod, node, status, problem }) => {
    const read = statusOf(status)
    return { pod, node, status: read, problem: read === null ? (problem ?? NO_STATUS) : null }
  })
}
