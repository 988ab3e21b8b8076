import { type Clock, systemClock } from '../../clock.ts'
import { AGENT_SETTINGS } from '../../config/agent-settings.ts'
import { findAccess } from '../../kube/kube-access.ts'
import { ApiError } from '../../kube/kube-errors.ts'
import { type Kind, KubeObjects } from '../../kube/kube-objects.ts'
import { KubeRequests } from '../../kube/kube-requests.ts'
import { LEASE } from '../../lease/lease-api.ts'
import { VERSION } from '../../version.ts'
import { type ClusterOptions, DEADLINE_MS } from '../api-connection.ts'
import { asOperationError, OperationError } from '../exit-codes.ts'
import { dig, type Manifest, manifestOf } from '../manifests/manifest.ts'
import { objectsNamedBy } from './container-environment.ts'
import { accountOf, factsOf, type Installation, leaseNameOf } from './installation.ts'
import type { Facts, Latency } from './rule.ts'
import { AGENT_NEEDS, grantOf, type Right, rightOf } from './rules/right-rules.ts'

/** Enough requests for a median, within about half a second on a usual connection. */
const LATENCY_REQUESTS = 20

/** `leaseName` restricts the check to the LangFlow of this Lease. If it is `null`, every LangFlow is checked. */
export interface Wanted extends Omit<ClusterOptions, 'url'> {
  /** LangFlow's container; `null` to find it by its name, image or command. */
  readonly container: string | null
}

/**
 * Reads one namespace and measures its API server, with the caller's rights. `env`: the environment of this process. Rejects with an
 * `OperationError`.
 */
export async function gather(
  { kubeconfig, context, leaseNamespace, ...wanted }: Wanted,
  { env = process.env, clock = systemClock }: { env?: NodeJS.ProcessEnv; clock?: Clock } = {},
): Promise<Facts> {
  try {
    const access = await findAccess({
      kubeconfig: kubeconfig ?? undefined,
      context: context ?? undefined,
      env,
    })
    const namespace = leaseNamespace ?? access.namespace ?? 'default'
    const options = { access, namespace, clock, userAgent: `langflow-leader/${VERSION}` }
    const requests = new KubeRequests(options)
    const objects = new KubeObjects(options)
    try {
      return await new Inquiry({ ...wanted, namespace, clock }, requests, objects).facts()
    } finally {
      requests.close()
      objects.close()
    }
  } catch (error) {
    throw asOperationError(error)
  }
}

interface Question extends Pick<Wanted, 'leaseName' | 'container'> {
  readonly namespace: string
  readonly clock: Clock
}

/** Kind, plural and `apiVersion` of the objects that are listed for the rules. */
const LISTED = [
  ['Deployment', 'deployments', 'apps/v1'],
  ['StatefulSet', 'statefulsets', 'apps/v1'],
  ['Rollout', 'rollouts', 'argoproj.io/v1alpha1'],
  ['Service', 'services', 'v1'],
  ['ServiceAccount', 'serviceaccounts', 'v1'],
  ['PersistentVolumeClaim', 'persistentvolumeclaims', 'v1'],
  ['NetworkPolicy', 'networkpolicies', 'networking.k8s.io/v1'],
  ['PodDisruptionBudget', 'poddisruptionbudgets', 'policy/v1'],
  ['DaemonSet', 'daemonsets', 'apps/v1'],
  ['CronJob', 'cronjobs', 'batch/v1'],
  ['Pod', 'pods', 'v1'],
  ['HorizontalPodAutoscaler', 'horizontalpodautoscalers', 'autoscaling/v2'],
  ['VerticalPodAutoscaler', 'verticalpodautoscalers', 'autoscaling.k8s.io/v1'],
  ['ScaledObject', 'scaledobjects', 'keda.sh/v1alpha1'],
  ['Ingress', 'ingresses', 'networking.k8s.io/v1'],
  ['Role', 'roles', 'rbac.authorization.k8s.io/v1'],
  ['RoleBinding', 'rolebindings', 'rbac.authorization.k8s.io/v1'],
] as const

/** For an account that may read only the Lease, such as the agent's own, which `kubectl exec` uses. */
const ELSEWHERE =
  'run check on your machine with your kubeconfig, or run kubectl get deploy,sts,svc,sa,role,rolebinding,lease,netpol,pdb,pvc -o yaml | langflow-leader check -f -'

class Inquiry {
  readonly #question: Question
  readonly #requests: KubeRequests
  readonly #objects: KubeObjects
  readonly #hidden = new Map<string, string>()
  readonly #absent = new Set<string>()
  #refusal: ApiError | null = null

  constructor(question: Question, requests: KubeRequests, objects: KubeObjects) {
    this.#question = question
    this.#requests = requests
    this.#objects = objects
  }

  async facts(): Promise<Facts> {
    const { container, leaseName, namespace } = this.#question
    const version = await this.#version()
    const own = await this.#namespace(namespace)
    const lists = LISTED.map(([kind, plural, apiVersion]) => this.#list(kind, plural, apiVersion))
    const manifests = [...own, ...(await Promise.all(lists)).flat()]
    // If the caller sees no object at all, nothing is checked, which must not pass.
    if (this.#refusal !== null && LISTED.every(([kind]) => this.#hidden.has(kind))) {
      const lack = `this account may read none of the objects that check judges (${this.#refusal.message})`
      throw new OperationError('no_rights', `${lack}: ${ELSEWHERE}`, { cause: this.#refusal })
    }
    const named = await this.#named(factsOf(manifests, container).installations)
    const facts = factsOf([...manifests, ...named], container, this.#absent)
    const installations = facts.installations.filter(
      (one) => leaseName === null || (leaseNameOf(one) ?? leaseName) === leaseName,
    )
    const leaseNames = new Set(installations.flatMap((one) => leaseNameOf(one) ?? []))
    const leases = new Map<string, boolean>()
    for (const name of leaseNames) {
      const exists = await this.#exists(name)
      if (exists !== null) leases.set(name, exists)
    }
    const [lease = leaseName ?? AGENT_SETTINGS.leaseName.fallback] = leaseNames
    const latency = await this.#latency(lease)
    const grants = await this.#grants(installations)
    const none = `no LangFlow in namespace ${namespace} competes for the Lease ${leaseName}: correct --lease-name or --lease-namespace`
    const unfound = facts.unfound ?? (installations.length === 0 ? none : null)
    const cluster = { version, hidden: this.#hidden, leases, latency, grants }
    return { ...facts, installations, unfound, cluster }
  }

  /** Major and minor version of the API server, such as `1.37`; `null` if unknown. */
  async #version(): Promise<string | null> {
    const about = { kind: 'version', resource: 'version', name: null }
    const { body } = await this.#requests.send({ verb: 'get', about, path: '/version' }, DEADLINE_MS)
    // Providers write minor versions such as `28+`.
    const [, major] = /"major":\s*"(\d+)/.exec(body) ?? []
    const [, minor] = /"minor":\s*"(\d+)/.exec(body) ?? []
    return major === undefined || minor === undefined ? null : `${major}.${minor}`
  }

  /** The namespace, if the caller may read it. Rejects with an `OperationError` if it does not exist. */
  async #namespace(name: string): Promise<Manifest[]> {
    const about = { kind: 'Namespace', resource: 'namespaces', name }
    try {
      const path = `/api/v1/namespaces/${encodeURIComponent(name)}`
      const { body } = await this.#requests.send({ verb: 'get', about, path }, DEADLINE_MS)
      return [manifestOf({ ...JSON.parse(body), kind: 'Namespace' })]
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      if (error.status !== 404) return []
      throw new OperationError('no_namespace', `the namespace ${name} does not exist: correct it with -n`, {
        cause: error,
      })
    }
  }

  /** The objects of one kind. Empty if the caller may not list them, which is recorded in `#hidden`. */
  async #list(kind: string, plural: string, apiVersion: string): Promise<Manifest[]> {
    const of = kindOf(kind, plural, apiVersion)
    const items = await this.#seen(kind, () => this.#objects.list(of, DEADLINE_MS))
    return (items ?? []).map((item) => manifestOf({ ...item, apiVersion, kind }))
  }

  /** The Secrets and ConfigMaps of LangFlow's and the agents' variables. Rules check values and keys, and never print a value. */
  async #named(installations: readonly Installation[]): Promise<Manifest[]> {
    const wanted = installations.flatMap(({ langflow, agent }) => [
      ...objectsNamedBy(langflow),
      ...(agent === null ? [] : objectsNamedBy(agent.container)),
    ])
    const unique = new Map(wanted.map((one) => [`${one.kind}/${one.name}`, one]))
    const found = await Promise.all(
      [...unique].map(async ([title, { kind, name }]) => {
        const of = kindOf(kind, `${kind.toLowerCase()}s`, 'v1')
        const value = await this.#seen(title, () => this.#objects.get(of, name, DEADLINE_MS))
        if (value === undefined) this.#absent.add(title)
        return value ? [manifestOf({ ...value, kind })] : []
      }),
    )
    return found.flat()
  }

  /** Whether the Lease exists; `null` if the caller may not read it. */
  async #exists(leaseName: string): Promise<boolean | null> {
    const lease = await this.#seen('Lease', () => this.#objects.get(LEASE, leaseName, DEADLINE_MS))
    return lease === null ? null : lease !== undefined
  }

  /** Measures reads of the Lease. A refusal counts as an answer, since it takes the same way. */
  async #latency(leaseName: string): Promise<Latency> {
    const { clock } = this.#question
    const took: number[] = []
    for (let i = 0; i < LATENCY_REQUESTS; i++) {
      const from = clock.mono()
      await this.#exists(leaseName)
      took.push(clock.mono() - from)
    }
    took.sort((a, b) => a - b)
    const at = (index: number) => Math.round(took[index] ?? 0)
    return { requests: took.length, medianMs: at(took.length >> 1), slowestMs: at(took.length - 1) }
  }

  /** The rights of the agents' accounts, without rights that the API server does not report. */
  async #grants(installations: readonly Installation[]): Promise<Map<string, boolean>> {
    const grants = new Map<string, boolean>()
    for (const one of installations) {
      const leaseName = leaseNameOf(one)
      if (leaseName === null) continue
      const account = accountOf(one)
      for (const need of AGENT_NEEDS) {
        const right = rightOf(need, leaseName)
        const allowed = await this.#may(account, right)
        if (allowed !== null) grants.set(grantOf(account, right), allowed)
      }
    }
    return grants
  }

  /** `null` if the API server does not report it, because the caller lacks the right to ask. */
  async #may(account: string, { name, ...right }: Right): Promise<boolean | null> {
    const { namespace } = this.#question
    const about = { kind: 'LocalSubjectAccessReview', resource: 'localsubjectaccessreviews', name: null }
    const review = {
      apiVersion: 'authorization.k8s.io/v1',
      kind: about.kind,
      metadata: { namespace },
      spec: {
        user: `system:serviceaccount:${namespace}:${account}`,
        groups: ['system:serviceaccounts', `system:serviceaccounts:${namespace}`, 'system:authenticated'],
        resourceAttributes: { ...right, namespace, ...(name === null ? {} : { name }) },
      },
    }
    const path = `/apis/${review.apiVersion}/namespaces/${encodeURIComponent(namespace)}/${about.resource}`
    try {
      const { body } = await this.#requests.send(
        { verb: 'create', about, path, body: JSON.stringify(review) },
        DEADLINE_MS,
      )
      return dig(JSON.parse(body), 'status', 'allowed') === true
    } catch (error) {
      if (error instanceof ApiError || error instanceof SyntaxError) return null
      throw error
    }
  }

  /** `undefined` if the object does not exist. `null` if the caller may not read it, which is recorded in `#hidden`. */
  async #seen<T>(what: string, read: () => Promise<T>): Promise<T | null | undefined> {
    try {
      return await read()
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      if (error.status === 404) return undefined
      this.#refusal ??= error
      this.#hidden.set(what, error.message)
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
