import type { Values } from '../../config/setting.ts'
import { ApiError, type Kind } from '../../kube/kube-errors.ts'
import type { KubeObjects } from '../../kube/kube-objects.ts'
import { LEASE } from '../../lease/lease-api.ts'
import { connectObjects, DEADLINE_MS } from '../api-connection.ts'
import type { CLUSTER_SETTINGS } from '../cluster-settings.ts'
import { asOperationError, OperationError } from '../exit-codes.ts'
import { type Manifest, manifestOf } from '../manifests/manifest.ts'
import { referencesIn } from './environment.ts'
import { factsOf, leaseNameOf } from './facts.ts'
import type { Facts, Installation } from './rule.ts'
import { kindOf, refuseAbsentNamespace } from './validation.ts'

/** The kinds of objects that are listed for the rules, by their `apiVersion`. */
const LISTED: Readonly<Record<string, readonly string[]>> = {
  v1: ['Service', 'ServiceAccount', 'PersistentVolumeClaim', 'Pod'],
  'apps/v1': ['Deployment', 'StatefulSet', 'DaemonSet'],
  'autoscaling/v2': ['HorizontalPodAutoscaler'],
  'batch/v1': ['CronJob'],
  'networking.k8s.io/v1': ['NetworkPolicy'],
  'policy/v1': ['PodDisruptionBudget'],
  'rbac.authorization.k8s.io/v1': ['Role', 'RoleBinding'],
}

/** For an account that may read only the Lease, such as the agent's own, which `kubectl exec` uses. */
const ELSEWHERE =
  'run check on your machine with your kubeconfig, or run kubectl get deploy,sts,svc,sa,role,rolebinding,lease,netpol,pdb,pvc -o yaml | langflow-leader check -f -'

interface Query extends Omit<Values<typeof CLUSTER_SETTINGS>, 'leaseName'> {
  readonly container: string | null
}

/** Reads one namespace, with the user's rights. Rejects with an `OperationError`. */
export async function gather(query: Query): Promise<Facts> {
  let objects: KubeObjects | undefined
  try {
    objects = await connectObjects(query)
    return await new Inquiry(objects, query.container).facts()
  } catch (error) {
    throw asOperationError(error)
  } finally {
    objects?.close()
  }
}

class Inquiry {
  private readonly objects: KubeObjects
  private readonly container: string | null
  private readonly hidden = new Map<string, string>()

  constructor(objects: KubeObjects, container: string | null) {
    this.objects = objects
    this.container = container
  }

  async facts(): Promise<Facts> {
    const { container } = this
    await refuseAbsentNamespace(this.objects)
    const kinds = Object.entries(LISTED).flatMap(([version, kinds]) =>
      kinds.map((kind) => kindOf(kind, version)),
    )
    const manifests = (await Promise.all(kinds.map((kind) => this.list(kind)))).flat()
    // If the user sees no object at all, nothing is checked, which must not pass.
    if (kinds.every(({ kind }) => this.hidden.has(kind)))
      throw new OperationError('no_rights', `${this.hidden.get('Deployment')}: ${ELSEWHERE}`)
    const { installations } = factsOf(manifests, container)
    const leaseNames = new Set(installations.flatMap((one) => leaseNameOf(one) ?? []))
    const leases = await Promise.all([...leaseNames].map((name) => this.lease(name)))
    const named = [...(await this.named(installations)), ...leases.flat()]
    return { ...factsOf([...manifests, ...named], container, this.hidden), isCluster: true, refusals: [] }
  }

  private async lease(name: string): Promise<Manifest[]> {
    const found = await this.read('Lease', () => this.objects.get(LEASE, name, DEADLINE_MS))
    return found ? [manifestOf({ ...found, kind: 'Lease' })] : []
  }

  /** The objects of one kind. Empty if the user may not list them, which is recorded in `hidden`. */
  private async list(kind: Kind): Promise<Manifest[]> {
    const items = await this.read(kind.kind, () => this.objects.list(kind, DEADLINE_MS))
    const apiVersion = kind.base.replace(/^\/apis?\//, '')
    return (items ?? []).map((item) => manifestOf({ ...item, apiVersion, kind: kind.kind }))
  }

  /** The Secrets and ConfigMaps of LangFlow's and the agents' variables. Rules never print a value. */
  private async named(installations: readonly Installation[]): Promise<Manifest[]> {
    const references = installations.flatMap(({ langflow, agent }) => [
      ...referencesIn(langflow),
      ...referencesIn(agent?.container ?? {}),
    ])
    const unique = new Map(references.map((one) => [one.title, one]))
    const found = await Promise.all(
      [...unique].map(async ([title, { optional }]) => {
        const [kind = '', name = ''] = title.split('/')
        const value = await this.read(title, () => this.objects.get(kindOf(kind, 'v1'), name, DEADLINE_MS))
        if (value === undefined && !optional) this.hidden.set(title, `${title} does not exist`)
        if (value === null || (value === undefined && !optional)) return []
        return [manifestOf({ ...(value ?? { metadata: { name } }), kind })]
      }),
    )
    return found.flat()
  }

  /** `undefined` if the object does not exist. `null` if the user may not read it, which is recorded in `hidden`. */
  private async read<T>(what: string, request: () => Promise<T>): Promise<T | null | undefined> {
    try {
      return await request()
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === undefined) throw error
      if (error.status === 404) return undefined
      this.hidden.set(what, error.message)
      return null
    }
  }
}
