import { AGENT_SETTINGS } from '../config/agent-settings.ts'
import { listed, shortDuration } from '../config/values.ts'
import { ApiError } from '../kube/kube-errors.ts'
import { type KubeObject, type KubeObjects, NAMESPACE, POD } from '../kube/kube-objects.ts'
import { epochOf, holderOf, type Lease } from '../lease/lease.ts'
import { LEASE } from '../lease/lease-api.ts'
import { podOf } from '../lease/operator-annotations.ts'
import { type ClusterOptions, connectObjects, DEADLINE_MS } from './api-connection.ts'
import { asOperationError, OperationError } from './exit-codes.ts'
import { agentOf } from './manifests/agent-container.ts'
import { table } from './output.ts'

type Listing = Pick<KubeObjects, 'namespace' | 'list'>

const NAMESPACE_MS = 900

/** The name of the namespace's only Lease of this product. Rejects with an `OperationError` or an `ApiError`. */
export async function findLease(objects: Listing & Pick<KubeObjects, 'get'>): Promise<string> {
  const [name, ...others] = await namesIn(objects)
  const where = `namespace "${objects.namespace}"`
  if (name === undefined)
    throw await absentLease(
      objects,
      `${where} has no Lease of langflow-leader: set the namespace with -n, or list all with langflow-leader status -A`,
    )
  if (others.length === 0) return name
  throw new OperationError(
    'several_leases',
    `${where} has ${others.length + 1} Leases of langflow-leader, ${listed([name, ...others])}: choose one with --lease-name`,
  )
}

/** The error for a Lease that was not found. Its namespace may not exist either, if the user may read that. */
export async function absentLease(
  objects: Pick<KubeObjects, 'namespace' | 'get'>,
  sentence: string,
): Promise<OperationError> {
  const { namespace } = objects
  const refusal = await objects.get(NAMESPACE, namespace, NAMESPACE_MS).catch((error: unknown) => error)
  if (refusal instanceof ApiError && refusal.code === 'not_found')
    return new OperationError(
      'no_namespace',
      `the namespace "${namespace}" does not exist: correct it with -n`,
    )
  return new OperationError('no_lease', sentence)
}

/** The names of this product's Leases, sorted, as far as the user's rights show them. */
export async function namesIn(objects: Listing): Promise<string[]> {
  const leases = await allowed(() => productLeases(objects))
  if (leases !== null) return leases.map(({ metadata: { name = '' } }) => name).sort()
  // The Role of deploy/ for operators allows only its one Lease, because other Leases contain keys of fronts. The pods name it.
  const pods = (await allowed(() => objects.list(POD, DEADLINE_MS))) ?? []
  const named = new Set(pods.flatMap((pod) => agentOf(pod)?.leaseName ?? []))
  return named.size > 0 ? [...named].sort() : [AGENT_SETTINGS.leaseName.fallback]
}

async function allowed<T>(read: () => Promise<T>): Promise<T | null> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof ApiError && error.code === 'forbidden') return null
    throw error
  }
}

/** The Leases that an agent or `inject` has annotated, and those with the default name. Rejects with an `ApiError`. */
async function productLeases(objects: Listing): Promise<Lease[]> {
  const isOurs = ({ metadata: { name, annotations } }: KubeObject) =>
    name === AGENT_SETTINGS.leaseName.fallback ||
    Object.keys(annotations ?? {}).some((key) => key.startsWith('langflow-leader/'))
  return (await objects.list(LEASE, DEADLINE_MS)).filter(isOurs) as unknown as Lease[]
}

type LeaseRow = ReturnType<typeof leaseRow>

/** The Leases of all namespaces, as `status -A` prints them. Rejects with an `OperationError`. */
export async function leasesEverywhere(options: ClusterOptions): Promise<LeaseRow[]> {
  let objects: KubeObjects | undefined
  try {
    objects = await connectObjects({ ...options, leaseNamespace: '' })
    return (await productLeases(objects)).map(leaseRow)
  } catch (error) {
    throw asOperationError(error)
  } finally {
    objects?.close()
  }
}

/** Times are RFC 3339, by the holder's clock. A Lease that was never held has none. */
function leaseRow(lease: Lease) {
  const { namespace = '', name = '' } = lease.metadata
  const { acquireTime = null, renewTime: renewed = null } = lease.spec ?? {}
  const holder = holderOf(lease) || null
  return { namespace, name, holder, epoch: epochOf(lease), since: holder && acquireTime, renewed }
}

/** The Leases as a table. Its times are estimates: other clocks wrote them. @param wallMs now, by the wall clock */
export function leasesTable(rows: readonly LeaseRow[], wallMs: number): string {
  if (rows.length === 0) return 'The cluster has no Lease of langflow-leader.\n'
  const ago = (time: string | null) => shortDuration(time === null ? null : wallMs - Date.parse(time))
  const cells = rows.map(({ namespace, name, holder, epoch, since, renewed }) => [
    ...[namespace, name, holder === null ? '-' : podOf(holder), String(epoch), ago(since)],
    renewed === null ? 'never' : `${ago(renewed)} ago`,
  ])
  return `${table(['NAMESPACE', 'LEASE', 'LEADER', 'EPOCH', 'LEADS FOR', 'RENEWED'], cells)}\n`
}
