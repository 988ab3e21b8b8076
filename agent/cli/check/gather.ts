import type { Values } from '../../config/setting.ts'
import { ApiError } from '../../kube/kube-errors.ts'
import type { KubeObjects } from '../../kube/kube-objects.ts'
import { LEASE } from '../../lease/lease-api.ts'
import { connected, DEADLINE_MS } from '../api-connection.ts'
import type { CLUSTER_SETTINGS } from '../cluster-settings.ts'
import { OperationError } from '../exit-codes.ts'
import { manifestOf } from '../manifests/manifest.ts'
import { referencesIn } from './environment.ts'
import { factsOf, mountsOf, secretsIn, volumeOf } from './facts.ts'
import type { Facts } from './rule.ts'
import { kindOf, refuseAbsentNamespace } from './validation.ts'

/** The kinds of objects that are listed for the rules, by their `apiVersion`. */
const LISTED = Object.entries({
  v1: ['Service', 'ServiceAccount', 'PersistentVolumeClaim', 'Pod'],
  'apps/v1': ['Deployment', 'StatefulSet', 'DaemonSet'],
  'autoscaling/v2': ['HorizontalPodAutoscaler'],
  'batch/v1': ['CronJob'],
  'networking.k8s.io/v1': ['NetworkPolicy'],
  'policy/v1': ['PodDisruptionBudget'],
  'rbac.authorization.k8s.io/v1': ['Role', 'RoleBinding'],
}).flatMap(([version, kinds]) => kinds.map((kind) => [version, kind] as const))

/** For an account that may read only the Lease, such as the agent's own, which `kubectl exec` uses. */
const ELSEWHERE =
  'this account may list no objects: run check on your machine with your kubeconfig, or run kubectl get deploy,sts,svc,sa,role,rolebinding,lease,netpol,pdb,pvc -o yaml | langflow-leader check -f -'

interface Query extends Omit<Values<typeof CLUSTER_SETTINGS>, 'leaseName'> {
  readonly container: string | null
}

/** Reads one namespace, with the user's rights. Rejects with an `OperationError`. */
export function gather(query: Query): Promise<Facts> {
  return connected(query, (objects) => factsIn(objects, query.container))
}

async function factsIn(objects: KubeObjects, container: string | null): Promise<Facts> {
  await refuseAbsentNamespace(objects)
  const hidden = new Map<string, string>()
  /** `undefined` if the object does not exist. `null` if the user may not read it, which is recorded in `hidden`. */
  const read = async <T>(what: string, request: Promise<T>): Promise<T | null | undefined> => {
    try {
      return await request
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === undefined) throw error
      if (error.status === 404) return undefined
      hidden.set(what, error.message)
      return null
    }
  }
  const list = async ([apiVersion, kind]: readonly [string, string]) => {
    const items = await read(kind, objects.list(kindOf(kind, apiVersion), DEADLINE_MS))
    return (items ?? []).map((item) => manifestOf({ ...item, apiVersion, kind }))
  }
  /** A Secret or ConfigMap of LangFlow or of the agents. Rules never print a value. */
  const named = async ({ title, optional }: { title: string; optional: boolean }) => {
    const [kind = '', name = ''] = title.split('/')
    const value = await read(title, objects.get(kindOf(kind, 'v1'), name, DEADLINE_MS))
    if (value === undefined && !optional) hidden.set(title, `${title} does not exist`)
    if (value === null || (value === undefined && !optional)) return []
    return [manifestOf({ ...(value ?? { metadata: { name } }), kind })]
  }
  const lease = async (name: string) => {
    const found = await read('Lease', objects.get(LEASE, name, DEADLINE_MS))
    return found ? [manifestOf({ ...found, kind: 'Lease' })] : []
  }
  const manifests = (await Promise.all(LISTED.map(list))).flat()
  // If the user sees no object at all, nothing is checked, which must not pass.
  if (LISTED.every(([, kind]) => hidden.has(kind)))
    throw new OperationError('no_rights', `${ELSEWHERE} (${hidden.get('Deployment')})`)
  const { installations } = factsOf(manifests, container)
  const leaseNames = installations.flatMap(({ agent }) =>
    agent !== null && 'options' in agent.started ? agent.started.options.leaseName : [],
  )
  const references = installations.flatMap(({ langflow, agent, pod }) => [
    // They may contain a token. Variables come last, because they decide whether a Secret is optional.
    ...mountsOf(langflow)
      .flatMap(({ volume }) => secretsIn(volumeOf(pod, volume)))
      .map((name) => ({ title: `Secret/${name}`, optional: true })),
    ...[langflow, agent?.container ?? {}].flatMap(referencesIn),
  ])
  const unique = new Map(references.map((one) => [one.title, one]))
  const others = [...[...unique.values()].map(named), ...[...new Set(leaseNames)].map(lease)]
  const all = [...manifests, ...(await Promise.all(others)).flat()]
  return { ...factsOf(all, container, hidden), isCluster: true, refusals: [] }
}
