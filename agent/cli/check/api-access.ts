import { systemClock } from '../../clock.ts'
import type { Values } from '../../config/setting.ts'
import { findAccess } from '../../kube/kube-access.ts'
import { ApiError } from '../../kube/kube-errors.ts'
import { KubeObjects } from '../../kube/kube-objects.ts'
import { KubeRequests } from '../../kube/kube-requests.ts'
import { VERSION } from '../../version.ts'
import { DEADLINE_MS } from '../api-connection.ts'
import type { CLUSTER_SETTINGS } from '../cluster-settings.ts'
import { asOperationError } from '../exit-codes.ts'
import { asList, asText, dig, type Fields, type Manifest } from '../manifests/manifest.ts'
import type { Problem } from './rule.ts'

type ClusterOptions = Omit<Values<typeof CLUSTER_SETTINGS>, 'leaseName'>

/** Requests with the user's rights. All rejections are `ApiError`. */
export interface ApiConnection {
  /** In the namespace that the user names. */
  readonly objects: KubeObjects
  get(path: string): Promise<unknown>
  write(verb: 'create' | 'patch', object: Fields, path: string): Promise<unknown>
}

/** Rejects with an `OperationError`. */
export async function connected<T>(
  { kubeconfig, context, leaseNamespace }: ClusterOptions,
  run: (connection: ApiConnection) => Promise<T>,
): Promise<T> {
  try {
    const access = await findAccess({ kubeconfig: kubeconfig ?? undefined, context: context ?? undefined })
    const namespace = leaseNamespace ?? access.namespace ?? 'default'
    const options = { access, namespace, clock: systemClock, userAgent: `langflow-leader/${VERSION}` }
    const requests = new KubeRequests(options)
    const objects = new KubeObjects(options)
    try {
      return await run({
        objects,
        async get(path) {
          const about = { kind: 'API', resource: path, name: null }
          const { body } = await requests.send({ verb: 'get', about, path }, DEADLINE_MS)
          return JSON.parse(body)
        },
        async write(verb, object, path) {
          const about = { kind: asText(object.kind), resource: path, name: null }
          const call = { verb, about, path, body: JSON.stringify(object) }
          return JSON.parse((await requests.send(call, DEADLINE_MS)).body)
        },
      })
    } finally {
      requests.close()
      objects.close()
    }
  } catch (error) {
    throw asOperationError(error)
  }
}

/** Lets the API server judge a write of each object, without carrying it out (`dryRun=All`). Rejects with an `OperationError`. */
export function validate(manifests: readonly Manifest[], options: ClusterOptions): Promise<Problem[]> {
  return connected(options, async (connection) => {
    const kinds = new Map<string, Promise<readonly unknown[]>>()
    const problems: Problem[] = []
    for (const of of manifests) {
      const base = baseOf(of.value)
      if (!kinds.has(base)) kinds.set(base, resourcesOf(base, connection))
      const resource = (await kinds.get(base)!).find(
        (one) => dig(one, 'kind') === of.kind && !asText(dig(one, 'name')).includes('/'),
      )
      if (resource === undefined)
        problems.push({ unknown: `the API server has no kind ${of.kind} (${of.value.apiVersion})` })
      else problems.push(...(await refusalsOf(of, resource, connection)))
    }
    return problems
  })
}

async function refusalsOf(
  of: Manifest,
  resource: unknown,
  { write, objects }: ApiConnection,
): Promise<Problem[]> {
  const namespace = encodeURIComponent(of.namespace ?? objects.namespace)
  const scope = dig(resource, 'namespaced') ? `/namespaces/${namespace}` : ''
  const path = `${baseOf(of.value)}${scope}/${dig(resource, 'name')}`
  try {
    await write('create', of.value, `${path}?dryRun=All`).catch((error: unknown) => {
      if (!(error instanceof ApiError) || error.status !== 409) throw error
      return write('patch', of.value, `${path}/${encodeURIComponent(of.name)}?dryRun=All`)
    })
    return []
  } catch (error) {
    if (!(error instanceof ApiError) || error.status === undefined) throw error
    // The user lacks a right, or the namespace does not exist yet.
    const isUnknown = error.status === 403 || error.status === 404
    return [isUnknown ? { unknown: error.message } : { message: error.message, of }]
  }
}

async function resourcesOf(base: string, { get }: ApiConnection): Promise<readonly unknown[]> {
  try {
    return asList(dig(await get(base), 'resources'))
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return []
    throw error
  }
}

function baseOf({ apiVersion }: Fields): string {
  return `${asText(apiVersion).includes('/') ? '/apis' : '/api'}/${apiVersion}`
}
