import { ApiError, type Kind } from '../../kube/kube-errors.ts'
import { type KubeObjects, NAMESPACE, type WrittenObject } from '../../kube/kube-objects.ts'
import { connected, DEADLINE_MS } from '../api-connection.ts'
import { OperationError } from '../exit-codes.ts'
import { asText, type Manifest } from '../manifests/manifest.ts'
import type { Problem } from './rule.ts'

const CLUSTER_WIDE =
  /^(Namespace|Cluster.*|CustomResourceDefinition|.*Class|PersistentVolume|.*WebhookConfiguration)$/

/** A kind of objects. Its plural follows the rules of English, as that of all kinds of Kubernetes itself. */
export function kindOf(kind: string, apiVersion: string): Kind {
  const plural = `${kind.toLowerCase().replace(/s$/, 'se').replace(/y$/, 'ie')}s`
  const [group, version] = apiVersion.split('/')
  const resource = version === undefined ? plural : `${plural}.${group}`
  const base = `${version === undefined ? '/api' : '/apis'}/${apiVersion}`
  return { kind, resource, base, ...(CLUSTER_WIDE.test(kind) ? { isClusterWide: true } : {}) }
}

/** Lets the API server judge a write of each object, without carrying it out (`dryRun=All`). Rejects with an `OperationError`. */
export async function validate(manifests: readonly Manifest[], options: Parameters<typeof connected>[0]) {
  const problems: Problem[] = []
  const namespaces = Map.groupBy(manifests, ({ namespace }) => namespace ?? options.leaseNamespace)
  for (const [leaseNamespace, own] of namespaces)
    await connected({ ...options, leaseNamespace }, async (objects) => {
      const isNew = manifests.some(({ kind, name }) => kind === 'Namespace' && name === objects.namespace)
      if (!isNew && own.some(({ namespace }) => namespace === null)) await refuseAbsentNamespace(objects)
      for (const of of own) problems.push(...(await refusalsOf(of, objects)))
    })
  return problems
}

/** A namespace that the user may not read may exist. */
export async function refuseAbsentNamespace(objects: KubeObjects): Promise<void> {
  const { namespace } = objects
  const found = await objects.get(NAMESPACE, namespace, DEADLINE_MS).catch((error: unknown) => error)
  if (!(found instanceof ApiError)) return
  if (found.status === undefined) throw found
  if (found.status === 404)
    throw new OperationError('no_namespace', `the namespace ${namespace} does not exist: correct it with -n`)
}

async function refusalsOf(of: Manifest, objects: KubeObjects): Promise<Problem[]> {
  const kind = kindOf(of.kind, asText(of.value.apiVersion))
  const written = of.value as unknown as WrittenObject
  try {
    await objects.rehearse('create', kind, written, DEADLINE_MS).catch((error: unknown) => {
      if (!(error instanceof ApiError) || error.code !== 'already_exists') throw error
      return objects.rehearse('patch', kind, written, DEADLINE_MS)
    })
    return []
  } catch (error) {
    if (!(error instanceof ApiError) || error.status === undefined) throw error
    // The user lacks a right, or the API server lacks the kind or the namespace.
    const isUnknown = error.status === 403 || error.status === 404
    return [isUnknown ? { unknown: error.message } : { message: error.message, of }]
  }
}
