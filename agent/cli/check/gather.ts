import { systemClock } from '../../clock.ts'
import { AGENT_SETTINGS } from '../../config/agent-settings.ts'
import type { Values } from '../../config/setting.ts'
import { ApiError } from '../../kube/kube-errors.ts'
import { type Kind, type KubeObjects, NAMESPACE } from '../../kube/kube-objects.ts'
import { LEASE } from '../../lease/lease-api.ts'
import { DEADLINE_MS } from '../api-connection.ts'
import type { CLUSTER_SETTINGS } from '../cluster-settings.ts'
import { OperationError } from '../exit-codes.ts'
import { dig, type Manifest, manifestOf } from '../manifests/manifest.ts'
import { type ApiConnection, connected } from './api-access.ts'
import { referencesIn } from './environment.ts'
import { accountOf, factsOf, leaseNameOf } from './facts.ts'
import type { ClusterFacts, Facts, Installation } from './rule.ts'
import { grantOf, type Right, rightsFor } from './rules/lease-rules.ts'

/** Enough requests for a median, within about half a second on a usual connection. */
const LATENCY_REQUESTS = 20

/** Plural and `apiVersion` of the objects that are listed for the rules. */
const LISTED: Readonly<Record<string, readonly [plural: string, apiVersion: string]>> = {
  Deployment: ['deployments', 'apps/v1'],
  StatefulSet: ['statefulsets', 'apps/v1'],
  Rollout: ['rollouts', 'argoproj.io/v1alpha1'],
  Service: ['services', 'v1'],
  ServiceAccount: ['serviceaccounts', 'v1'],
  PersistentVolumeClaim: ['persistentvolumeclaims', 'v1'],
  NetworkPolicy: ['networkpolicies', 'networking.k8s.io/v1'],
  PodDisruptionBudget: ['poddisruptionbudgets', 'policy/v1'],
  DaemonSet: ['daemonsets', 'apps/v1'],
  CronJob: ['cronjobs', 'batch/v1'],
  Pod: ['pods', 'v1'],
  HorizontalPodAutoscaler: ['horizontalpodautoscalers', 'autoscaling/v2'],
  VerticalPodAutoscaler: ['verticalpodautoscalers', 'autoscaling.k8s.io/v1'],
  ScaledObject: ['scaledobjects', 'keda.sh/v1alpha1'],
  Role: ['roles', 'rbac.authorization.k8s.io/v1'],
  RoleBinding: ['rolebindings', 'rbac.authorization.k8s.io/v1'],
}

/** For an account that may read only the Lease, such as the agent's own, which `kubectl exec` uses. */
const ELSEWHERE =
  'run check on your machine with your kubeconfig, or run kubectl get deploy,sts,svc,sa,role,rolebinding,lease,netpol,pdb,pvc -o yaml | langflow-leader check -f -'

interface Query extends Values<typeof CLUSTER_SETTINGS> {
  /** LangFlow's container; `null` to find it by its name, image or command. */
  readonly container: string | null
}

/** Reads one namespace and measures its API server, with the user's rights. Rejects with an `OperationError`. */
export function gather(query: Query): Promise<Facts> {
  return connected(query, (connection) => new Inquiry(query, connection).facts())
}

class Inquiry {
  private readonly query: Query
  private readonly connection: ApiConnection
  private readonly objects: KubeObjects
  private readonly hidden = new Map<string, string>()

  constructor(query: Query, connection: ApiConnection) {
    this.query = query
    this.connection = connection
    this.objects = connection.objects
  }

  async facts(): Promise<Facts> {
    const { container, leaseName } = this.query
    const { namespace } = this.objects
    const version = await this.version()
    await this.refuseAbsentNamespace()
    const lists = await Promise.all(Object.keys(LISTED).map((kind) => this.list(kind)))
    const manifests = lists.flat()
    // If the user sees no object at all, nothing is checked, which must not pass.
    if (Object.keys(LISTED).every((kind) => this.hidden.has(kind)))
      throw new OperationError('no_rights', `${this.hidden.get('Deployment')}: ${ELSEWHERE}`)
    const named = await this.named(factsOf(manifests, container).installations)
    const facts = factsOf([...manifests, ...named], container, this.hidden)
    const installations = facts.installations.filter(
      (one) => leaseName === null || (leaseNameOf(one) ?? leaseName) === leaseName,
    )
    const none = `no LangFlow in namespace ${namespace} competes for the Lease ${leaseName}`
    const unfound = facts.unfound ?? (installations.length === 0 ? none : null)
    const cluster = await this.cluster(installations, version)
    return { ...facts, installations, unfound, cluster, refusals: [] }
  }

  private async cluster(
    installations: readonly Installation[],
    version: string | null,
  ): Promise<ClusterFacts> {
    const leases = new Map<string, boolean>()
    const grants = new Map<string, boolean>()
    for (const one of installations) {
      const leaseName = leaseNameOf(one)
      if (leaseName === null) continue
      const lease = await this.read('Lease', () => this.objects.get(LEASE, leaseName, DEADLINE_MS))
      if (lease !== null) leases.set(leaseName, lease !== undefined)
      for (const right of rightsFor(leaseName)) {
        const granted = await this.may(accountOf(one), right)
        if (granted !== null) grants.set(grantOf(accountOf(one), right), granted)
      }
    }
    const [lease = AGENT_SETTINGS.leaseName.fallback] = leases.keys()
    return { version, leases, grants, latency: await this.latency(lease) }
  }

  /** Major and minor version of the API server, such as `1.37`; `null` if unknown. */
  private async version(): Promise<string | null> {
    const { major, minor } = (await this.connection.get('/version')) as Record<string, unknown>
    // Providers write minor versions such as `28+`.
    return major && minor ? `${major}.${String(minor).replace(/\D+$/, '')}` : null
  }

  private async refuseAbsentNamespace(): Promise<void> {
    const { namespace } = this.objects
    const found = await this.objects.get(NAMESPACE, namespace, DEADLINE_MS).catch((error: unknown) => error)
    if (!(found instanceof ApiError)) return
    if (found.status === undefined) throw found
    if (found.status === 404)
      throw new OperationError(
        'no_namespace',
        `the namespace ${namespace} does not exist: correct it with -n`,
      )
  }

  /** The objects of one kind. Empty if the user may not list them, which is recorded in `hidden`. */
  private async list(kind: string): Promise<Manifest[]> {
    const [plural, apiVersion] = LISTED[kind]!
    const items = await this.read(kind, () =>
      this.objects.list(kindOf(kind, plural, apiVersion), DEADLINE_MS),
    )
    return (items ?? []).map((item) => manifestOf({ ...item, apiVersion, kind }))
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
        const of = kindOf(kind, `${kind.toLowerCase()}s`, 'v1')
        const value = await this.read(title, () => this.objects.get(of, name, DEADLINE_MS))
        if (value === undefined && !optional) this.hidden.set(title, `${title} does not exist`)
        if (value === null || (value === undefined && !optional)) return []
        return [manifestOf({ ...(value ?? { metadata: { name } }), kind })]
      }),
    )
    return found.flat()
  }

  /** Measures reads of the Lease. A refusal counts as an answer, since it takes the same way. */
  private async latency(leaseName: string): Promise<ClusterFacts['latency']> {
    const times: number[] = []
    for (let i = 0; i < LATENCY_REQUESTS; i++) {
      const from = systemClock.mono()
      await this.read('Lease', () => this.objects.get(LEASE, leaseName, DEADLINE_MS))
      times.push(Math.round(systemClock.mono() - from))
    }
    times.sort((a, b) => a - b)
    return { medianMs: times[times.length >> 1]!, slowestMs: times.at(-1)! }
  }

  /** Whether an account has a right; `null` if the API server does not report it, because the user may not ask. */
  private async may(account: string, { verb, group, resource, name }: Right): Promise<boolean | null> {
    const { namespace } = this.objects
    const review = {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'LocalSubjectAccessReview',
      metadata: { namespace },
      spec: {
        user: `system:serviceaccount:${namespace}:${account}`,
        groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
        resourceAttributes: { verb, group, resource, namespace, ...(name === null ? {} : { name }) },
      },
    }
    const path = `/apis/${review.apiVersion}/namespaces/${encodeURIComponent(namespace)}/localsubjectaccessreviews`
    try {
      const answer = await this.connection.write('create', review, path)
      return dig(answer, 'status', 'allowed') === true
    } catch (error) {
      if (error instanceof ApiError) return null
      throw error
    }
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

function kindOf(kind: string, plural: string, apiVersion: string): Kind {
  const [group] = apiVersion.split('/')
  return apiVersion === group
    ? { kind, resource: plural, base: `/api/${apiVersion}` }
    : { kind, resource: `${plural}.${group}`, base: `/apis/${apiVersion}` }
}
